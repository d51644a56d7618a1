import { existsSync } from "node:fs";
import { ConflictError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type {
  LoaderOptions,
  MetadataStore,
  NewVolume,
  SessionDetail,
  SessionSummary,
  SettingChange,
  SnapshotOptions,
  TargetState,
  VolumeUsage,
} from "../engine.ts";
import { assertNoCompanions, resolveTarget } from "./publish-database.ts";
import type { SqliteAddress } from "./sqlite-address.ts";
import { assertDatabaseFile, withReader, withWriter } from "./sqlite-connection.ts";
import { SqliteLoader } from "./sqlite-loader.ts";
import { Catalog, countTables, readSettingRow } from "./sqlite-schema.ts";
import { SqliteSnapshot } from "./sqlite-snapshot.ts";
import { changeSetting, createVolumeRows, storeUserGroupUsage } from "./volume-changes.ts";
import { readPendingUsage, readSessionDetail, readSessions, readUsageCounters } from "./volume-status.ts";

/** A database file. Every operation opens the connection it needs and closes it, so nothing is held between them. */
export class SqliteStore implements MetadataStore {
  readonly engineName = "SQLite";
  readonly address: string;
  readonly #address: SqliteAddress;

  constructor(address: SqliteAddress) {
    this.#address = address;
    this.address = address.url;
  }

  async readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return withReader(this.#address, signal, (db) => readSettingRow(db, this.#address.tablePrefix));
  }

  async inspectTarget(signal: AbortSignal): Promise<TargetState> {
    if (!existsSync(this.#address.path)) {
      assertNoCompanions(resolveTarget(this.#address.path));
      return { state: "empty" };
    }
    return withReader(this.#address, signal, (db): TargetState => {
      const setting = readSettingRow(db, this.#address.tablePrefix);
      if (setting !== undefined) return { state: "volume", setting };
      if (countTables(db) === 0) return { state: "empty" };
      return { state: "occupied", message: `database ${this.#address.dsn} is not empty` };
    });
  }

  async openSnapshot(options: SnapshotOptions): Promise<SqliteSnapshot> {
    return SqliteSnapshot.open(this.#address, options);
  }

  async openLoader(options: LoaderOptions): Promise<SqliteLoader> {
    const target = await this.inspectTarget(options.signal);
    if (target.state !== "empty") {
      const message = target.state === "occupied" ? target.message : `database ${this.address} holds a volume`;
      throw new ConflictError("DECANT_E_NOT_EMPTY", message);
    }
    return SqliteLoader.open(this.#address, options);
  }

  async createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    const target = resolveTarget(this.#address.path);
    if (!existsSync(target)) assertNoCompanions(target);
    await withWriter(
      this.#address,
      signal,
      (db) => createVolumeRows(db, this.#address.tablePrefix, volume),
      (db) => {
        if (this.#address.walMode) db.pragma("journal_mode = WAL");
      },
    );
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

  async close(): Promise<void> {
    // No connection is kept.
  }
}
