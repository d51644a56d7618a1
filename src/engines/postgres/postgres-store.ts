import type { RecordBatch } from "../../volume/records.ts";
import type { ValueLimits } from "../../volume/value-limits.ts";
import type {
  LoaderOptions,
  MetadataStore,
  NewVolume,
  RootXattrSwap,
  SessionDetail,
  SessionSummary,
  SettingChange,
  Snapshot,
  SnapshotOptions,
  TargetState,
  VolumeUsage,
} from "../engine.ts";
import type { RecordForm } from "../record-form.ts";
import { sqlRecordForm } from "../sql/record-form.ts";
import { readPendingUsage, readSessionDetail, readSessions, readUsageCounters } from "../sql/server-status.ts";
import { CopyReader } from "./copy-reader.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { type PostgresConnection, withConnection } from "./postgres-connection.ts";
import { PostgresLoader } from "./postgres-loader.ts";
import { openPostgresSalvage } from "./postgres-salvage.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { PostgresSnapshot } from "./postgres-snapshot.ts";
import { removeRemains } from "./remove-remains.ts";
import { readRootXattrs, serverTime, swapRootXattrs } from "./root-xattrs.ts";
import { inspectTarget } from "./target-state.ts";
import { POSTGRES_LIMITS } from "./value-limits.ts";
import { changeSetting, createVolumeRows, storeUserGroupUsage } from "./volume-changes.ts";

/** Several statements see one state. */
const BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** One schema of a database. Every operation has a connection of its own, so operations never disturb each other. */
export class PostgresStore implements MetadataStore {
  readonly engineName = "PostgreSQL";
  readonly address: string;
  readonly recordForm: RecordForm = sqlRecordForm;
  readonly #address: PostgresAddress;

  constructor(address: PostgresAddress) {
    this.#address = address;
    this.address = address.url;
  }

  readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return this.#reading(signal, (connection) => readSettingRow(connection));
  }

  inspectTarget(signal: AbortSignal): Promise<TargetState> {
    return this.#reading(signal, inspectTarget);
  }

  removeRemains(signal: AbortSignal): Promise<boolean> {
    return withConnection(this.#address, signal, (connection) => removeRemains(connection, signal));
  }

  openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    return options.onLoss === undefined
      ? PostgresSnapshot.open(this.#address, options)
      : openPostgresSalvage(this.#address, options, options.onLoss);
  }

  valueLimits(): ValueLimits {
    return POSTGRES_LIMITS;
  }

  openLoader(options: LoaderOptions): Promise<PostgresLoader> {
    return PostgresLoader.open(this.#address, options);
  }

  createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    return withConnection(this.#address, signal, (connection) => createVolumeRows(connection, signal, volume));
  }

  updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void> {
    return withConnection(this.#address, signal, (connection) => changeSetting(connection, signal, change));
  }

  replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void> {
    return withConnection(this.#address, signal, (connection) => storeUserGroupUsage(connection, signal, usage));
  }

  listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return this.#readingTables(signal, readSessions);
  }

  readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return this.#readingTables(signal, (connection) => readSessionDetail(connection, sid));
  }

  readUsage(options: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return this.#readingTables(options.signal, async (connection) => {
      const usage = await readUsageCounters(connection);
      if (!options.more) return usage;
      return { ...usage, ...(await readPendingUsage(connection, () => delayedSlices(connection))) };
    });
  }

  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    return this.#reading(signal, (connection) => readRootXattrs(connection, names));
  }

  swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
    return withConnection(this.#address, signal, (connection) => swapRootXattrs(connection, swap, signal));
  }

  serverTime(signal: AbortSignal): Promise<Date> {
    return withConnection(this.#address, signal, serverTime);
  }

  async close(): Promise<void> {
    // No connection is kept.
  }

  #reading<T>(signal: AbortSignal, work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    return withConnection(this.#address, signal, (connection) =>
      connection.transaction(BEGIN_READING, () => work(connection)),
    );
  }

  #readingTables<T>(signal: AbortSignal, work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    return this.#reading(signal, async (connection) => {
      await connection.readCatalog();
      return work(connection);
    });
  }
}

/** The lists of slices that compaction has replaced, one after another. */
async function* delayedSlices(connection: PostgresConnection): AsyncGenerator<Buffer> {
  const rows = new CopyReader("delslices", 1);
  const query = `SELECT slices FROM ${connection.catalog.table("delslices")}`;
  for await (const chunk of connection.copyOut(`COPY (${query}) TO STDOUT (FORMAT binary)`)) {
    rows.push(chunk);
    while (rows.next()) {
      const size = rows.readSize();
      const start = rows.skipBytes(size);
      yield rows.bytes.subarray(start, start + size);
    }
  }
}
