import { NotFoundError, UsageError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type {
  Loader,
  MetadataStore,
  SessionDetail,
  SessionSummary,
  Snapshot,
  SnapshotOptions,
  TargetState,
  VolumeUsage,
} from "../../engine.ts";
import { assertSetting, lostSetting } from "../../lost-setting.ts";
import type { RecordForm } from "../../record-form.ts";
import { redisRecordForm } from "../record-form.ts";
import { type FoundVolume, findVolume, KeyPass } from "./point-reads.ts";
import type { RdbAddress } from "./rdb-address.ts";
import type { RdbFile } from "./rdb-file.ts";
import { RdbSnapshot } from "./rdb-snapshot.ts";
import { findRdbSession, readRdbSessions, readRdbUsage } from "./rdb-status.ts";
import { searchSetting } from "./search-setting.ts";
import { HashTaker } from "./value-collectors.ts";
import type { VolumePlace } from "./volume-place.ts";

/** A volume in an RDB file: everything that reads works, everything that writes is refused. */
export class RdbStore implements MetadataStore {
  readonly engineName = "Redis RDB file";
  readonly address: string;
  readonly recordForm: RecordForm = redisRecordForm;
  readonly #database: number;
  readonly #file: RdbFile;
  readonly #tmpDir: string;
  readonly #logger: Logger;
  #found: Promise<FoundVolume | undefined> | undefined;

  constructor(address: RdbAddress, file: RdbFile, tmpDir: string, logger: Logger) {
    this.address = address.url;
    this.#database = address.database;
    this.#file = file;
    this.#tmpDir = tmpDir;
    this.#logger = logger;
  }

  async readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return (await this.#find(signal))?.setting;
  }

  #find(signal: AbortSignal): Promise<FoundVolume | undefined> {
    this.#found ??= this.#look(signal);
    return this.#found;
  }

  async #look(signal: AbortSignal): Promise<FoundVolume | undefined> {
    const found = await findVolume(this.#file, this.#database, signal);
    this.#warnOfBase(found);
    return found;
  }

  #warnOfBase(found: FoundVolume | undefined): void {
    if (found?.isAppendOnlyBase) {
      this.#logger.warn(
        `${this.#file.path} is the base of an append-only file: what was written since it was made is not in it`,
      );
    }
  }

  async #volume(signal: AbortSignal): Promise<FoundVolume> {
    const found = await this.#find(signal);
    if (found !== undefined) return found;
    throw new NotFoundError("DECANT_E_NO_VOLUME", `Database ${this.#database} in ${this.#file.path} holds no volume`, {
      hint: "Give the number of the database with ?db=N",
    });
  }

  async openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    const { signal, onLoss } = options;
    const volume = await (onLoss === undefined ? this.#volume(signal) : this.#volumeOfDamagedFile(signal));
    return new RdbSnapshot(this.#file, volume, this.#tmpDir, options);
  }

  /** Looks for the setting as far as the file can be followed; what is lost else is told when all is read. */
  async #volumeOfDamagedFile(signal: AbortSignal): Promise<FoundVolume> {
    let damage: string | undefined;
    const found = await findVolume(this.#file, this.#database, signal, ({ message }) => {
      damage ??= message;
    });
    this.#warnOfBase(found);
    if (found !== undefined) {
      assertSetting(this.#file.path, found.setting);
      return found;
    }
    if (damage === undefined) return this.#volume(signal);
    const searched = await searchSetting(this.#file, this.#database, signal);
    if (searched === undefined) throw lostSetting(this.#file.path, damage);
    const { place, setting, offset } = searched;
    this.#logger.warn(
      `${this.#file.path}: the setting stands behind damage, and was found by its name at byte ${offset}`,
    );
    return { place, setting, createdAt: undefined, isAppendOnlyBase: false };
  }

  async listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return readRdbSessions(this.#file, await this.#place(signal), signal);
  }

  async readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return findRdbSession(this.#file, await this.#place(signal), sid, signal);
  }

  async readUsage({ more, signal }: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return readRdbUsage(this.#file, await this.#place(signal), more, signal);
  }

  async readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    const wanted = new Set(names);
    const found = new Map<string, Buffer>();
    await KeyPass.run(this.#file, await this.#place(signal), signal, (key, stop) => {
      if (key !== "x1") return undefined;
      return new HashTaker((field, value) => {
        const name = field.copy().toString();
        if (wanted.has(name)) found.set(name, value.copy());
      }, stop);
    });
    return found;
  }

  async #place(signal: AbortSignal): Promise<VolumePlace> {
    return (await this.#volume(signal)).place;
  }

  async serverTime(): Promise<undefined> {}

  valueLimits(): undefined {}

  async inspectTarget(signal: AbortSignal): Promise<TargetState> {
    const setting = await this.readSetting(signal);
    return setting === undefined
      ? { state: "occupied", message: `${this.address} can only be read` }
      : { state: "volume", setting };
  }

  async removeRemains(): Promise<boolean> {
    throw readOnly(this.address);
  }

  async openLoader(): Promise<Loader> {
    throw readOnly(this.address);
  }

  async createVolume(): Promise<void> {
    throw readOnly(this.address);
  }

  async updateSetting(): Promise<void> {
    throw readOnly(this.address);
  }

  async swapRootXattrs(): Promise<boolean> {
    throw readOnly(this.address);
  }

  async replaceUserGroupUsage(): Promise<void> {
    throw readOnly(this.address);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

export function readOnly(address: string): UsageError {
  return new UsageError("DECANT_E_READ_ONLY", `${address} is an RDB file, which can only be read`, {
    hint: "Write to a Redis server (redis://), or make a dump or another volume of the file: dump, migrate",
  });
}
