import { EngineError, type ErrorOptions } from "../../base/errors.ts";
import { ProtobufError, ProtobufReader } from "../../base/protobuf.ts";

/** How long calls and their repetition may take. */
export interface TikvTiming {
  /** One call to a server. */
  readonly callMs: number;
  /** From the first failure on: how long something is tried again. */
  readonly patienceMs: number;
  /** How long others wait for a small transaction of ours that they hear nothing of, before they roll it back. */
  readonly lockMs?: number;
}

/** As the reference. */
export const LOCK_MS = 3_000;
export const DEFAULT_TIMING: TikvTiming = { callMs: 20_000, patienceMs: 60_000 };

/** What is waited for before something is tried again: milliseconds, doubled each time up to the second number. */
const PAUSES = {
  region: [2, 500],
  call: [50, 2000],
  busy: [200, 3000],
  /** The server says how long. */
  told: [10, 1000],
  lock: [10, 1000],
  conflict: [5, 500],
} as const;

export type Cause = keyof typeof PAUSES;

/**
 * Repeats of one thing: pauses that grow by kind of cause, until patience is at its end. Make one for each page or transaction, so
 * that only what fails without any progress ends.
 */
export class Patience {
  readonly signal: AbortSignal;
  readonly timing: TikvTiming;
  /** A call was sent and no answer came: what it asks for may have been done. */
  isUncertain = false;
  readonly #counts: Map<Cause, number> = new Map();
  #since: number | undefined;

  constructor(timing: TikvTiming, signal: AbortSignal) {
    this.timing = timing;
    this.signal = signal;
  }

  /** Until it is at its end. */
  get leftMs(): number {
    return this.#since === undefined
      ? this.timing.patienceMs
      : this.#since + this.timing.patienceMs - performance.now();
  }

  /** Waits. Throws `EngineError` when this has been going on for too long; `atLeastMs` is what a server asked for. */
  async pause(cause: Cause, problem: string, atLeastMs: number = 0): Promise<void> {
    this.signal.throwIfAborted();
    this.#since ??= performance.now();
    const left = this.leftMs;
    if (left <= 0) throw this.#exhausted(cause, problem);
    const count = this.#counts.get(cause) ?? 0;
    this.#counts.set(cause, count + 1);
    const [first, most] = PAUSES[cause];
    const grown = Math.min(most, first * 2 ** Math.min(count, 20));
    await pauseFor(Math.min(left, Math.max(atLeastMs, grown * (0.5 + Math.random() / 2))), this.signal);
  }

  #exhausted(cause: Cause, problem: string): EngineError {
    const seconds = Math.round(this.timing.patienceMs / 1000);
    if (cause === "lock") {
      return new EngineError("DECANT_E_TIKV_LOCKED", `TiKV is still locked after ${seconds} s: ${problem}`, {
        hint: "Another client holds a transaction open; try again when it has ended",
        retryable: true,
      });
    }
    return new EngineError(
      "DECANT_E_TIKV_UNAVAILABLE",
      `TiKV does not answer as it should for ${seconds} s: ${problem}`,
      {
        hint: "Look at the state and the logs of the placement drivers and stores",
        retryable: true,
      },
    );
  }
}

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** An answer that makes no sense, from a server that is named. */
export function answerError(server: string, problem: string, options: ErrorOptions = {}): EngineError {
  return new EngineError("DECANT_E_TIKV_ANSWER", `Cannot understand ${server}: ${problem}`, {
    hint: "Is the address that of placement drivers (port 2379), and the cluster one that JuiceFS can use?",
    ...options,
  });
}

/** Reads an answer by a function; bytes that are no such message become an `EngineError`. */
export function readAnswer<T>(server: string, bytes: Buffer, read: (reader: ProtobufReader) => T): T {
  try {
    return read(new ProtobufReader(bytes));
  } catch (error) {
    if (error instanceof ProtobufError) throw answerError(server, error.message, { cause: error });
    throw error;
  }
}
