/** Items that wait for the consumer: each worker is at most one ahead of that. */
const MAX_WAITING = 8;

/**
 * Runs `work` once per worker, all at the same time, and gives what they yield in the order in which it comes. A slow
 * consumer holds all of them up. The first failure ends the stream; whoever ends it early must end the workers' resources.
 */
export async function* mergeStreams<W, T>(
  workers: readonly W[],
  work: (worker: W) => AsyncIterable<T>,
): AsyncGenerator<T> {
  const waiting: T[] = [];
  let running = workers.length;
  let failure: { readonly reason: unknown } | undefined;
  let isStopped = false;
  let wakeConsumer = (): void => undefined;
  let wakeWorkers: (() => void)[] = [];

  const run = async (worker: W): Promise<void> => {
    try {
      for await (const item of work(worker)) {
        waiting.push(item);
        wakeConsumer();
        while (waiting.length >= MAX_WAITING && !isStopped) {
          await new Promise<void>((resolve) => wakeWorkers.push(resolve));
        }
        if (isStopped) return;
      }
    } catch (reason) {
      failure ??= { reason };
    } finally {
      running--;
      wakeConsumer();
    }
  };

  const runs = workers.map(run);
  try {
    for (;;) {
      const item = waiting.shift();
      if (failure !== undefined) throw failure.reason;
      if (item !== undefined) {
        const woken = wakeWorkers;
        wakeWorkers = [];
        for (const wake of woken) wake();
        yield item;
      } else if (running === 0) {
        break;
      } else {
        await new Promise<void>((resolve) => {
          wakeConsumer = resolve;
        });
        wakeConsumer = () => undefined;
      }
    }
    await Promise.all(runs);
  } finally {
    isStopped = true;
    for (const wake of wakeWorkers) wake();
  }
}
