import type { LeaseStore } from "../../src/agent/lease-hold.ts";
import { EngineError } from "../../src/base/errors.ts";
import type { RootXattrSwap } from "../../src/engines/engine.ts";
import type { Machine, SimulatedTime } from "./simulated-time.ts";

/** What becomes of one request: its way there and back in ms, and what is lost. */
export interface Transit {
  readonly thereMs: number;
  readonly backMs: number;
  readonly lost?: "request" | "answer";
  /** When `lost`, after how long the machine sees that the connection is broken: also before the request arrives. */
  readonly brokenAfterMs?: number;
}

/** What the database did, in its order. */
export interface AppliedSwap {
  readonly atMs: number;
  readonly before: ReadonlyMap<string, Buffer>;
  readonly after: ReadonlyMap<string, Buffer>;
}

/** The contract of `readRootXattrs` and `swapRootXattrs` in simulated time, with everything that networks do to it. */
export class SimulatedStore {
  readonly applied: AppliedSwap[] = [];
  attributes: ReadonlyMap<string, Buffer> = new Map();
  readonly #time: SimulatedTime;
  readonly #transit: () => Transit;

  constructor(time: SimulatedTime, transit: () => Transit) {
    this.#time = time;
    this.#transit = transit;
  }

  /** The database as a machine sees it. */
  seenFrom(machine: Machine): LeaseStore {
    return {
      readRootXattrs: (names, signal) => this.#request(machine, signal, () => this.#read(names)),
      swapRootXattrs: (swap, signal) => this.#request(machine, signal, () => this.#swap(swap)),
    };
  }

  #request<T>(machine: Machine, signal: AbortSignal, execute: () => T): Promise<T> {
    const { thereMs, backMs, lost, brokenAfterMs = thereMs + backMs } = this.#transit();
    return new Promise<T>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      if (lost !== "request") {
        this.#time.at(this.#time.nowMs + thereMs, () => {
          const answer = execute();
          if (lost === undefined) machine.after(backMs, () => resolve(answer));
        });
      }
      if (lost === undefined) return;
      machine.after(brokenAfterMs, () => {
        reject(new EngineError("DECANT_E_OUTCOME_UNKNOWN", "The connection was cut", { retryable: true }));
      });
    });
  }

  #read(names: readonly string[]): Map<string, Buffer> {
    return new Map([...this.attributes].filter(([name]) => names.includes(name)));
  }

  #swap({ expected, values }: RootXattrSwap): boolean {
    const before = this.attributes;
    for (const [name, value] of expected) {
      const stored = before.get(name);
      if (value === undefined || stored === undefined ? value !== stored : !value.equals(stored)) return false;
    }
    const after = new Map(before);
    for (const [name, value] of values) {
      if (value === undefined) after.delete(name);
      else after.set(name, value);
    }
    this.attributes = after;
    this.applied.push({ atMs: this.#time.nowMs, before, after });
    return true;
  }
}
