import { EngineError, InternalError } from "../../../base/errors.ts";
import { TRASH_INODE, TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../../../volume/inode.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../../engine.ts";
import { Notes } from "../../notes.ts";
import { estimate } from "../estimates.ts";
import { readRdbRecords } from "../rdb/rdb-records.ts";
import type { RedisServer } from "../redis-server.ts";
import { RespConnection } from "../resp-connection.ts";
import { checkSlot } from "../slot-check.ts";
import { ResyncConnection } from "./resync-connection.ts";

/** So often the server is asked again when somebody changed the setting just then. */
const MAX_ATTEMPTS = 3;

/** A volume as of the fork of its server: all data are received as a replica receives them, once and in any order. */
export class ReplicaSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly unlimitedDirQuotas = "skip";
  readonly #server: RedisServer;
  readonly #options: SnapshotOptions;
  readonly #tmpDir: string;
  readonly #connection: ResyncConnection;
  readonly #notes: Notes;
  #asOf = new Date();
  #trashRoot: Buffer | undefined;

  private constructor(
    server: RedisServer,
    options: SnapshotOptions,
    connection: ResyncConnection,
    volume: { setting: Buffer; estimates: ReadonlyMap<RecordKind, number> },
    tmpDir: string,
  ) {
    this.#server = server;
    this.#options = options;
    this.#connection = connection;
    this.#tmpDir = tmpDir;
    this.#notes = new Notes(options.logger, options.onLoss);
    this.setting = volume.setting;
    this.estimates = volume.estimates;
  }

  /**
   * The setting is needed before the data, in which it comes anywhere: it is read before and after the fork, and compared with that
   * in the data when these have come. `setting` is what the store has found.
   */
  static async open(
    server: RedisServer,
    setting: Buffer,
    options: SnapshotOptions,
    tmpDir: string,
  ): Promise<ReplicaSnapshot> {
    const points = await RespConnection.open(server.node, options.signal);
    try {
      const estimates = await estimate(server, points);
      const key = Buffer.concat([server.prefix, Buffer.from("setting")]);
      let before: Buffer = setting;
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const connection = await ResyncConnection.open(server.node, options.signal);
        try {
          const after = await points.call(["GET", key]);
          await checkSlot(server, points); // behind the fork
          if (Buffer.isBuffer(after) && after.equals(before)) {
            return new ReplicaSnapshot(server, options, connection, { setting: before, estimates }, tmpDir);
          }
          if (Buffer.isBuffer(after)) before = after;
        } catch (error) {
          connection.close();
          throw error;
        }
        connection.close();
      }
      throw new EngineError(
        "DECANT_E_SETTING_CHANGED",
        `The setting of the volume in ${server.printable} keeps changing`,
        {
          retryable: true,
          hint: "Try again when nobody configures the volume",
        },
      );
    } finally {
      points.close();
    }
  }

  get consistency(): Consistency {
    return {
      pointInTime: true,
      method: "A full resync (PSYNC) gave all data as of the fork of the server",
      asOf: this.#asOf,
    };
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list;
  }

  /** Everything, with `root` too: the data come once. */
  async *records({ kinds }: RecordSelection): RecordStream {
    const connection = this.#connection;
    const { node, cluster, prefix } = this.#server;
    const place = { database: cluster ? 0 : node.db, prefix };
    const records = readRdbRecords(connection, {
      place,
      setting: this.setting,
      kinds,
      notes: this.#notes,
      tmpDir: this.#tmpDir,
      signal: this.#options.signal,
      onLoss: this.#options.onLoss,
      trailer: () => connection.trailer,
      onEnd: ({ createdAt }) => {
        if (createdAt !== undefined) this.#asOf = new Date(createdAt);
        // nothing is asked of the server any more: it shall not have a replica
        connection.close();
      },
    });
    for await (const batch of records) {
      if (batch.kind === "node") this.#keepTrashRoot(batch);
      yield batch;
    }
  }

  #keepTrashRoot({ bytes, count }: RecordBatch): void {
    if (this.#trashRoot !== undefined) return;
    for (let i = 0, at = 0; i < count; i++) {
      const size = bytes.readUInt16BE(at + 8);
      if (bytes.readUInt32BE(at) === TRASH_INODE_HIGH && bytes.readUInt32BE(at + 4) === TRASH_INODE_LOW) {
        this.#trashRoot = Buffer.from(bytes.subarray(at + 10, at + 10 + size));
      }
      at += 10 + size;
    }
  }

  /** The data come once, and not in the order of paths. */
  async lookup(): Promise<never> {
    throw noPointReads();
  }

  /** Only of the root of the trash, after the records. */
  async readNode(inode: bigint): Promise<Buffer | undefined> {
    if (inode !== TRASH_INODE) throw noPointReads();
    return this.#trashRoot;
  }

  async close(): Promise<void> {
    this.#connection.close();
  }
}

/** Refused by whoever takes the option, before the server forks. */
function noPointReads(): InternalError {
  return new InternalError("DECANT_E_REPLICA_READ", "A full resync cannot be asked for single keys");
}
