import type { SalvageOptions } from "../operations/loss-report.ts";
import type { OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

/** For commands that read what may be damaged (docs/salvage.md). */
export const SALVAGE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--keep-going",
    description: "take what can be read of a damaged source, and report what is lost",
    group: "Salvage",
  },
  {
    flags: "--lost-found",
    description: "with --keep-going: keep what no directory leads to, in a directory lost+found below the root",
    group: "Salvage",
  },
  {
    flags: "--loss-report <FILE>",
    description: "write each loss into FILE, one JSON document per line",
    group: "Salvage",
  },
];

export function salvageOptions(options: OptionValues): SalvageOptions {
  return {
    keepGoing: options.flag("keep-going"),
    lostFound: options.flag("lost-found"),
    lossReport: options.text("loss-report"),
  };
}
