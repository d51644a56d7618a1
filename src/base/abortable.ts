/**
 * The same pieces, but an abort is heard while the source is waited for, which may hang. The source is told to end, and its
 * end is not waited for then.
 */
export async function* abortable<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  signal.throwIfAborted();
  const iterator = source[Symbol.asyncIterator]();
  let isDone = false;
  try {
    for (;;) {
      const next = await raceAbort(iterator.next(), signal);
      isDone = next.done === true;
      if (isDone) return;
      yield next.value;
    }
  } catch (error) {
    // a source that threw has ended; one that hangs must not be waited for
    isDone = true;
    if (signal.aborted) iterator.return?.().catch(() => undefined);
    throw error;
  } finally {
    if (!isDone) await iterator.return?.();
  }
}

/** What `work` gives, or the reason of an abort that comes first. */
export function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
