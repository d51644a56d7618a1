import type { RecordBatch, RecordKind, RecordStream } from "../../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../../engine.ts";
import { Notes, type OnLoss } from "../../notes.ts";
import { decodeDentry } from "../dentry.ts";
import { type FoundVolume, findEntry, findString } from "./point-reads.ts";
import type { RdbFile } from "./rdb-file.ts";
import { readRdbRecords } from "./rdb-records.ts";

/** A volume in an RDB file: the state of the moment at which the file was made. */
export class RdbSnapshot implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly estimates: ReadonlyMap<RecordKind, number> = new Map();
  readonly unlimitedDirQuotas = "skip";
  readonly #file: RdbFile;
  readonly #volume: FoundVolume;
  readonly #options: SnapshotOptions;
  readonly #tmpDir: string;
  readonly #notes: Notes;

  constructor(file: RdbFile, volume: FoundVolume, tmpDir: string, options: SnapshotOptions) {
    this.#file = file;
    this.#volume = volume;
    this.#options = options;
    this.#tmpDir = tmpDir;
    this.#notes = new Notes(options.logger, options.onLoss);
    this.setting = volume.setting;
    this.consistency = {
      pointInTime: true,
      method: "An RDB file is the database as of the moment at which Redis began to write it",
      asOf: volume.createdAt === undefined ? file.modifiedAt : new Date(volume.createdAt),
    };
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list;
  }

  /** A file has no index: with `root` too, everything is given, for the tree to be taken out of. */
  records({ kinds }: RecordSelection): RecordStream {
    return this.#read(kinds);
  }

  async *#read(kinds: ReadonlySet<RecordKind>): AsyncGenerator<RecordBatch> {
    const { place, setting } = this.#volume;
    const { signal, onLoss } = this.#options;
    const notes = this.#notes;
    const source = await this.#file.beginPass(signal);
    yield* readRdbRecords(source, { place, setting, kinds, notes, tmpDir: this.#tmpDir, signal, onLoss });
  }

  async lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    const { place } = this.#volume;
    return decodeDentry(await findEntry(this.#file, place, parent, name, this.#options.signal, this.#skipsDamage));
  }

  readNode(inode: bigint): Promise<Buffer | undefined> {
    return findString(this.#file, this.#volume.place, `i${inode}`, this.#options.signal, this.#skipsDamage);
  }

  /** Looking for one thing tells nothing of the others. */
  get #skipsDamage(): OnLoss | undefined {
    return this.#options.onLoss && (() => undefined);
  }

  /** The file belongs to the store. */
  async close(): Promise<void> {}
}
