import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { NotFoundError, UsageError } from "../base/errors.ts";
import type { Consistency, MetadataStore, Snapshot } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import { sortTree } from "../tree/sort-tree.ts";
import { subtree, withoutTrash } from "../tree/subtree.ts";
import { FileType } from "../volume/file-type.ts";
import { FindingList } from "../volume/findings.ts";
import { ROOT_INODE } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import { packBatch, type RecordStream } from "../volume/records.ts";
import { parseSetting } from "../volume/setting.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import { type Decryption, type DumpSource, decodeDump, openDumpFile } from "./dump-file.ts";
import { type SnapshotChoice, snapshotOptions } from "./snapshot-choice.ts";
import { flatTree, snapshotTree } from "./snapshot-tree.ts";
import { openVolumeSnapshot } from "./volume-setting.ts";

export interface VolumeSourceOptions extends SnapshotChoice {
  /** For files that are encrypted; others are read as they are. Pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: Decryption;
  /** Names of the directory to read; none = the whole volume. */
  readonly subdir: readonly Buffer[];
  readonly withTrash: boolean;
  /** The entries of a JSON dump are known to come in another order than that of their names: sort them. */
  readonly isUnsorted?: boolean;
}

/** A volume, wherever it is: in a database or in a dump file. Close it in any case. */
export interface VolumeSource {
  /** File name, `STDIN`, or the address without password. */
  readonly name: string;
  /** It comes in no order, and is sorted in memory of the size that `records` is given. */
  readonly hasIndex: boolean;
  /** A JSON dump that is taken to be in the order of its names, and that can be read again if it is not. */
  readonly canBeSorted: boolean;
  /** What was noticed; complete when the records have ended. */
  readonly findings: FindingList;
  /** How far a database was one instant; undefined for files. */
  readonly consistency: Consistency | undefined;
  /** The setting, then the other records in tree order. To be called once. */
  records(maxBytes: number): RecordStream;
  close(): Promise<void>;
}

/** Whether an argument names a database: it has a scheme. Everything else is a file. */
export function isMetaUrl(argument: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(argument);
}

/** Whether a source can be read only once: a stream, or a file that is one. What cannot be looked at is left to who opens it. */
export async function canReadOnce(source: string | { readonly stream: Readable }): Promise<boolean> {
  if (typeof source !== "string") return true;
  if (isMetaUrl(source)) return false;
  const found = await stat(source).catch(() => undefined);
  return found !== undefined && !found.isFile();
}

/**
 * Opens a volume by META-URL, file name or stream. Throws `NotFoundError`, `UsageError`, `FileError`, `EngineError` and
 * `DataError` as `dump` and `load` do.
 */
export async function openVolumeSource(
  source: string | { readonly stream: Readable },
  options: VolumeSourceOptions,
  context: OperationContext,
): Promise<VolumeSource> {
  if (typeof source === "string" && isMetaUrl(source)) return openDatabase(source, options, context);
  return openDump(typeof source === "string" ? { file: source } : source, options, context);
}

async function openDump(
  source: DumpSource,
  options: VolumeSourceOptions,
  context: OperationContext,
): Promise<VolumeSource> {
  const { subdir, withTrash, isUnsorted = false } = options;
  const dump = await openDumpFile(source, options.decryption, context);
  const findings = new FindingList();
  const { signal, progress } = context;
  const isBinary = dump.format === "binary";
  return {
    name: dump.name,
    hasIndex: isBinary || isUnsorted,
    canBeSorted: !isBinary && !isUnsorted && dump.totalBytes !== undefined,
    findings,
    consistency: undefined,
    records: (maxBytes) => {
      const decoded = decodeDump(dump.format, dump.bytes, findings, signal);
      const memory = { ...context.memory, maxBytes };
      const whole = isBinary ? flatTree(decoded, { ...context, memory }, { withTrash: true, findings }) : decoded;
      const tree = subdir.length > 0 ? subtree(whole, subdir) : withTrash ? whole : withoutTrash(whole);
      if (!isUnsorted) return tree;
      return sortTree(tree, { ...memory, signal, beginSorting: () => progress.begin("Sorting into tree order") });
    },
    close: dump.close,
  };
}

async function openDatabase(
  address: string,
  options: VolumeSourceOptions,
  context: OperationContext,
): Promise<VolumeSource> {
  const { signal, logger, env } = context;
  const store = await openStore(address, { logger, signal, env, tmpDir: context.memory.tmpDir });
  let snapshot: Snapshot | undefined;
  try {
    snapshot = await openVolumeSnapshot(store, snapshotOptions(options, context));
    checkClientVersion(parseSetting(snapshot.setting));
    const root = await findDirectory(snapshot, options.subdir);
    return databaseSource(store, snapshot, root, options, context);
  } catch (error) {
    await snapshot?.close();
    await store.close();
    throw error;
  }
}

function databaseSource(
  store: MetadataStore,
  snapshot: Snapshot,
  root: bigint | undefined,
  options: VolumeSourceOptions,
  context: OperationContext,
): VolumeSource {
  const findings = new FindingList();
  return {
    name: store.address,
    hasIndex: true,
    canBeSorted: false,
    findings,
    get consistency() {
      return snapshot.consistency; // some engines know it only when all is read
    },
    records: async function* (maxBytes) {
      yield packBatch("setting", [{ json: snapshot.setting }]);
      const memory = { ...context.memory, maxBytes };
      yield* snapshotTree(
        snapshot,
        { ...context, memory },
        {
          ...(root === undefined ? {} : { root }),
          withTrash: options.withTrash && root === undefined,
          findings,
        },
      );
    },
    close: async () => {
      await snapshot.close();
      await store.close();
    },
  };
}

/** The directory of those names; undefined for the root. Nothing is created. */
async function findDirectory(snapshot: Snapshot, names: readonly Buffer[]): Promise<bigint | undefined> {
  if (names.length === 0) return undefined;
  let inode = ROOT_INODE;
  let type: number = FileType.directory;
  for (const name of names) {
    const entry = type === FileType.directory ? await snapshot.lookup(inode, name) : undefined;
    if (entry === undefined) {
      throw new NotFoundError("DECANT_E_NO_PATH", `No such file or directory in the volume: ${printablePath(names)}`, {
        hint: "The path is that inside the volume, without the mount point",
      });
    }
    inode = entry.inode;
    type = entry.type;
  }
  if (type === FileType.directory) return inode;
  throw new UsageError("DECANT_E_NOT_DIRECTORY", `not a directory: ${printablePath(names)}`, {
    hint: "--subdir takes a directory of the volume",
  });
}
