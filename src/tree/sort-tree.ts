import { copyBytes, recycle, viewOf } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import { decodeAttribute, encodeAttribute } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import { TRASH_INODE } from "../volume/inode.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import {
  attributeOffset,
  CHUNKS_LIST,
  chunksOffset,
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_ROOT,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
  ITEM_TAG,
  KEEP_ACL_ID,
  LEAVE_ACCESS_ACL,
  LEAVE_DEFAULT_ACL,
  LEAVE_XATTRS,
  symlinkOffset,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../volume/tree-item.ts";
import type { BlockStore } from "./block-store.ts";
import { JOINED_ITEM, JOINED_PARENT } from "./inode-join.ts";
import type { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";
import type { JoinedSink } from "./joined-sink.ts";
import { TreeFindings } from "./tree-findings.ts";
import { RecordIndex, ROOTS_PARENT, type TreeOrderOptions } from "./tree-order.ts";

/**
 * Brings a tree whose entries come in any order into tree order, within a memory ceiling: names ascend, the trash comes last,
 * and members of a directory stand before its entries. Nothing else is changed or put right. Batches that are no trees pass
 * as they come, before the trees.
 *
 * Entries are found again by the inode of their directory: throws `DataError` for a directory that stands in two places.
 */
export async function* sortTree(
  records: RecordStream,
  options: Omit<TreeOrderOptions, "roots" | "findings" | "observer">,
): RecordStream {
  const index = new RecordIndex({ ...options, roots: [], findings: new TreeFindings() });
  const items = new ItemSorter(index.entries, index.overflow, index.keys);
  try {
    for await (const batch of records) {
      if (batch.kind !== "tree") {
        yield batch;
        continue;
      }
      items.write(batch);
      recycle(batch.bytes);
    }
    options.signal.throwIfAborted();
    await index.build();
    yield* index.walk();
  } finally {
    index.close();
  }
}

const ROOTS: Buffer = Buffer.alloc(8);
ROOTS.writeBigUInt64BE(ROOTS_PARENT);

/** Gives each entry, with all that belongs to it, to the store that sorts by directory and name. */
class ItemSorter {
  readonly #entries: JoinedSink;
  readonly #overflow: BlockStore;
  readonly #directories: InodeSet;
  /** Items of the directories that are open: what ends one may hold members of it. */
  readonly #open: Buffer[] = [];
  /** A file whose chunks are still coming, and where those that came are. */
  #held: { readonly item: Buffer; readonly address: number } | undefined;

  constructor(entries: JoinedSink, overflow: BlockStore, keys: InodeKeys) {
    this.#entries = entries;
    this.#overflow = overflow;
    this.#directories = new InodeSet(keys);
  }

  write({ bytes }: RecordBatch): void {
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; ) {
      const end = at + view.getUint32(at);
      const tag = view.getUint8(at + ITEM_TAG);
      if (tag === TREE_CHUNKS) {
        this.#overflow.append(bytes, at + CHUNKS_LIST, end);
      } else {
        this.#endChunks();
        if (tag === TREE_ENTRY) this.#entry(bytes, view, at, end);
        else this.#leave(bytes, at, end);
      }
      at = end;
    }
  }

  #entry(bytes: Buffer, view: DataView, at: number, end: number): void {
    if (view.getUint8(at + ENTRY_TYPE) === FileType.directory) {
      this.#checkDirectory(bytes, at);
      this.#open.push(Buffer.from(bytes.subarray(at, end)));
    } else if ((view.getUint8(at + ENTRY_FLAGS) & ENTRY_MORE_CHUNKS) !== 0) {
      const chunks = chunksOffset(bytes, at);
      this.#held = {
        item: Buffer.from(bytes.subarray(at, chunks)),
        address: this.#overflow.append(bytes, chunks, end),
      };
    } else {
      this.#put(view, at, end, this.#parent());
    }
  }

  /** Puts the reference that the walk replaces by the chunks (tree-order.ts) into the entry. */
  #endChunks(): void {
    if (this.#held === undefined) return;
    const { item, address } = this.#held;
    this.#held = undefined;
    const whole = Buffer.alloc(item.length + 16);
    item.copy(whole);
    whole.writeUInt32BE(whole.length, 0);
    whole.writeUInt32BE(16, ENTRY_CHUNKS_SIZE);
    whole.writeBigUInt64BE(BigInt(address), item.length);
    whole.writeBigUInt64BE(BigInt(this.#overflow.length - address), item.length + 8);
    this.#put(viewOf(whole), 0, whole.length, this.#parent());
  }

  #leave(bytes: Buffer, at: number, end: number): void {
    let item = withLateMembers(this.#open.pop()!, bytes, at, end);
    if (this.#open.length === 0) item = withRootName(item);
    this.#put(viewOf(item), 0, item.length, this.#parent());
  }

  #put(view: DataView, at: number, end: number, parent: Buffer): void {
    const size = JOINED_ITEM + end - at;
    const parentAt = parent === ROOTS ? 0 : ENTRY_INODE;
    const to = this.#entries.reserve(parent, parentAt, size);
    const target = this.#entries.view;
    target.setUint32(to, size);
    copyBytes(viewOf(parent), parentAt, parentAt + 8, target, to + JOINED_PARENT);
    copyBytes(view, at, end, target, to + JOINED_ITEM);
  }

  /** The item of the directory at hand, or `ROOTS`. */
  #parent(): Buffer {
    return this.#open[this.#open.length - 1] ?? ROOTS;
  }

  #checkDirectory(bytes: Buffer, at: number): void {
    if (!this.#directories.add(bytes, at + ENTRY_INODE)) return;
    const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
    throw new DataError(
      "DECANT_E_TREE",
      `The directory with inode ${inode} stands in two places, in a dump that is not in the order of its names`,
      { hint: "The dump is damaged: `decant verify` says where" },
    );
  }
}

