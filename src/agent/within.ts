import { raceAbort } from "../base/abortable.ts";
import { EngineError } from "../base/errors.ts";
import { formatGoDuration } from "../base/go-duration.ts";
import type { Clock } from "./clock.ts";

/**
 * The work, with a signal that fires when `signal` does or the time is over; then `EngineError`, also when the work does not hear
 * it. A server that takes requests and never answers would keep a volume without backups for good.
 */
export async function within<T>(
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const [late, done] = [new AbortController(), new AbortController()];
  clock.sleep(ms, AbortSignal.any([signal, done.signal])).then(
    () =>
      late.abort(
        new EngineError("DECANT_E_NO_ANSWER", `No answer from database or bucket for ${formatGoDuration(ms)}`, {
          retryable: true,
          hint: "It accepts requests and does not answer them: look at the server and at what is between",
        }),
      ),
    () => undefined,
  );
  const either = AbortSignal.any([signal, late.signal]);
  try {
    return await raceAbort(work(either), either);
  } finally {
    done.abort();
  }
}
