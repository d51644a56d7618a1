import { EngineError, errorText } from "../../../base/errors.ts";

const NOT_TRACKED = "DECANT_E_REDIS_TRACKING";

const DEFAULT_HINT = "docs/engines/redis.md says what is needed; let writers be held for longer, or stop them";
export const RIGHTS_HINT = "docs/engines/redis.md says which commands the user needs; --snapshot replica needs others";

/** No instant can be shown by tracking: the server does not permit it, or the writers are too fast for it. */
export function notTracked(where: string, reason: string, hint: string = DEFAULT_HINT): EngineError {
  return new EngineError(
    "DECANT_E_REDIS_TRACKING",
    `No point in time of the volume at ${where} can be read by tracking changes: ${reason}`,
    {
      cause: new Error(reason),
      hint,
      retryable: true,
    },
  );
}

/** The reason of an error of `notTracked`; undefined for any other error. */
export function reasonNotTracked(error: unknown): string | undefined {
  return error instanceof EngineError && error.code === NOT_TRACKED ? errorText(error.cause) : undefined;
}

/** What was read is worth nothing: only a new beginning helps. */
export class StartAgain extends Error {}
