import { UsageError } from "../base/errors.ts";
import type { UnsupportedOptions } from "../operations/unsupported-values.ts";
import type { OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

/** For commands that write a volume which may come from another kind of database. */
export const UNSUPPORTED_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--on-unsupported <ACTION>",
    description: "values that the target cannot hold: stop, with all of them named, or skip them",
    default: "stop",
  },
  {
    flags: "--unsupported-report <FILE>",
    description: "write each of these values into FILE, one JSON document per line",
  },
];

export function unsupportedOptions(options: OptionValues): UnsupportedOptions {
  const action = options.text("on-unsupported") ?? "stop";
  if (action !== "stop" && action !== "skip") {
    throw new UsageError(
      "DECANT_E_OPTION_VALUE",
      `Invalid value "${action}" for "on-unsupported": it must be stop or skip`,
    );
  }
  const reportFile = options.text("unsupported-report");
  return { action, ...(reportFile === undefined ? {} : { reportFile }) };
}
