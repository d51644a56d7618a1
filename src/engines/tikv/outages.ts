import type { Logger } from "../../base/logger.ts";

/** Locks that end sooner are met all the time. */
const WORTH_TELLING_MS = 2_000;
const MAX_LOCKED = 256;

/** Tells once that a server is away and once that it is back, however many calls wait for it: else nothing is seen of a minute of waiting. */
export class Outages {
  readonly #logger: Logger;
  readonly #away: Set<string> = new Set();
  readonly #locked: Set<bigint> = new Set();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** `who` is the same whatever its address; `problem` begins with the address. It is tried again for `leftMs`, where any are left. */
  failed(who: string, problem: string, leftMs: number): void {
    if (leftMs <= 0 || this.#away.has(who)) return;
    this.#away.add(who);
    this.#logger.warn(`TiKV: ${who} does not answer, trying again for ${Math.round(leftMs / 1000)} s: ${problem}`);
  }

  /** A transaction of another client has locked what is needed, for `leftMs` at the most where that client has died. */
  locked(version: bigint, leftMs: number): void {
    if (leftMs < WORTH_TELLING_MS || this.#locked.has(version)) return;
    if (this.#locked.size >= MAX_LOCKED) this.#locked.clear();
    this.#locked.add(version);
    this.#logger.info(
      `TiKV: waiting for transaction ${version} of another client; if that has died, its locks end in ${Math.ceil(leftMs / 1000)} s`,
    );
  }

  /** Whatever the answer is. */
  answered(who: string, address: string): void {
    if (this.#away.delete(who)) this.#logger.info(`TiKV: ${who} answers again at ${address}`);
  }
}
