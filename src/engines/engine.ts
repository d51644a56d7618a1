import type { Logger } from "../base/logger.ts";
import type { Progress } from "../base/progress.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../volume/records.ts";
import type { ValueLimits } from "../volume/value-limits.ts";
import type { RecordForm } from "./record-form.ts";

/**
 * The contract between decant and a metadata engine. An engine maps its own bytes to records and back, and knows nothing of
 * files, formats or trees. Everything here that does I/O takes an `AbortSignal` and stops within one request when it fires;
 * errors are `EngineError` (server, database), `DataError` (bytes in it that cannot be right, with the key or row) or
 * `ConflictError` (target), and carry no password.
 */
export interface Engine {
  /** For people: "Redis", "SQLite". */
  readonly name: string;

  /**
   * Connects. Nothing is created and nothing is written, also where the database does not exist.
   * Throws `UsageError` for an address that cannot be understood, `NotFoundError` for a missing database file (unless
   * `options.create`), `EngineError` for a server that cannot be reached.
   */
  open(address: string, options: OpenOptions): Promise<MetadataStore>;
}

export interface OpenOptions {
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Where passwords may be found (`META_PASSWORD`, ...). Passed in, so that libraries and tests decide. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The caller is going to write a volume: an embedded database that does not exist yet is no error. */
  readonly create?: boolean;
  /** Directory for what an embedded database does not hold in memory while it is used; the system's when it is not given. */
  readonly tmpDir?: string;
}

/** One opened metadata database. */
export interface MetadataStore {
  readonly engineName: string;
  /** The address, passwords masked. */
  readonly address: string;

  /** In which form a snapshot gives back what a loader was given. */
  readonly recordForm: RecordForm;

  /** The stored setting as it is, undefined when there is no volume. */
  readSetting(signal: AbortSignal): Promise<Buffer | undefined>;

  /** What a load or format would meet. */
  inspectTarget(signal: AbortSignal): Promise<TargetState>;

  /**
   * Removes what a load of decant that was cut off has left, and nothing else; false when there is nothing of the kind. A load
   * that is still running fails then, and leaves alone what is there. Throws `ConflictError` when that cannot be told apart.
   */
  removeRemains(signal: AbortSignal): Promise<boolean>;

  /** Opens a view of the volume for reading. Throws `NotFoundError` when the database holds no volume. */
  openSnapshot(options: SnapshotOptions): Promise<Snapshot>;

  /** What a volume stored here cannot have; undefined when it can have everything. Usable until the store is closed. */
  valueLimits(signal: AbortSignal): ValueLimits | undefined;

  /**
   * Begins to write a whole volume into a database for which `inspectTarget` said `empty`, or goes on with what it called
   * `interrupted` where `options.resume` is set: the load that left it fails from then on, should it still run.
   */
  openLoader(options: LoaderOptions): Promise<Loader>;

  /** Writes a new, empty volume: what the reference's `format` stores for one. The setting is written last. */
  createVolume(volume: NewVolume, signal: AbortSignal): Promise<void>;

  /**
   * Changes the setting under the strongest protection against other writers that the engine has. `change` gets the value
   * now stored and may be called again when it was changed meanwhile; when it throws, nothing is written.
   */
  updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void>;

  /**
   * Extended attributes of the root inode (1), as of one moment; those that are absent are not in the map. Throws
   * `NotFoundError` when the database holds no volume, as `swapRootXattrs` does.
   */
  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>>;

  /**
   * Compare and set: when every `expected` attribute of the root inode has exactly those bytes, stores `values` and returns
   * true; else changes nothing and returns false. One transaction, which no other writer comes between, real clients
   * included, and which leaves rows and keys as `setxattr` and `removexattr` of the reference do.
   *
   * Whoever gets an error knows nothing, unless it says that nothing was changed: with `DECANT_E_OUTCOME_UNKNOWN`, and when the
   * signal fires, the change may be stored or may yet be stored by the server. To settle that, swap again: of two swaps that
   * expect the same bytes and store others, one at most succeeds.
   */
  swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean>;

  /** The clock of the server; undefined where there is no server. */
  serverTime(signal: AbortSignal): Promise<Date | undefined>;

  /** Replaces the stored usage of users and groups by that of `userQuota` and `groupQuota` batches; stored limits stay. */
  replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void>;

  /** Sessions, ascending by sid. */
  listSessions(signal: AbortSignal): Promise<SessionSummary[]>;

  /** One session with what it holds; undefined when there is none of that number. */
  readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined>;

