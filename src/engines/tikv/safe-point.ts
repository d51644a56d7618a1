import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { raceAbort } from "../../base/abortable.ts";
import { EngineError, errorText } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { CallError } from "./grpc-connection.ts";
import type { TikvClient } from "./tikv-client.ts";
import { physicalOf } from "./tikv-messages.ts";

/** How long the placement driver keeps what is held after it has heard nothing more, and how often it is told. */
const TTL_SECONDS = 600;
const RENEW_MS = 60_000;
/** How long letting go may take: it ends by itself in any case. */
const END_MS = 2_000;

/**
 * Keeps garbage collection from what a snapshot reads, and finds out when it was not kept. A service safe point holds back TiDB and
 * tools; clients of JuiceFS that collect garbage themselves (`gc-interval`) do not look at it, so the safe point of the cluster is
 * looked at again after data were read: reads below it may silently miss some (docs/spec/kv-stores.md §2.5).
 */
export class SafePointHold {
  readonly #client: TikvClient;
  readonly #timestamp: bigint;
  readonly #signal: AbortSignal;
  readonly #logger: Logger;
  readonly #service: string;
  #timer: NodeJS.Timeout | undefined;
  #renewal: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(client: TikvClient, timestamp: bigint, signal: AbortSignal, logger: Logger) {
    this.#client = client;
    this.#timestamp = timestamp;
    this.#signal = signal;
    this.#logger = logger;
    this.#service = `decant-${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
  }

  /** Throws `EngineError` when data of that time are being collected already. */
  static async begin(
    client: TikvClient,
    timestamp: bigint,
    { signal, logger, renewMs = RENEW_MS }: { signal: AbortSignal; logger: Logger; renewMs?: number | undefined },
  ): Promise<SafePointHold> {
    const hold = new SafePointHold(client, timestamp, signal, logger);
    try {
      await hold.#renew();
      await hold.verify();
    } catch (error) {
      await hold.end();
      throw error;
    }
    hold.#timer = setInterval(() => {
      hold.#renewal = hold.#renewal.then(() => hold.#renewLater());
    }, renewMs);
    hold.#timer.unref();
    return hold;
  }

  /** Throws `EngineError` when what was read until now may not be all that there was. */
  async verify(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const point = await this.#client.pd.gcSafePoint(this.#client.patience(this.#signal));
    if (point > this.#timestamp) throw this.#passed(point);
  }

  /** Lets go. Never throws. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    const signal = AbortSignal.timeout(END_MS);
    try {
      await raceAbort(this.#renewal, signal); // one that comes later would hold it again
      const patience = this.#client.patience(signal);
      await this.#client.pd.holdSafePoint(this.#service, this.#timestamp, 0, patience);
    } catch (error) {
      this.#logger.debug(`TiKV: the service safe point ${this.#service} ends by itself: ${errorText(error)}`);
    }
  }

  async #renew(): Promise<void> {
    const patience = this.#client.patience(this.#signal);
    try {
      const lowest = await this.#client.pd.holdSafePoint(this.#service, this.#timestamp, TTL_SECONDS, patience);
      if (lowest > this.#timestamp) throw this.#passed(lowest);
    } catch (error) {
      if (error instanceof EngineError && error.cause instanceof CallError && error.cause.isUnimplemented) {
        throw new EngineError("DECANT_E_TIKV_GC", "The placement driver of TiKV has no service safe points", {
          cause: error.cause,
          hint: "TiKV 4.0 and newer have them: without one nothing keeps what is read from garbage collection",
        });
      }
      throw error;
    }
  }

  /**
   * What cannot be told now is told the next time: the placement driver keeps what it has heard for ten times as long. Whether that
   * was enough is found by `verify`.
   */
  async #renewLater(): Promise<void> {
    if (this.#failure !== undefined || this.#signal.aborted) return;
    try {
      await this.#renew();
      await this.verify();
    } catch (error) {
      if (error instanceof EngineError && error.code === "DECANT_E_TIKV_UNAVAILABLE") {
        this.#logger.warn(`The service safe point could not be renewed, which is tried again: ${error.message}`);
        return;
      }
      clearInterval(this.#timer);
      this.#failure ??= error;
    }
  }

  #passed(point: bigint): EngineError {
    const at = (timestamp: bigint): string => new Date(physicalOf(timestamp)).toISOString();
    return new EngineError(
      "DECANT_E_TIKV_GC",
      `Garbage collection of TiKV has passed the snapshot of ${at(this.#timestamp)}: its safe point is ${at(point)}`,
      {
        hint: "Mount the volume with a larger gc-interval in the META-URL (3h by default), and where TiDB collects raise tidb_gc_life_time, to more than the time that this takes; then try again",
        retryable: true,
      },
    );
  }
}
