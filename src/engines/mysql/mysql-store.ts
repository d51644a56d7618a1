import { ConflictError } from "../../base/errors.ts";
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
import { LoadMarker } from "./load-marker.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { MysqlLoader } from "./mysql-loader.ts";
import { openMysqlSalvage } from "./mysql-salvage.ts";
import { readSettingRow } from "./mysql-schema.ts";
import { type MysqlSession, withSession } from "./mysql-session.ts";
import { MysqlSnapshot } from "./mysql-snapshot.ts";
import { removeRemains } from "./remove-remains.ts";
import { readRootXattrs, serverTime, swapRootXattrs } from "./root-xattrs.ts";
import { TextRowReader } from "./text-row-reader.ts";
import { mysqlLimits } from "./value-limits.ts";
import { changeSetting, createVolume, storeUserGroupUsage } from "./volume-changes.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** One database of a server. Every operation has a connection of its own, so nothing is held between them. */
export class MysqlStore implements MetadataStore {
  readonly engineName = "MySQL";
  readonly address: string;
  readonly recordForm: RecordForm = sqlRecordForm;
  readonly #address: MysqlAddress;
  readonly #env: Environment;

  constructor(address: MysqlAddress, env: Environment) {
    this.#address = address;
    this.#env = env;
    this.address = address.url;
  }

  readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return this.#with(signal, readSettingRow);
  }

  /** The reference's own sentence (docs/spec/sql.md §11.1). */
  inspectTarget(signal: AbortSignal): Promise<TargetState> {
    return this.#with(signal, async (session) => {
      const setting = await readSettingRow(session);
      if (setting !== undefined) return { state: "volume", setting };
      if (session.tables.countedTables === 0) return { state: "empty" };
      const message = `database ${this.#address.dsn(session.server.isolationVariable)} is not empty`;
      const progress = await LoadMarker.progress(session);
      if (progress !== undefined) return { state: "interrupted", progress, message };
      const hint = await LoadMarker.hint(session);
      if (hint === undefined) return { state: "occupied", message };
      return { state: "occupied", message, hint, isBeginning: await LoadMarker.isMissing(session) };
    });
  }

  removeRemains(signal: AbortSignal): Promise<boolean> {
    return this.#with(signal, removeRemains);
  }

  openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    return options.onLoss === undefined
      ? MysqlSnapshot.open(this.#address, this.#env, options)
      : openMysqlSalvage(this.#address, this.#env, options, options.onLoss);
  }

  valueLimits(signal: AbortSignal): ValueLimits {
    return mysqlLimits((work) => this.#with(signal, work));
  }

  async openLoader(options: LoaderOptions): Promise<MysqlLoader> {
    const target = await this.inspectTarget(options.signal);
    if (target.state === "volume") {
      throw new ConflictError("DECANT_E_TARGET_TAKEN", `The database ${this.address} holds a volume already`);
    }
    if (target.state === "occupied") {
      const hint = target.hint === undefined ? {} : { hint: target.hint };
      throw new ConflictError("DECANT_E_NOT_EMPTY", target.message, hint);
    }
    const goesOn =
      target.state === "interrupted" && options.resume === true && target.progress.checkpoint !== undefined;
    if (target.state === "interrupted" && !goesOn) throw new ConflictError("DECANT_E_NOT_EMPTY", target.message);
    return MysqlLoader.open(this.#address, this.#env, options, goesOn);
  }

  createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    return createVolume(this.#address, this.#env, volume, signal);
  }

  updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void> {
    return this.#with(signal, (session) => changeSetting(session, this.#address, signal, change));
  }

  replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void> {
    return this.#with(signal, (session) => storeUserGroupUsage(session, this.#address, signal, usage));
  }

  listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return this.#with(signal, readSessions);
  }

  readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return this.#with(signal, (session) => readSessionDetail(session, sid));
  }

  readUsage({ more, signal }: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return this.#with(signal, async (session) => {
      await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
      const usage = await readUsageCounters(session);
      return more ? { ...usage, ...(await readPendingUsage(session, () => delayedSlices(session))) } : usage;
    });
  }

  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    return this.#with(signal, (session) => readRootXattrs(session, this.#address, names));
  }

  swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
    return this.#with(signal, (session) => swapRootXattrs(session, this.#address, swap, signal));
  }

  serverTime(signal: AbortSignal): Promise<Date> {
    return this.#with(signal, serverTime);
  }

  async close(): Promise<void> {
    // No connection is kept.
  }

  #with<T>(signal: AbortSignal, work: (session: MysqlSession) => Promise<T>): Promise<T> {
    return withSession(this.#address, this.#env, signal, work);
  }
}

/** The slice lists of delslices (docs/spec/sql.md §4.4). */
async function* delayedSlices(session: MysqlSession): AsyncGenerator<Buffer> {
  const table = session.catalog.table("delslices");
  const row = new TextRowReader(table);
  for await (const page of session.connection.pages(`SELECT slices FROM ${table}`)) {
    row.open(page);
    while (row.nextRow()) {
      const size = row.readSize();
      const start = row.skipBytes(size);
      yield page.subarray(start, start + size);
    }
  }
}
