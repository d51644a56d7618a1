import { redactUrl } from "../base/redact-url.ts";
import type { OperationContext } from "../operations/context.ts";
import { VERIFYING } from "../operations/verifying.ts";
import type { OptionSpec } from "./command-spec.ts";

export const VERIFY_OPTION: OptionSpec = {
  flags: "--verify",
  description: "read the target again in the end and compare it with what was written",
};

/** The same where it is the default. */
export const DEFAULT_VERIFY_OPTION: OptionSpec = {
  flags: "--verify",
  description: `${VERIFY_OPTION.description}; --no-verify: do not`,
  default: "true",
};

/** What an interrupted load has left in the target. */
export function describeInterruptedLoad(target: string, { progress }: OperationContext): string {
  const address = redactUrl(target);
  const isWritten = progress.phases.some(({ name }) => name === VERIFYING);
  return isWritten
    ? `${address} holds the volume, which was written whole, but not read again to its end: it is loaded and not verified`
    : `${address} holds no volume`;
}
