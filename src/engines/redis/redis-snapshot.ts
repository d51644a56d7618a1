import { EngineError } from "../../base/errors.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { Notes } from "../notes.ts";
import { signedOrZero } from "./decimal.ts";
import { KeyList } from "./key-list.ts";
import { readKeyspace } from "./keyspace-reader.ts";
import type { RareContext } from "./rare-context.ts";
import { rareRecords } from "./rare-records.ts";
import { RecordMapper } from "./record-mapper.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
} from "./redis-keys.ts";
import type { RedisServer } from "./redis-server.ts";
import { RespConnection } from "./resp-connection.ts";
import { SeenSet } from "./seen-set.ts";
import { SubtreeReader } from "./subtree-reader.ts";
import { keepMissing, noteWrongTypes } from "./wrong-types.ts";

const FAMILY_OF_KIND: ReadonlyMap<RecordKind, number> = new Map([
  ["node", FAMILY_NODE],
  ["edge", FAMILY_DIRECTORY],
  ["chunk", FAMILY_CHUNK],
  ["symlink", FAMILY_SYMLINK],
  ["xattr", FAMILY_XATTR],
  ["parent", FAMILY_PARENT],
]);

const DENTRY_BYTES = 9;

/** A volume in Redis, read key by key while it may change. */
export class RedisSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly unlimitedDirQuotas = "skip";
  readonly #server: RedisServer;
  readonly #options: SnapshotOptions;
  readonly #connection: RespConnection;
  readonly #points: RespConnection;
  readonly #notes: Notes;

  private constructor(
    server: RedisServer,
    options: SnapshotOptions,
    connections: { bulk: RespConnection; points: RespConnection },
    setting: Buffer,
    estimates: ReadonlyMap<RecordKind, number>,
  ) {
    this.#server = server;
    this.#options = options;
    this.#connection = connections.bulk;
    this.#points = connections.points;
    this.#notes = new Notes(options.logger);
    this.setting = setting;
    this.estimates = estimates;
    this.consistency = {
      pointInTime: false,
      method: "Redis keys were read one after the other, so changes made during the dump may be in it in part",
      asOf: new Date(),
    };
  }

  /** `setting` is what the store has found. */
  static async open(server: RedisServer, setting: Buffer, options: SnapshotOptions): Promise<RedisSnapshot> {
    const bulk = await RespConnection.open(server.node, options.signal);
    try {
      const points = await RespConnection.open(server.node, options.signal);
      return new RedisSnapshot(server, options, { bulk, points }, setting, await estimate(server, points));
    } catch (error) {
      bulk.close();
      throw error;
    }
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list;
  }

  records(selection: RecordSelection): RecordStream {
    return this.#read(selection);
  }

  async *#read(selection: RecordSelection): AsyncGenerator<RecordBatch> {
    const hardLinks = new SeenSet();
    const mapper = new RecordMapper(this.#notes, this.#server.printable, hardLinks);
    const context: RareContext = {
      connection: this.#connection,
      prefix: this.#server.prefix,
      notes: this.#notes,
      mapper,
      sessions: new Set(),
    };
    const families = [...FAMILY_OF_KIND].filter(([kind]) => selection.kinds.has(kind)).map(([, family]) => family);
    if (selection.root !== undefined) {
      if (families.length > 0) yield* this.#readTree(context, selection.root, selection.kinds, hardLinks);
    } else if (families.length > 0 || selection.kinds.has("sustained")) {
      yield* this.#readAll(context, new Set(families), hardLinks);
    }
    for await (const batch of rareRecords(context, selection.kinds, hasChangeLog(this.setting))) {
      this.#options.signal.throwIfAborted();
      yield batch;
    }
    yield* mapper.takeAll();
  }

  async *#readAll(
    { connection, prefix, notes, mapper, sessions }: RareContext,
    families: ReadonlySet<number>,
    hardLinks: SeenSet,
  ): AsyncGenerator<RecordBatch> {
    const missing = new KeyList();
    for await (const raw of readKeyspace(connection, prefix, families, notes, hardLinks, { sessions })) {
      if (raw.family === FAMILY_NODE || raw.family === FAMILY_SYMLINK) keepMissing(raw, missing);
      mapper.map(raw);
      for (const batch of mapper.takeFull()) {
        this.#options.signal.throwIfAborted();
        yield batch;
      }
    }
    await noteWrongTypes(connection, missing, notes);
  }

  async *#readTree(
    context: RareContext,
    root: bigint,
    kinds: ReadonlySet<RecordKind>,
    hardLinks: SeenSet,
  ): AsyncGenerator<RecordBatch> {
    const values = await RespConnection.open(this.#server.node, this.#options.signal);
    try {
      const reader = new SubtreeReader(context, kinds, values, hardLinks);
      yield* reader.read(Number(root >> 32n), Number(root & 0xffff_ffffn));
    } finally {
      values.close();
    }
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    const value = await this.#points.call(["HGET", this.#key(`d${parent}`), name]);
    if (!Buffer.isBuffer(value) || value.length !== DENTRY_BYTES) return undefined;
    return { type: value[0]!, inode: value.readBigUInt64BE(1) };
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    const value = await this.#points.call(["GET", this.#key(`i${inode}`)]);
    return Buffer.isBuffer(value) ? value : undefined;
  }

  async close(): Promise<void> {
    this.#connection.close();
    this.#points.close();
  }

  #key(name: string): Buffer {
    return Buffer.concat([this.#server.prefix, Buffer.from(name)]);
  }
}

function hasChangeLog(setting: Buffer): boolean {
  return parseSetting(setting).changeLog;
}

/** Cheap guesses for progress: the counter of inodes, and in a database of its own the number of keys. */
async function estimate(server: RedisServer, connection: RespConnection): Promise<ReadonlyMap<RecordKind, number>> {
  const key = Buffer.concat([server.prefix, Buffer.from("totalInodes")]);
  const inodes = Number(signedOrZero((await tolerant(connection, ["GET", key])) as Buffer | null));
  const estimates = new Map<RecordKind, number>();
  if (inodes <= 0) return estimates;
  estimates.set("node", inodes + 1);
  estimates.set("edge", inodes);
  if (!server.cluster) {
    const keys = Number(await tolerant(connection, ["DBSIZE"]));
    if (keys > inodes) estimates.set("chunk", keys - inodes);
  }
  return estimates;
}

/** A guess is not worth a failure, unless the connection is gone. */
async function tolerant(connection: RespConnection, command: (string | Buffer)[]): Promise<Buffer | bigint | null> {
  try {
    return (await connection.call(command)) as Buffer | bigint | null;
  } catch (error) {
    if (error instanceof EngineError && error.code !== "DECANT_E_REDIS_LOST") return null;
    throw error;
  }
}
