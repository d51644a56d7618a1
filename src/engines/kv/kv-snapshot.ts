import { recycle } from "../../base/bytes.ts";
import { NotFoundError } from "../../base/errors.ts";
import { packBatch, type RecordBatch, type RecordKind, type RecordStream } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { assertSetting, lostSetting } from "../lost-setting.ts";
import { Notes, tellOnce } from "../notes.ts";
import { type ChangeLogEnd, readChangeLogEnd } from "./change-log.ts";
import { counterKey, decodeCounter, inodeKey, prefixRange, SETTING_KEY, TAG_EDGE, TAG_NODE } from "./kv-keys.ts";
import type { KvLoss, KvSnapshot, KvStore } from "./kv-store.ts";
import { lostKey } from "./lost-key.ts";
import { rareRecords, writeCounters } from "./rare-records.ts";
import { INODE_KINDS, RecordMapper } from "./record-mapper.ts";
import { readSubtree } from "./subtree-reader.ts";

const EDGE_VALUE_BYTES = 9;

/** A volume in a key-value store, as of the instant of the store's snapshot. */
export class KvVolumeSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number>;
  readonly #snapshot: KvSnapshot;
  readonly #options: SnapshotOptions;
  readonly #notes: Notes;
  readonly #store: KvStore;

  private constructor(
    store: KvStore,
    snapshot: KvSnapshot,
    { setting, estimates }: { setting: Buffer; estimates: ReadonlyMap<RecordKind, number> },
    options: SnapshotOptions,
  ) {
    this.#store = store;
    this.#snapshot = snapshot;
    this.#options = options;
    this.#notes = new Notes(options.logger, options.onLoss);
    this.setting = setting;
    this.estimates = estimates;
    // Asked for when it is looked at: some stores know only when all is read.
    this.consistency = {
      get pointInTime() {
        return snapshot.pointInTime;
      },
      get method() {
        return snapshot.method;
      },
      get asOf() {
        return snapshot.asOf;
      },
    };
  }

  /** Throws `NotFoundError` when there is no volume. */
  static async open(store: KvStore, options: SnapshotOptions): Promise<KvVolumeSnapshot> {
    const { signal, logger } = options;
    signal.throwIfAborted();
    const tell = tellOnce(options.onLoss);
    let damage: string | undefined;
    const onLoss = ({ key, message }: KvLoss): void => {
      damage ??= message;
      tell?.(key === undefined ? { kind: undefined, message } : lostKey(key, message));
    };
    const snapshot = await store.openSnapshot(tell === undefined ? { signal, logger } : { signal, logger, onLoss });
    try {
      const [setting, inodes] = await snapshot.get([SETTING_KEY, counterKey("totalInodes")]);
      if (setting === undefined || setting.length === 0) {
        throw damage === undefined ? noVolume(store) : lostSetting(store.address, damage);
      }
      if (tell !== undefined) assertSetting(store.address, setting);
      return new KvVolumeSnapshot(store, snapshot, { setting, estimates: estimate(decodeCounter(inodes)) }, options);
    } catch (error) {
      await snapshot.close();
      throw error;
    }
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list;
  }

  records(selection: RecordSelection): RecordStream {
    return this.#read(selection);
  }

  async *#read({ kinds, root }: RecordSelection): AsyncGenerator<RecordBatch> {
    const { signal } = this.#options;
    const mapper = new RecordMapper(this.#notes, kinds);
    for await (const batch of this.#batches(kinds, root, mapper)) {
      signal.throwIfAborted();
      yield batch;
    }
    for (const batch of mapper.takeAll()) {
      signal.throwIfAborted();
      yield batch;
    }
  }

  async *#batches(
    kinds: ReadonlySet<RecordKind>,
    root: bigint | undefined,
    mapper: RecordMapper,
  ): AsyncGenerator<RecordBatch> {
    if (INODE_KINDS.some((kind) => kinds.has(kind))) {
      if (root === undefined) yield* this.#readAll(mapper);
      else yield* readSubtree(this.#snapshot, mapper, root);
    }
    yield* rareRecords(this.#snapshot, kinds, mapper, this.#notes);
    const log = await this.#changeLogEnd(kinds);
    if (kinds.has("counter")) await writeCounters(this.#snapshot, mapper, this.#notes, log.last);
    if (log.lines.length > 0) yield packBatch("changeLog", log.lines);
  }

  async #changeLogEnd(kinds: ReadonlySet<RecordKind>): Promise<ChangeLogEnd> {
    const withLines = kinds.has("changeLog");
    const { changeLog } = this.#store;
    const isWanted = (withLines || kinds.has("counter")) && parseSetting(this.setting).changeLog;
    if (changeLog === undefined || !isWanted) return { last: 0n, lines: [] };
    return readChangeLogEnd(this.#snapshot, changeLog, withLines);
  }

  async *#readAll(mapper: RecordMapper): AsyncGenerator<RecordBatch> {
    for await (const page of this.#snapshot.scan(prefixRange("A"))) {
      mapper.map(page);
      recycle(page.bytes);
      yield* mapper.takeFull();
    }
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    const [value] = await this.#snapshot.get([inodeKey(parent, TAG_EDGE, name)]);
    if (value?.length !== EDGE_VALUE_BYTES) return undefined;
    return { type: value[0]!, inode: value.readBigUInt64BE(1) };
  }

  async readNode(inode: bigint): Promise<Buffer | undefined> {
    return (await this.#snapshot.get([inodeKey(inode, TAG_NODE)]))[0];
  }

  close(): Promise<void> {
    return this.#snapshot.close();
  }
}

export function noVolume(store: KvStore): NotFoundError {
  return new NotFoundError("DECANT_E_NO_VOLUME", `The database ${store.address} holds no volume`, {
    hint: "Check the prefix or directory in the address; a load that was cut off is none either",
  });
}

/** Both root directories are not counted; every inode but them has an entry. */
function estimate(totalInodes: bigint): ReadonlyMap<RecordKind, number> {
  const inodes = Number(totalInodes);
  if (inodes <= 0) return new Map();
  return new Map<RecordKind, number>([
    ["node", inodes + 2],
    ["edge", inodes],
  ]);
}
