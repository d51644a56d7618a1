import { errorText } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { ProtobufWriter } from "../../base/protobuf.ts";
import type { TikvClient } from "./tikv-client.ts";

export interface HeartbeatOptions {
  readonly client: TikvClient;
  readonly logger: Logger;
  /** The key whose lock decides. */
  readonly primary: Buffer;
  readonly startTs: bigint;
  /** When the transaction began, as `performance.now()`: its locks have their time from `startTs` on. */
  readonly startedAt: number;
  /** Milliseconds for which others are to wait, from each time that they are told. */
  readonly ttlMs: number;
}

/** Tells others that a transaction is alive, for as long as it takes: whoever meets its locks rolls it back when their time is over. */
export class LockHeartbeat {
  readonly #options: HeartbeatOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isOut = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** The time that a lock is given now, for others to wait from `startTs` on. */
  get ttl(): number {
    const { startedAt, ttlMs } = this.#options;
    return Math.ceil(performance.now() - startedAt + ttlMs);
  }

  /** From when the primary key is locked. */
  begin(): void {
    this.#timer ??= setInterval(() => void this.#beat(), this.#options.ttlMs / 3).unref();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#stop.abort();
  }

  /** Never throws. A transaction that was rolled back, or cannot be reached, is found when it commits. */
  async #beat(): Promise<void> {
    if (this.#isOut) return;
    this.#isOut = true;
    const { client, logger, primary, startTs } = this.#options;
    const request = (): ProtobufWriter =>
      new ProtobufWriter(128).bytes(2, primary).number(3, startTs).number(4, this.ttl);
    try {
      const call = () => ({ method: "KvTxnHeartBeat", request: request() });
      await client.callFor(primary, call, client.patience(this.#stop.signal));
    } catch (error) {
      if (!this.#stop.signal.aborted)
        logger.debug(`TiKV: transaction ${startTs} has no heartbeat: ${errorText(error)}`);
    } finally {
      this.#isOut = false;
    }
  }
}
