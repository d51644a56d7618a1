import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../src/agent/clock.ts";

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Time that goes on only when nothing is left to do in it: hours pass in a moment, and always in the same way. */
export class SimulatedTime {
  nowMs = 0;
  #order = 0;
  #events: Event[] = [];

  at(atMs: number, run: () => void): void {
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run };
    let i = this.#events.length;
    while (i > 0 && this.#events[i - 1]!.atMs > event.atMs) i--;
    this.#events.splice(i, 0, event);
  }

  /** Lets all happen up to that moment; `onStep` is called after each thing that did. */
  async runUntil(untilMs: number, onStep: () => void = () => undefined): Promise<void> {
    await turn();
    while (this.#events.length > 0 && this.#events[0]!.atMs <= untilMs) {
      const event = this.#events.shift()!;
      this.nowMs = event.atMs;
      event.run();
      await turn();
      onStep();
    }
    this.nowMs = untilMs;
  }
}

export interface MachineOptions {
  /** How fast its clock goes: 1 = as time does. */
  readonly rate?: number;
  /** What its monotonic clock begins with. */
  readonly startMs?: number;
  /** By how much its time of day is wrong. */
  readonly skewMs?: number;
}

/** A machine in simulated time, with clocks of its own. While it is paused nothing happens on it; after a crash nothing ever. */
export class Machine implements Clock {
  readonly #time: SimulatedTime;
  readonly #rate: number;
  readonly #startMs: number;
  readonly #skewMs: number;
  #pausedUntilMs = 0;
  isCrashed = false;

  constructor(time: SimulatedTime, { rate = 1, startMs = 0, skewMs = 0 }: MachineOptions = {}) {
    this.#time = time;
    this.#rate = rate;
    this.#startMs = startMs;
    this.#skewMs = skewMs;
  }

  get isRunning(): boolean {
    return !this.isCrashed && this.#time.nowMs >= this.#pausedUntilMs;
  }

  now(): Date {
    return new Date(1_700_000_000_000 + this.#skewMs + this.#time.nowMs);
  }

  monotonicMs(): number {
    return this.#startMs + this.#time.nowMs * this.#rate;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const stop = (): void => reject(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      // Whole microseconds and one more, so that a rounded sum is never before the end.
      const realMs = (Math.ceil((Math.max(0, ms) / this.#rate) * 1000) + 1) / 1000;
      this.after(realMs, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
    });
  }

  /** Does something on this machine, after so much real time, or as soon as it is not paused any more. */
  after(realMs: number, run: () => void): void {
    const attempt = (): void => {
      if (this.isCrashed) return;
      if (this.isRunning) run();
      else this.#time.at(this.#pausedUntilMs, attempt);
    };
    this.#time.at(this.#time.nowMs + realMs, attempt);
  }

  pause(realMs: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#time.nowMs + realMs);
  }
}
