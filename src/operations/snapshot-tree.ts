import type { Snapshot } from "../engines/engine.ts";
import { TreeFindings } from "../tree/tree-findings.ts";
import { treeOrder } from "../tree/tree-order.ts";
import { withoutBackupLease } from "../volume/backup-xattrs.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import { ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import type { RecordKind, RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";
import { KindProgress } from "./kind-progress.ts";
import type { SnapshotLosses } from "./snapshot-losses.ts";

/** What a dump in tree order is made of; usage, statistics and references are derived data. */
const TREE_KINDS: readonly RecordKind[] = [
  "counter",
  "node",
  "edge",
  "chunk",
  "symlink",
  "xattr",
  "acl",
  "sustained",
  "delFile",
  "quota",
  "userQuota",
  "groupQuota",
];

/** Takes what can be read of a damaged volume. */
export interface SnapshotSalvage {
  /** What the engine has left out. */
  readonly losses: SnapshotLosses;
  readonly lostFound: boolean;
}

export interface SnapshotTreeOptions extends FlatTreeOptions {
  readonly salvage?: SnapshotSalvage | undefined;
}

export interface FlatTreeOptions {
  /** Directory that becomes the root; undefined = the whole volume. */
  readonly root?: bigint;
  readonly withTrash: boolean;
  /** With the end of the change log, where the engine's dumps have it. */
  readonly withChangeLog?: boolean;
  readonly findings: FindingList;
  /** Rebuild what is lost of a damaged source; with `lostFound`, give what no root reaches a place. */
  readonly salvage?: { readonly lostFound: boolean } | undefined;
}

/** A snapshot's records in tree order; what was noticed on the way is added to the findings when the stream ends. */
export async function* snapshotTree(
  snapshot: Snapshot,
  context: OperationContext,
  options: SnapshotTreeOptions,
): RecordStream {
  const { root, findings, withChangeLog = false, salvage } = options;
  const records = snapshot.records({
    kinds: new Set<RecordKind>([...TREE_KINDS, ...(withChangeLog ? ["changeLog" as const] : [])]),
    ...(root === undefined ? {} : { root }),
  });
  const reading = new KindProgress(context.progress, "Reading", snapshot.estimates);
  const tree = flatTree(counted(withoutBackupLease(records), reading), context, {
    ...options,
    onEnd: () => reading.end(),
  });
  yield* salvage === undefined ? tree : salvage.losses.named(tree);
  for (const note of snapshot.notes) findings.addOther("reader", note.text, note.loss, undefined, note.count);
}

/** Flat records in tree order; `onEnd` is called when all have been read. What was noticed is added when the stream ends. */
export async function* flatTree(
  records: RecordStream,
  context: OperationContext,
  options: FlatTreeOptions & { readonly onEnd?: () => void },
): RecordStream {
  const { progress, memory, signal } = context;
  const { root, findings, withTrash } = options;
  const treeFindings = new TreeFindings();
  const roots = [{ inode: root ?? ROOT_INODE, type: FileType.directory }];
  if (withTrash) roots.push({ inode: TRASH_INODE, type: FileType.directory });
  yield* treeOrder(records, {
    roots,
    maxBytes: memory.maxBytes,
    tmpDir: memory.tmpDir,
    signal,
    findings: treeFindings,
    beginSorting: () => {
      options.onEnd?.();
      return progress.begin("Sorting into tree order");
    },
  });
  addTreeFindings(findings, treeFindings, root === undefined && withTrash);
}

async function* counted(records: RecordStream, progress: KindProgress): RecordStream {
  for await (const batch of records) {
    progress.count(batch);
    yield batch;
  }
}

/** A part of a volume has records without an entry by its nature; only the whole can say that something is lost. */
function addTreeFindings(findings: FindingList, tree: TreeFindings, whole: boolean): void {
  const examples = (kind: string): (() => string) | undefined => {
    const inodes = tree.examples.get(kind);
    return inodes === undefined ? undefined : () => inodes.map((inode) => `inode ${inode}`).join(", ");
  };
  for (const [kind, count] of tree.duplicates) findings.add("duplicate-record", () => kind, count);
  for (const [kind, count] of tree.differing) findings.add("duplicate-differs", () => kind, count);
  if (tree.damagedNodes > 0) findings.add("damaged-node", examples("damaged-node"), tree.damagedNodes);
  if (!whole) return;
  if (tree.nodesWithoutEntry > 0) {
    findings.add("node-without-entry", examples("node-without-entry"), tree.nodesWithoutEntry);
  }
  if (tree.unreachableDirectories > 0) {
    findings.add("unreachable-directory", examples("unreachable-directory"), tree.unreachableDirectories);
  }
}