  /** The counters and, with `more`, what waits for deletion. */
  readUsage(options: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage>;

  /** Closes connections and files; never throws. */
  close(): Promise<void>;
}

/**
 * `volume`: a setting is stored. `occupied`: no volume, but something else. `interrupted`: what a load has written that runs or was cut
 * off, and can go on. `empty`: ready for a load.
 */
export type TargetState =
  | { readonly state: "empty" }
  | { readonly state: "volume"; readonly setting: Buffer }
  | {
      readonly state: "interrupted";
      readonly progress: LoadProgress;
      /** The reference's own sentence, as for `occupied`. */
      readonly message: string;
    }
  | {
      readonly state: "occupied";
      /** The reference's own sentence, such as `Database redis://... is not empty`. */
      readonly message: string;
      /** What can be done, when more is known than that something is there. */
      readonly hint?: string;
      /** A load of decant was cut off in its first moments, before it said anything of itself: `removeRemains` takes away what it left. */
      readonly isBeginning?: boolean;
    };

export interface SnapshotOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Default `auto`. */
  readonly method?: SnapshotMethod;
  /** How long the writers of a server may be held where nothing else leads to one instant. 0: not at all. Default 500. */
  readonly maxPauseMs?: number;
  /** Gets phases where the engine works for long before its first record. */
  readonly progress?: Progress | undefined;
  /**
   * Salvage (docs/salvage.md): called for each thing that cannot be read or understood, which is then left out, while all else is
   * still given. Undefined: `records` throws what is wrong. A lost server is an error in any case.
   */
  readonly onLoss?: (loss: SnapshotLoss) => void;
}

/** Something of a volume that could not be read. */
export interface SnapshotLoss {
  /** What it was a record of, as far as that is known. */
  readonly kind: RecordKind | undefined;
  /** To which inode it belonged, for an entry its directory: so it can be given a path. Undefined where nobody knows. */
  readonly inode?: bigint;
  /** What is wrong, with table and row, key, or file and offset: a sentence without final period, without secrets. */
  readonly message: string;
}

/**
 * How an engine that has no view of one instant comes to it; the others do not look at this.
 *
 *   auto      the best that the server permits; where that is none, `Consistency` says so
 *   tracking  read again what changes meanwhile, until it is proven; `EngineError` where that cannot be done
 *   replica   as a replica gets it
 *   none      key by key: no point in time, and that is wanted
 */
export type SnapshotMethod = "auto" | "replica" | "tracking" | "none";

/** How far a snapshot can be trusted to be one instant. */
export interface Consistency {
  readonly pointInTime: boolean;
  /** How it was made or why it is none, in one sentence without final period. */
  readonly method: string;
  /** The instant, as well as it is known. */
  readonly asOf: Date;
  /** No point in time, but nothing else was asked for. */
  readonly asked?: boolean;
  /** Where changed values were read again: how many, in how many rounds, and how long writers were held, in milliseconds. */
  readonly tracking?: { readonly rereadKeys: number; readonly rounds: number; readonly heldMs: number };
}

export interface RecordSelection {
  /** Only these kinds; what is not asked for is not read where that saves work. Never contains `tree` or `setting`. */
  readonly kinds: ReadonlySet<RecordKind>;
  /**
   * Only what belongs to the inodes of this directory's tree, itself included; other kinds than those of inodes come whole. A source
   * without an index gives the inodes of the whole volume: whoever asks takes the tree out of them.
   */
  readonly root?: bigint;
}

/** What a reader met that is worth a line in the report: `foreign keys ignored`, 12. */
export interface SnapshotNote {
  readonly text: string;
  readonly count: number;
  /** True when something of the volume could not be read: the command then ends with exit code 3. */
  readonly loss: boolean;
}

/** A view of a volume. Close it in any case. */
export interface Snapshot {
  readonly setting: Buffer;
  /** Final once `records` has ended. */
  readonly consistency: Consistency;
  /** Filled while records are read. */
  readonly notes: readonly SnapshotNote[];
  /** Expected number of records by kind, as far as it is cheap to know. */
  readonly estimates: ReadonlyMap<RecordKind, number>;
  /**
   * Whether a JSON dump of this engine has directory quotas with both limits -1; `records` gives them in any case. Default
   * `dump`. The reference skips them for Redis only (docs/spec/json-dump.md §7).
   */
  readonly unlimitedDirQuotas?: "dump" | "skip";

  /**
   * Streams the records, each exactly once, in whatever order is fastest. Counters come in the SQL sense (docs/spec/sql.md
   * §5), with `lastChangelog` when the change log is on and it is not 0. May be called once per snapshot.
   */
  records(selection: RecordSelection): RecordStream;

  /** The entry of that name, undefined when there is none. */
  lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined>;

  /** The attribute record, undefined when there is none. */
  readNode(inode: bigint): Promise<Buffer | undefined>;

  close(): Promise<void>;
}

export interface LoaderOptions {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Expected number of nodes, where it is known: for cache sizes, progress and a first look at the room that there is. */
  readonly expectedNodes?: number;
  /** Bytes of the JSON dump that is loaded, where they are known: for a first look at the room that there is. */
  readonly jsonBytes?: number;
  /**
   * `complete`: a sliceRef record comes for every slice, ascending by id (as from a consolidated tree).
   * `exceptions`: only for slices whose count is not 1 (as in a binary dump).
   */
  readonly sliceRefs: "complete" | "exceptions";
  /** What the target says of this load while it is not complete. Undefined: nothing, and nobody can go on with it. */
  readonly stamp?: LoadStamp;
  /** Go on with what an earlier load has left, where there is such a thing. */
  readonly resume?: boolean;
}

