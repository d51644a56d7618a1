import { setTimeout as wait } from "node:timers/promises";

/** Time, passed in so that tests decide how it goes. */
export interface Clock {
  /** The time of day, which may jump and differs from machine to machine. For stamps only. */
  now(): Date;

  /** Milliseconds since some moment; never goes back. Comparable with readings of this clock alone. */
  monotonicMs(): number;

  /** Returns when `monotonicMs` is greater by `ms` or more; throws the reason of the signal when that fires first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** What a timer of Node.js can wait for; more would end at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The clocks of this machine. The monotonic one stands still while the machine is suspended. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  async sleep(ms, signal) {
    const end = performance.now() + ms;
    for (let left = ms; ; left = end - performance.now()) {
      signal.throwIfAborted();
      if (left <= 0) return;
      await wait(Math.min(Math.ceil(left), MAX_TIMER_MS), undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  },
};
