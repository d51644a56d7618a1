import { existsSync } from "node:fs";
import { ConflictError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
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
import { findLeftOver, removeLeftOverFiles } from "./left-over-files.ts";
import {
  assertCreatable,
  assertNoCompanions,
  publishDatabase,
  removeDatabase,
  resolveTarget,
  temporaryName,
} from "./publish-database.ts";
import { readRootXattrs, swapRootXattrs } from "./root-xattrs.ts";
import { SalvageSnapshot } from "./salvage/salvage-snapshot.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { assertDatabaseFile, type Connection, openWriter, withReader, withWriter } from "./sqlite-connection.ts";
import { toEngineError } from "./sqlite-errors.ts";
import { SqliteLoader } from "./sqlite-loader.ts";
import { Catalog, countTables, readSettingRow } from "./sqlite-schema.ts";
import { SqliteSnapshot } from "./sqlite-snapshot.ts";
import { changeSetting, createVolumeRows, storeUserGroupUsage } from "./volume-changes.ts";
import { readPendingUsage, readSessionDetail, readSessions, readUsageCounters } from "./volume-status.ts";

/** A database file. Every operation opens the connection it needs and closes it, so nothing is held between them. */
export class SqliteStore implements MetadataStore {
  readonly engineName = "SQLite";
  readonly address: string;
  readonly recordForm: RecordForm = sqlRecordForm;
  readonly #address: SqliteAddress;
  readonly #tmpDir: string | undefined;

  constructor(address: SqliteAddress, tmpDir: string | undefined) {
    this.#address = address;
    this.#tmpDir = tmpDir;
    this.address = address.url;
  }

  async readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return withReader(this.#address, signal, (db) => readSettingRow(db, this.#address.tablePrefix));
  }

  async inspectTarget(signal: AbortSignal): Promise<TargetState> {
    if (!existsSync(this.#address.path)) {
      const target = resolveTarget(this.#address.path);
      assertNoCompanions(target);
      assertCreatable(target);
      return this.#interrupted() ?? { state: "empty" };
    }
    return withReader(this.#address, signal, (db): TargetState => {
      const setting = readSettingRow(db, this.#address.tablePrefix);
      if (setting !== undefined) return { state: "volume", setting };
      if (countTables(db) === 0) return this.#interrupted() ?? { state: "empty" };
      return { state: "occupied", message: this.#notEmpty };
    });
  }

  #interrupted(): TargetState | undefined {
    const found = findLeftOver(resolveTarget(this.#address.path), this.#address.tablePrefix);
    return found && { state: "interrupted", progress: found.progress, message: this.#notEmpty };
  }

  get #notEmpty(): string {
    return `database ${this.#address.dsn} is not empty`;
  }

  /** Throws `EngineError` for a directory that cannot be read. */
  async removeRemains(): Promise<boolean> {
    const target = resolveTarget(this.#address.path);
    assertCreatable(target);
    return removeLeftOverFiles(target);
  }

  async openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    const { onLoss } = options;
    return onLoss === undefined
      ? SqliteSnapshot.open(this.#address, options)
      : SalvageSnapshot.open(this.#address, { ...options, onLoss }, this.#tmpDir);
  }

  valueLimits(): undefined {
    // Every value of a volume has a form here.
  }

  async openLoader(options: LoaderOptions): Promise<SqliteLoader> {
    const target = await this.inspectTarget(options.signal);
    if (target.state !== "empty" && !(target.state === "interrupted" && options.resume)) {
      const message = target.state === "volume" ? `database ${this.address} holds a volume` : target.message;
      throw new ConflictError("DECANT_E_NOT_EMPTY", message);
    }
    return SqliteLoader.open(this.#address, options);
  }

  async createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    const target = resolveTarget(this.#address.path);
    const create = (db: Connection): void => createVolumeRows(db, this.#address.tablePrefix, volume);
    const prepare = (db: Connection): void => {
      if (this.#address.walMode) db.pragma("journal_mode = WAL");
    };
    if (existsSync(target)) await withWriter(this.#address, signal, create, prepare);
    else
      this.#createDatabase(target, (db) => {
        prepare(db);
        db.transaction(create)(db);
      });
  }

  /** A new file gets its name when it is complete: no failure leaves an empty database behind. */
  #createDatabase(target: string, work: (db: Connection) => void): void {
    assertNoCompanions(target);
    const temporary = temporaryName(target);
    try {
      const db = openWriter(temporary);
      try {
        work(db);
      } finally {
        db.close();
      }
      publishDatabase(temporary, target);
    } catch (error) {
      removeDatabase(temporary);
      throw toEngineError(error, target, "write");
    }
  }

  async updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void> {
    assertDatabaseFile(this.#address.path);
    await withWriter(this.#address, signal, (db) => changeSetting(db, this.#address.tablePrefix, change));
  }

  async replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void> {
    assertDatabaseFile(this.#address.path);
    await withWriter(this.#address, signal, (db) => storeUserGroupUsage(db, this.#address.tablePrefix, usage));
  }

  async listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return withReader(this.#address, signal, (db) => readSessions(db, new Catalog(db, this.#address.tablePrefix)));
  }

  async readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return withReader(this.#address, signal, (db) =>
      readSessionDetail(db, new Catalog(db, this.#address.tablePrefix), sid),
    );
  }

  async readUsage(options: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return withReader(this.#address, options.signal, (db) => {
      const catalog = new Catalog(db, this.#address.tablePrefix);
      const usage = readUsageCounters(db, catalog);
      return options.more ? { ...usage, ...readPendingUsage(db, catalog) } : usage;
    });
  }

  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    return readRootXattrs(this.#address, names, signal);
  }

  async swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
    assertDatabaseFile(this.#address.path);
    return swapRootXattrs(this.#address, swap, signal);
  }

  /** There is no server. */
  async serverTime(): Promise<undefined> {}

  async close(): Promise<void> {
    // No connection is kept.
  }
}