/** Who loads what, and on what the batches of the load depend besides the dump. */
export interface LoadStamp {
  readonly host: string;
  readonly process: number;
  /** RFC 3339. */
  readonly began: string;
  /** Of decant. */
  readonly version: string;
  /** Name of the dump, or address of the volume with passwords masked. */
  readonly source: string;
  /** Memory ceiling of the record index. */
  readonly maxBytes: number;
}

/** A position in the batches of a load. */
export interface LoadCheckpoint {
  /** How many were written, from the first one on. */
  readonly batches: number;
  /** SHA-256 of all of them, in hex. */
  readonly digest: string;
}

/** How far a load is; all positions ascend. */
export interface LoadPosition {
  /** All batches up to here are stored. Undefined: there is nothing to go on with, what is stored has to be removed. */
  readonly checkpoint: LoadCheckpoint | undefined;
  /** What may be stored in part since: nothing beyond the last of these. */
  readonly announced: readonly LoadCheckpoint[];
}

/** What a load that is not complete has left beside its records. */
export interface LoadProgress extends LoadPosition {
  readonly stamp: LoadStamp;
}

/**
 * Writes a whole volume. Until `finish` has returned, no client takes the target for a volume; after `abort` it is as it was before.
 * When anything else throws, call `abort` or `suspend`.
 */
export interface Loader {
  /** False where whoever loads again begins again: then `checkpoint` and `announce` do nothing, and `suspend` does as `abort`. */
  readonly isResumable: boolean;

  /** Where an earlier load stands that this one goes on with: the batches up to its checkpoint go to `skip`, not to `write`. */
  readonly earlier: LoadProgress | undefined;

  /** Takes note of a batch that is stored already. The bytes stay the caller's. */
  skip(batch: RecordBatch): Promise<void>;

  /** Waits until all that was written is as durable as the server makes things, and stores the position with it. */
  checkpoint(position: LoadPosition): Promise<void>;

  /** Stores the position, so that nothing of what is written after this is durable before it. */
  announce(position: LoadPosition): Promise<void>;

  /**
   * Stores records of any kind but `setting`, `tree` and `changeLog`, exactly as they are, and takes over the batch: its bytes
   * may be written again. Await it before the next call.
   */
  write(batch: RecordBatch): Promise<void>;

  /** The attribute records written so far for these inodes, undefined for those that were not. For rare repairs. */
  readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]>;

  /** Overwrites attribute records written before (a `node` batch). For rare repairs. */
  replaceNodes(batch: RecordBatch): Promise<void>;

  /** Completes indexes, sequences and files, makes all durable, and last of all writes the setting. */
  finish(setting: Buffer): Promise<void>;

  /** Removes what was written. Never throws; says in a warning what it had to leave behind. */
  abort(): Promise<void>;

  /** Ends without removing what a later load can go on with; true when there may be any. Never throws. */
  suspend(): Promise<boolean>;
}

/** A volume without files. Attribute records as in volume/attribute.ts. */
export interface NewVolume {
  readonly setting: Buffer;
  readonly root: Buffer;
  /** Undefined when the trash is off. */
  readonly trashRoot: Buffer | undefined;
}

/** What `swapRootXattrs` compares and stores: attributes by name, undefined = absent. */
export interface RootXattrSwap {
  readonly expected: ReadonlyMap<string, Buffer | undefined>;
  readonly values: ReadonlyMap<string, Buffer | undefined>;
}

export interface SettingChange {
  /** The new value; undefined leaves everything as it is. */
  readonly setting: Buffer | undefined;
  /** Directory statistics are switched on: drop the old ones (docs/spec/settings.md §4). */
  readonly dropDirStats: boolean;
  /** User and group quotas are switched on: drop the old ones. */
  readonly dropUserGroupQuotas: boolean;
  /** Attribute record of the trash root, to be stored when it is missing. */
  readonly trashRoot: Buffer | undefined;
}

export interface SessionSummary {
  readonly sid: bigint;
  /** Unix seconds. */
  readonly expire: bigint;
  /** The stored JSON text, undefined when there is none. */
  readonly info: string | undefined;
}

export interface SessionDetail extends SessionSummary {
  readonly sustained: readonly bigint[];
  readonly flocks: readonly { inode: bigint; owner: bigint; type: string }[];
  readonly plocks: readonly { inode: bigint; owner: bigint; records: Buffer }[];
}

/** A number of things and their bytes. */
export interface Tally {
  readonly count: bigint;
  readonly bytes: bigint;
}

export interface VolumeUsage {
  readonly usedSpace: bigint;
  readonly totalInodes: bigint;
  /**
   * Only with `more`: entries of the trash's hour directories (bytes: of regular files only), files and slices waiting for
   * deletion (docs/spec/settings.md §7).
   */
  readonly trashFiles?: Tally;
  readonly pendingDeletedFiles?: Tally;
  readonly trashSlices?: Tally;
  readonly pendingDeletedSlices?: Tally;
}
