import type { Snapshot } from "../engines/engine.ts";
import { DUMP_ORDER } from "../formats/binary/segment-types.ts";
import { type Consolidated, consolidate } from "../tree/consolidate.ts";
import { KindOrder } from "../tree/kind-order.ts";
import { ATTR_ATIME, ATTR_NLINK, ATTR_TYPE_MODE } from "../volume/attribute.ts";
import { withoutBackupLease } from "../volume/backup-xattrs.ts";
import { FileType } from "../volume/file-type.ts";
import type { FindingList } from "../volume/findings.ts";
import { TRASH_INODE, TRASH_INODE_HIGH, TRASH_INODE_LOW } from "../volume/inode.ts";
import type { FlatKind, RecordBatch, RecordStream } from "../volume/records.ts";
import { type OperationContext, withMemory } from "./context.ts";
import { type EncodeBinaryOptions, encodeInOrder, sharedSlices } from "./encode-binary.ts";
import { KindProgress } from "./kind-progress.ts";
import type { RecordCounts } from "./report.ts";
import { snapshotTree, type TreeSalvage } from "./snapshot-tree.ts";

export interface BinaryDocumentOptions extends EncodeBinaryOptions {
  /** Directory that becomes the root; undefined = the whole volume. */
  readonly root: bigint | undefined;
  readonly withTrash: boolean;
  readonly trashDays: bigint;
  /** Only for parts: see `DumpDocumentOptions`. */
  readonly salvage?: TreeSalvage | undefined;
}

/** Filled while the document is made. */
export interface BinaryDocumentResult {
  counts: RecordCounts;
  bytes: number;
}

/**
 * The pieces of a binary dump of a snapshot. A whole volume is given exactly as the engine stores it. A part of one (a
 * directory, or all but the trash) is given as the volume that loading a JSON dump of that part would make: link counts,
 * statistics, usage and references of the whole would be wrong for it.
 */
export async function* binaryDocument(
  snapshot: Snapshot,
  options: BinaryDocumentOptions,
  context: OperationContext,
  result: BinaryDocumentResult,
): AsyncGenerator<Buffer> {
  const isWhole = options.root === undefined && options.withTrash;
  const { maxBytes, tmpDir } = context.memory;
  // A part needs three indexes side by side: for the tree, for its consolidation, and for the order.
  const share = isWhole ? maxBytes : Math.floor(maxBytes / 3);
  const order = new KindOrder({ kinds: DUMP_ORDER, maxBytes: share, tmpDir });
  const encoded = { counts: new Map<FlatKind, number>(), bytes: 0 };
  const nodes = { count: 0, directories: 0 };
  try {
    const records = isWhole
      ? wholeRecords(snapshot, options.findings, context)
      : partRecords(snapshot, order, options, withMemory(context, share));
    for await (const batch of records) {
      context.signal.throwIfAborted();
      if (batch.kind === "node") countNodes(batch, nodes);
      order.add(batch);
    }
    yield* encodeInOrder(order, options, context, encoded);
    result.bytes = encoded.bytes;
    result.counts = {
      ...Object.fromEntries(encoded.counts),
      directory: nodes.directories,
      file: nodes.count - nodes.directories,
    };
  } finally {
    order.close();
  }
}

async function* wholeRecords(snapshot: Snapshot, findings: FindingList, context: OperationContext): RecordStream {
  const reading = new KindProgress(context.progress, "Reading", snapshot.estimates);
  for await (const batch of withoutBackupLease(snapshot.records({ kinds: new Set(DUMP_ORDER) }))) {
    reading.count(batch);
    yield batch;
  }
  reading.end();
  for (const note of snapshot.notes) findings.addOther("reader", note.text, note.loss, undefined, note.count);
}

async function* partRecords(
  snapshot: Snapshot,
  order: KindOrder,
  options: BinaryDocumentOptions,
  context: OperationContext,
): RecordStream {
  const { root, withTrash, findings, salvage } = options;
  const part = root === undefined ? {} : { root };
  const tree = snapshotTree(snapshot, context, { ...part, withTrash, findings, salvage });
  const consolidated: Consolidated = { source: new Map(), loaded: new Map(), entries: 0, directories: 0, roots: 0 };
  const flat = consolidate(
    tree,
    {
      ...context.memory,
      findings,
      repair: order.repair,
      trashDays: () => options.trashDays,
      strayQuotas: "leave-out",
    },
    consolidated,
  );
  // asked for when all records have come: a source that gives them once knows it then
  let trashRoot: Promise<Buffer | undefined> | undefined;
  for await (const batch of flat) {
    if (batch.kind === "node") {
      trashRoot ??= snapshot.readNode(TRASH_INODE);
      const attribute = await trashRoot;
      if (attribute !== undefined) keepTrashTimes(batch, attribute);
    }
    if (batch.kind === "sliceRef") yield sharedSlices(batch);
    else yield batch;
  }
}

/** The new, empty trash root gets the times of the old one: else no two dumps of one part would be the same. */
function keepTrashTimes({ bytes, count }: RecordBatch, trashRoot: Buffer): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const isTrashRoot = bytes.readUInt32BE(at) === TRASH_INODE_HIGH && bytes.readUInt32BE(at + 4) === TRASH_INODE_LOW;
    if (isTrashRoot) trashRoot.copy(bytes, at + 10 + ATTR_ATIME, ATTR_ATIME, ATTR_NLINK);
    at += 10 + bytes.readUInt16BE(at + 8);
  }
}

function countNodes({ bytes, count }: RecordBatch, nodes: { count: number; directories: number }): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (bytes[at + 10 + ATTR_TYPE_MODE]! >> 4 === FileType.directory) nodes.directories++;
    at += 10 + bytes.readUInt16BE(at + 8);
  }
  nodes.count += count;
}
