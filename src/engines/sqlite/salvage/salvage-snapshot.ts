import { setImmediate as nextTurn } from "node:timers/promises";
import { errorText, NotFoundError } from "../../../base/errors.ts";

import {
  packBatch,
  type RecordBatch,
  type RecordKind,
  type RecordStream,
  unpackBatch,
} from "../../../volume/records.ts";
import { parseSetting } from "../../../volume/setting.ts";
import type {
  Consistency,
  RecordSelection,
  Snapshot,
  SnapshotLoss,
  SnapshotNote,
  SnapshotOptions,
} from "../../engine.ts";
import { lostSetting } from "../../lost-setting.ts";
import { expectedRecords } from "../../sql/estimates.ts";
import { NoteList } from "../../sql/note-list.ts";
import { salvageScans } from "../../sql/salvage-scan.ts";
import { tableName } from "../../sql/schema.ts";
import type { SqliteAddress } from "../sqlite-address.ts";
import type { PageSet } from "./database-image.ts";
import { EdgeParents } from "./edge-parents.ts";
import { findLostRows } from "./lost-rows.ts";
import { type OpenImage, openImage } from "./open-image.ts";
import { readCounters, readLastChange, readStoredSetting } from "./small-tables.ts";
import { StoredSchema } from "./stored-schema.ts";
import { type SalvageContext, TableSalvage } from "./table-salvage.ts";

/** The event loop gets a turn at least this often. */
const TURN_MS = 15;

/**
 * What can be read of a damaged database: its pages are read without the library, which gives up a whole table where one page
 * of it is damaged (docs/engines/sqlite.md). One instant, as the transaction that is kept open meanwhile sees it.
 */
export class SalvageSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly #source: OpenImage;
  readonly #schema: StoredSchema;
  readonly #prefix: string;
  readonly #signal: AbortSignal;
  readonly #onLoss: (loss: SnapshotLoss) => void;
  readonly #notes = new NoteList();
  readonly #counters: ReturnType<typeof readCounters>;
  #lastTurn = performance.now();

  /** Throws `NotFoundError` when the database holds no volume, `DataError` when its setting cannot be read. */
  static async open(
    address: SqliteAddress,
    options: SnapshotOptions & { readonly onLoss: (loss: SnapshotLoss) => void },
    tmpDir: string | undefined,
  ): Promise<SalvageSnapshot> {
    const source = await openImage(address, options.signal, tmpDir);
    try {
      return new SalvageSnapshot(address, options, source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  private constructor(
    address: SqliteAddress,
    options: SnapshotOptions & { readonly onLoss: (loss: SnapshotLoss) => void },
    source: OpenImage,
  ) {
    this.#source = source;
    this.#signal = options.signal;
    this.#onLoss = options.onLoss;
    this.#prefix = address.tablePrefix;
    this.#schema = new StoredSchema(source.image, this.#prefix);
    this.setting = this.#readSetting(address);
    this.consistency = { pointInTime: true, method: source.method, asOf: new Date() };
    this.#counters = readCounters(source.image, this.#schema, this.#prefix);
    this.estimates = expectedRecords(this.#counters.values.get("totalInodes") ?? 0n);
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list();
  }

  /** Always of the whole volume: an index that would say what belongs to a directory may be damaged too. */
  async *records({ kinds }: RecordSelection): RecordStream {
    const tell = this.#onLoss;
    for (const message of this.#source.losses) tell({ kind: undefined, message });
    if (this.#schema.damage !== undefined) tell({ kind: undefined, message: this.#schema.damage });
    if (kinds.has("counter")) yield this.#counterBatch();
    const parents = kinds.has("parent") ? new EdgeParents() : undefined;
    try {
      const asked = parents === undefined ? kinds : new Set([...kinds, "edge"]);
      for await (const batch of this.#tables(asked, tell)) {
        if (batch.kind === "edge") parents?.add(batch);
        if (kinds.has(batch.kind)) yield batch;
      }
      if (parents === undefined) return;
      for (const batch of parents.batches()) {
        yield batch;
        await this.#turn();
      }
    } finally {
      parents?.close();
    }
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    for await (const batch of this.#tables(new Set(["edge"]), ignore)) {
      for (const edge of unpackBatch("edge", batch)) {
        if (edge.parent === parent && edge.name.equals(name)) return { inode: edge.inode, type: edge.type };
      }
    }
    return undefined;
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    for await (const batch of this.#tables(new Set(["node"]), ignore)) {
      for (const node of unpackBatch("node", batch)) if (node.inode === inode) return Buffer.from(node.attribute);
    }
    return undefined;
  }

  async close(): Promise<void> {
    this.#source.close();
  }

  async *#tables(kinds: ReadonlySet<string>, tell: (loss: SnapshotLoss) => void): AsyncGenerator<RecordBatch> {
    const { image } = this.#source;
    const schema = this.#schema;
    const freePages = (): PageSet | undefined => this.#source.freePages();
    const told = new Set<string>();
    for (const scan of salvageScans(schema.catalog, this.#prefix, kinds, tell)) {
      // A table that two kinds are read from is damaged once.
      const isTold = told.has(scan.fullTable);
      told.add(scan.fullTable);
      const context: SalvageContext = {
        image,
        schema,
        notes: this.#notes,
        tell,
        tellDamage: isTold ? ignore : tell,
        freePages,
        turn: () => this.#turn(),
      };
      const source = { image, schema, prefix: this.#prefix, tell, freePages };
      yield* new TableSalvage(context, scan).read(findLostRows(scan.scan.table, source));
    }
  }

  #counterBatch(): RecordBatch {
    const { values, losses } = this.#counters;
    for (const loss of losses) this.#onLoss(loss);
    const counters = new Map(values);
    counters.delete("lastChangelog"); // as in SqliteSnapshot
    if (parseSetting(this.setting).changeLog && this.#schema.catalog.has("change_log")) {
      const { version, loss } = readLastChange(this.#source.image, this.#schema, this.#prefix);
      if (loss !== undefined) this.#onLoss(loss);
      if (version !== 0n) counters.set("lastChangelog", version);
    }
    return packBatch(
      "counter",
      [...counters].map(([name, value]) => ({ name, value })),
    );
  }

  #readSetting(address: SqliteAddress): Buffer {
    const found = readStoredSetting(this.#source.image, this.#schema);
    if (Buffer.isBuffer(found)) {
      try {
        parseSetting(found);
        return found;
      } catch (error) {
        throw lostSetting(`${address.url}, table ${tableName(this.#prefix, "setting")}`, errorText(error));
      }
    }
    if (found.damage !== undefined) {
      throw lostSetting(`${address.url}, table ${tableName(this.#prefix, "setting")}`, found.damage);
    }
    throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
      hint: "The database is not formatted, or the volume has another table_prefix",
    });
  }

  async #turn(): Promise<void> {
    this.#signal.throwIfAborted();
    if (performance.now() - this.#lastTurn < TURN_MS) return;
    await nextTurn();
    this.#lastTurn = performance.now();
    this.#signal.throwIfAborted();
  }
}

function ignore(): void {
  // It is told when the table is read for its records.
}
