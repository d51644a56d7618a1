import { ConflictError, NotFoundError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type {
  Loader,
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
import { assertSetting } from "../lost-setting.ts";
import type { RecordForm } from "../record-form.ts";
import { LoadMarker } from "./load-marker.ts";
import { redisRecordForm } from "./record-form.ts";
import { RedisLoader } from "./redis-loader.ts";
import { type RedisServer, withConnection } from "./redis-server.ts";
import { findSession, readSessions } from "./redis-sessions.ts";
import { RedisSnapshot } from "./redis-snapshot.ts";
import { readVolumeUsage } from "./redis-usage.ts";
import { removeVolume } from "./remove-volume.ts";
import { ReplicaSnapshot } from "./replication/replica-snapshot.ts";
import type { RespConnection } from "./resp-connection.ts";
import { readRootXattrs, serverTime, swapRootXattrs } from "./root-xattrs.ts";
import { runTransaction, type TransactionBody } from "./transaction.ts";
import { usageCommands } from "./usage-commands.ts";

/** Inode of the trash root, as a key has it. */
const TRASH_KEY = "i9223372032828243968";

/** One database of a Redis server. Every operation has a connection of its own, so operations never disturb each other. */
export class RedisStore implements MetadataStore {
  readonly engineName = "Redis";
  readonly address: string;
  readonly recordForm: RecordForm = redisRecordForm;
  readonly #server: RedisServer;
  readonly #tmpDir: string;

  /** `tmpDir` gets what does not fit into memory while the volume is read. */
  constructor(server: RedisServer, tmpDir: string) {
    this.#server = server;
    this.#tmpDir = tmpDir;
    this.address = server.printable;
  }

  readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    return this.#with(signal, (connection) => this.#storedSetting(connection));
  }

  async #storedSetting(connection: RespConnection): Promise<Buffer | undefined> {
    const value = await connection.call(["GET", this.#key("setting")]);
    return Buffer.isBuffer(value) && value.length > 0 ? value : undefined;
  }

  /** The reference's own sentences (docs/spec/redis.md §12.3). */
  inspectTarget(signal: AbortSignal): Promise<TargetState> {
    return this.#with(signal, async (connection) => {
      const setting = await this.#storedSetting(connection);
      if (setting !== undefined) return { state: "volume", setting };
      if (!this.#server.cluster) {
        if ((await connection.call(["DBSIZE"])) === 0n) return { state: "empty" };
        return this.#occupied(connection, `Database ${this.address} is not empty`);
      }
      const found = await this.#anyKey(connection);
      if (found === undefined) return { state: "empty" };
      return this.#occupied(connection, `found key with same prefix: ${found}`);
    });
  }

  async #occupied(connection: RespConnection, message: string): Promise<TargetState> {
    const progress = await LoadMarker.progress(connection, this.#server.prefix);
    if (progress !== undefined) return { state: "interrupted", progress, message };
    const hint = await LoadMarker.hint(connection, this.#server.prefix);
    return { state: "occupied", message, ...(hint === undefined ? {} : { hint }) };
  }

  removeRemains(signal: AbortSignal): Promise<boolean> {
    return this.#with(signal, async (connection) => {
      const marker = await LoadMarker.find(connection, this.#server.prefix, this.address);
      if (marker === undefined) return false;
      await marker.endLoad(connection);
      await removeVolume(connection, this.#server, marker);
      return true;
    });
  }

  async #anyKey(connection: RespConnection): Promise<string | undefined> {
    const pattern = Buffer.concat([this.#server.prefix, Buffer.from("*")]);
    for (let cursor = "0"; ; ) {
      const [next, keys] = (await connection.call(["SCAN", cursor, "MATCH", pattern, "COUNT", "1000"])) as [
        Buffer,
        Buffer[],
      ];
      if (keys.length > 0) return keys[0]!.toString();
      cursor = next.toString();
      if (cursor === "0") return undefined;
    }
  }

  async openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    const setting = await this.readSetting(options.signal);
    if (setting === undefined) {
      throw new NotFoundError("DECANT_E_NO_VOLUME", `The database ${this.address} holds no volume`, {
        hint: "Check the database number; a load that was cut off is none either",
      });
    }
    if (options.onLoss !== undefined) assertSetting(this.address, setting);
    if (options.method === "replica") return ReplicaSnapshot.open(this.#server, setting, options, this.#tmpDir);
    return RedisSnapshot.open(this.#server, setting, options, this.#tmpDir);
  }

  valueLimits(): undefined {
    // Every value of a volume has a form here.
  }

  async openLoader(options: LoaderOptions): Promise<Loader> {
    const target = await this.inspectTarget(options.signal);
    const goesOn = target.state === "interrupted" && options.resume === true;
    if (target.state === "occupied" || (target.state === "interrupted" && !goesOn)) {
      throw new ConflictError("DECANT_E_TARGET_OCCUPIED", target.message);
    }
    if (target.state === "volume") {
      throw new ConflictError("DECANT_E_TARGET_TAKEN", `The database ${this.address} holds a volume already`);
    }
    return RedisLoader.open(this.#server, options, goesOn);
  }

  /** docs/spec/redis.md §3.1, as one transaction. */
  createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    return this.#transaction(["setting"], signal, async (connection) => {
      if ((await this.#storedSetting(connection)) !== undefined) {
        throw new ConflictError("DECANT_E_TARGET_TAKEN", `The database ${this.address} holds a volume already`);
      }
      return [
        ...this.#trashCommand(volume.trashRoot),
        ["SET", this.#key("i1"), volume.root],
        ["SET", this.#key("setting"), volume.setting],
      ];
    });
  }

  /** docs/spec/redis.md §3.2. `dirDataLength` stays, as in the reference: `dirUsedSpace` decides what is recomputed. */
  updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void> {
    return this.#transaction(["setting"], signal, async (connection) => {
      const { setting, dropDirStats, dropUserGroupQuotas, trashRoot } = change(await this.#storedSetting(connection));
      if (setting === undefined) return [];
      const usage = ["userQuota", "groupQuota"].flatMap((key) => [key, `${key}UsedSpace`, `${key}UsedInodes`]);
      return [
        ...(dropDirStats ? [["DEL", this.#key("dirUsedInodes"), this.#key("dirUsedSpace")]] : []),
        ...(dropUserGroupQuotas ? [["DEL", ...usage.map((name) => this.#key(name))]] : []),
        ...this.#trashCommand(trashRoot),
        ["SET", this.#key("setting"), setting],
      ];
    });
  }

  #trashCommand(trashRoot: Buffer | undefined): (string | Buffer)[][] {
    return trashRoot === undefined ? [] : [["SETNX", this.#key(TRASH_KEY), trashRoot]];
  }

  replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void> {
    return this.#transaction(["userQuota", "groupQuota"], signal, (connection) => {
      return usageCommands(connection, (name) => this.#key(name), usage);
    });
  }

  listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return this.#with(signal, (connection) => readSessions(connection, this.#server.prefix));
  }

  readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return this.#with(signal, (connection) => findSession(connection, this.#server.prefix, sid));
  }

  readUsage({ more, signal }: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return this.#with(signal, (connection) => readVolumeUsage(connection, this.#server.prefix, more));
  }

  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    return this.#with(signal, (connection) => readRootXattrs(connection, (name) => this.#key(name), names));
  }

  swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
    return this.#with(signal, (connection) => swapRootXattrs(connection, (name) => this.#key(name), swap, signal));
  }

  serverTime(signal: AbortSignal): Promise<Date> {
    return this.#with(signal, serverTime);
  }

  /** Nothing is kept open between operations. */
  async close(): Promise<void> {}

  #with<T>(signal: AbortSignal, work: (connection: RespConnection) => Promise<T>): Promise<T> {
    return withConnection(this.#server, signal, work);
  }

  #transaction(watched: readonly string[], signal: AbortSignal, body: TransactionBody): Promise<void> {
    const keys = watched.map((name) => this.#key(name));
    return this.#with(signal, (connection) => runTransaction(connection, keys, signal, body));
  }

  #key(name: string): Buffer {
    return Buffer.concat([this.#server.prefix, Buffer.from(name)]);
  }
}
