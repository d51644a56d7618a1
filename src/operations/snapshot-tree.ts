import type { Snapshot } from "../engines/engine.ts";
import { type TreeFindingKind, TreeFindings } from "../tree/tree-findings.ts";
import { treeOrder } from "../tree/tree-order.ts";
import { withoutBackupLease } from "../volume/backup-xattrs.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingKind, FindingList } from "../volume/findings.ts";
import { ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import type { RecordKind, RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";
import { KindProgress } from "./kind-progress.ts";
import { SnapshotLosses } from "./snapshot-losses.ts";

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

/** Makes a sound tree of what can be read of a damaged volume. */
export interface TreeSalvage {
  /** Give what no root reaches a place. */
  readonly lostFound: boolean;
  /** What the source has left out. */
  readonly losses?: SnapshotLosses;
}

export interface SnapshotTreeOptions {
  /** Directory that becomes the root; undefined = the whole volume. */
  readonly root?: bigint;
  readonly withTrash: boolean;
  /** With the end of the change log, where the engine's dumps have it. */
  readonly withChangeLog?: boolean;
  readonly findings: FindingList;
  readonly salvage?: TreeSalvage | undefined;
}

/** A snapshot's records in tree order; what was noticed on the way is added to the findings when the stream ends. */
export async function* snapshotTree(
  snapshot: Snapshot,
  context: OperationContext,
  options: SnapshotTreeOptions,
): RecordStream {
  const { root, findings, withChangeLog = false } = options;
  const records = snapshot.records({
    kinds: new Set<RecordKind>([...TREE_KINDS, ...(withChangeLog ? ["changeLog" as const] : [])]),
    ...(root === undefined ? {} : { root }),
  });
  const reading = new KindProgress(context.progress, "Reading", snapshot.estimates);
  yield* flatTree(counted(withoutBackupLease(records), reading), context, { ...options, onEnd: () => reading.end() });
  for (const note of snapshot.notes) findings.addOther("reader", note.text, note.loss, undefined, note.count);
}

/** Flat records in tree order; `onEnd` is called when all have been read. What was noticed is added when the stream ends. */
export async function* flatTree(
  records: RecordStream,
  context: OperationContext,
  options: SnapshotTreeOptions & { readonly onEnd?: () => void },
): RecordStream {
  const { salvage } = options;
  if (salvage === undefined) return yield* orderedTree(records, context, options, new TreeFindings());
  const isWhole = options.root === undefined && options.withTrash;
  const losses = salvage.losses ?? new SnapshotLosses(options.findings, context);
  try {
    const found = new TreeFindings({
      onEach: (kind, inode, detail) => {
        if (isWhole || !OF_THE_WHOLE.has(kind)) losses.addFinding(SALVAGE_KINDS[kind], inode, detail);
      },
    });
    yield* losses.named(orderedTree(records, context, options, found));
  } finally {
    if (salvage.losses === undefined) losses.close();
  }
}

/** What `TreeFindings` tell of a volume that is salvaged. */
const SALVAGE_KINDS: Readonly<Record<TreeFindingKind, FindingKind>> = {
  "duplicate-differs": "duplicate-differs",
  "damaged-node": "damaged-node",
  "node-without-entry": "lost-inode",
  remains: "inode-remains",
  "unreachable-directory": "lost-inode",
  "rebuilt-node": "rebuilt-node",
  "placed-inode": "placed-inode",
  "unplaced-inode": "unplaced-inode",
  "entry-left-out": "entry-left-out",
  "directory-repeated": "directory-repeated",
};

/** A part of a volume has inodes without an entry by its nature. */
const OF_THE_WHOLE: ReadonlySet<TreeFindingKind> = new Set(["node-without-entry", "remains", "unreachable-directory"]);

async function* orderedTree(
  records: RecordStream,
  { progress, memory, signal }: OperationContext,
  options: SnapshotTreeOptions & { readonly onEnd?: () => void },
  treeFindings: TreeFindings,
): RecordStream {
  const { root, findings, withTrash, salvage } = options;
  const roots = [{ inode: root ?? ROOT_INODE, type: FileType.directory }];
  if (withTrash) roots.push({ inode: TRASH_INODE, type: FileType.directory });
  yield* treeOrder(records, {
    roots,
    maxBytes: memory.maxBytes,
    tmpDir: memory.tmpDir,
    signal,
    findings: treeFindings,
    ...(salvage === undefined ? {} : { salvage: { lostFound: salvage.lostFound, seconds: REBUILT_SECONDS } }),
    beginSorting: () => {
      options.onEnd?.();
      return progress.begin("Sorting into tree order");
    },
  });
  for (const [kind, count] of treeFindings.duplicates) findings.add("duplicate-record", () => kind, count);
  if (salvage === undefined) addTreeFindings(findings, treeFindings, root === undefined && withTrash);
}

/** Times of what is rebuilt: no time, so that a load of the same dump can be gone on with. */
const REBUILT_SECONDS = 0n;

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
