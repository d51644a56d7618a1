import type { Logger } from "../../base/logger.ts";

/** Tells once that a server is away and once that it is back, however many calls wait for it: else nothing is seen of a minute of waiting. */
export class Outages {
  readonly #logger: Logger;
  readonly #away: Set<string> = new Set();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** `who` is the same whatever its address; `problem` begins with the address. It is tried again for `leftMs`, where any are left. */
  failed(who: string, problem: string, leftMs: number): void {
    if (leftMs <= 0 || this.#away.has(who)) return;
    this.#away.add(who);
    this.#logger.warn(`TiKV: ${who} does not answer, trying again for ${Math.round(leftMs / 1000)} s: ${problem}`);
  }

  /** Whatever the answer is. */
  answered(who: string, address: string): void {
    if (this.#away.delete(who)) this.#logger.info(`TiKV: ${who} answers again at ${address}`);
  }
}