/** The walk gives roots in the order of these names, and takes the names away. */
function withRootName(item: Buffer): Buffer {
  const isTrash = (item[ENTRY_FLAGS]! & ENTRY_TRASH_ROOT) !== 0 || item.readBigUInt64BE(ENTRY_INODE) === TRASH_INODE;
  const named = Buffer.alloc(item.length + 1);
  item.copy(named, 0, 0, ENTRY_NAME);
  named[ENTRY_NAME] = isTrash ? 1 : 0;
  item.copy(named, ENTRY_NAME + 1, ENTRY_NAME);
  named.writeUInt32BE(named.length, 0);
  named.writeUInt16BE(1, ENTRY_NAME_SIZE);
  named[ENTRY_FLAGS]! |= ENTRY_ROOT;
  return named;
}

/** The item of a directory with the members that the leave item `bytes[at..end)` brings. */
function withLateMembers(item: Buffer, bytes: Buffer, at: number, end: number): Buffer {
  const accessAclId = bytes.readUInt32BE(at + LEAVE_ACCESS_ACL);
  const defaultAclId = bytes.readUInt32BE(at + LEAVE_DEFAULT_ACL);
  const xattrs = bytes.subarray(at + LEAVE_XATTRS, end);
  const hasAcl = accessAclId !== KEEP_ACL_ID || defaultAclId !== KEEP_ACL_ID;
  if (!hasAcl && xattrs.length === 0) return item;
  const start = attributeOffset(item, 0);
  const rest = symlinkOffset(item, 0);
  let attribute = item.subarray(start, rest);
  if (hasAcl) {
    const decoded = decodeAttribute(attribute);
    if (accessAclId !== KEEP_ACL_ID) decoded.accessAclId = accessAclId;
    if (defaultAclId !== KEEP_ACL_ID) decoded.defaultAclId = defaultAclId;
    attribute = encodeAttribute(decoded);
  }
  // A directory has no chunks: its extended attributes stand last.
  const whole = Buffer.concat([item.subarray(0, start), attribute, item.subarray(rest), xattrs]);
  whole.writeUInt32BE(whole.length, 0);
  whole.writeUInt16BE(attribute.length, ENTRY_ATTRIBUTE_SIZE);
  whole.writeUInt32BE(item.readUInt32BE(ENTRY_XATTRS_SIZE) + xattrs.length, ENTRY_XATTRS_SIZE);
  return whole;
}
