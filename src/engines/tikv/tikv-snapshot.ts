import type { KvPage, KvRange, KvSnapshot, KvSnapshotOptions } from "../kv/kv-store.ts";
import { SafePointHold } from "./safe-point.ts";
import { physicalOf } from "./tikv-messages.ts";
import type { TikvReader } from "./tikv-reader.ts";
import type { TikvTransactions } from "./tikv-transactions.ts";

/** All keys of a volume as of one timestamp, which is kept from garbage collection until it is closed. */
export class TikvSnapshot implements KvSnapshot {
  readonly pointInTime = true;
  readonly method: string;
  readonly asOf: Date;
  readonly #transactions: TikvTransactions;
  readonly #reader: TikvReader;
  readonly #hold: SafePointHold;
  readonly #signal: AbortSignal;

  private constructor(transactions: TikvTransactions, timestamp: bigint, hold: SafePointHold, signal: AbortSignal) {
    this.method = `one snapshot of TiKV at timestamp ${timestamp}`;
    this.asOf = new Date(physicalOf(timestamp));
    this.#transactions = transactions;
    this.#reader = transactions.reader(timestamp);
    this.#hold = hold;
    this.#signal = signal;
  }

  static async open(
    transactions: TikvTransactions,
    { signal, logger }: KvSnapshotOptions,
    renewMs?: number,
  ): Promise<TikvSnapshot> {
    const { client } = transactions;
    const timestamp = await client.pd.timestamp(client.patience(signal));
    const hold = await SafePointHold.begin(client, timestamp, { signal, logger, renewMs });
    return new TikvSnapshot(transactions, timestamp, hold, signal);
  }

  async *scan({ start, end }: KvRange): AsyncGenerator<KvPage> {
    const [from, to] = [this.#transactions.key(start), this.#transactions.rangeEnd(end)];
    if (from.compare(to) < 0) yield* this.#reader.scan(from, to, this.#signal);
    await this.#hold.verify();
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    const patience = this.#transactions.client.patience(this.#signal);
    const values = await this.#reader.get(
      keys.map((key) => this.#transactions.key(key)),
      patience,
    );
    await this.#hold.verify();
    return values;
  }

  close(): Promise<void> {
    return this.#hold.end();
  }
}
