import { ByteWriter } from "../base/bytes.ts";
import { ATTR_ATIME, ATTR_BASE_BYTES, ATTR_LENGTH, ATTR_MIN_BYTES, ATTR_MTIME } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { RecordStream } from "../volume/records.ts";
import {
  ENTRY_ATTRIBUTE_SIZE,
  ENTRY_CHUNKS_SIZE,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_MORE_CHUNKS,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_NODE_MISSING,
  ENTRY_ROOT,
  ENTRY_SYMLINK_SIZE,
  ENTRY_TYPE,
  ENTRY_XATTRS_SIZE,
} from "../volume/tree-item.ts";
import { compareFacts } from "./compare-facts.ts";
import { writeFacts } from "./entry-facts.ts";
import type { FactName } from "./fact-names.ts";
import { type ChangeSink, NEW_SIDE, OLD_SIDE, type Side } from "./tree-changes.ts";
import { TreeCursor } from "./tree-cursor.ts";

export interface DiffTreesOptions {
  readonly signal: AbortSignal;
  /** Facts whose differences do not count. */
  readonly ignored: ReadonlySet<FactName>;
  /** Both trees number their files alike, so that another inode at a path is another file: its places are given singly. */
  readonly sameNumbers: boolean;
  readonly sink: ChangeSink;
}

/** Totals of a comparison; filled while it runs. */
export interface DiffTreesResult {
  oldEntries: number;
  newEntries: number;
  equal: number;
  /** The side that has no trash while the other one has. */
  missingTrash: Side | undefined;
}

/** Entries that are passed between two looks at the signal and at what waits to be taken. */
const STEP_ENTRIES = 4096;

/**
 * Goes through two trees (batches of `tree` and `acl`, other kinds are passed over) side by side, in the order of their
 * names, and gives every path that is not the same on both to the sink. Yields now and then, when the sink may be emptied.
 * Memory: one batch and the path of open directories per side.
 *
 * A root's inode is not compared, as a part of a volume has that of its top directory; a trash that one side does not have
 * at all is an empty one. Throws `UnsortedTreeError` (tree-cursor.ts).
 */
export async function* diffTrees(
  oldTree: RecordStream,
  newTree: RecordStream,
  options: DiffTreesOptions,
  result: DiffTreesResult,
): AsyncGenerator<void> {
  const cursors: Cursors = [new TreeCursor(oldTree, OLD_SIDE), new TreeCursor(newTree, NEW_SIDE)];
  const merge = new TreeMerge(cursors, options);
  try {
    for (;;) {
      if (cursors[OLD_SIDE].ready() && cursors[NEW_SIDE].ready()) {
        if (!merge.run(STEP_ENTRIES)) break;
        yield;
        options.signal.throwIfAborted();
      }
      for (const cursor of cursors) if (!cursor.ready()) await cursor.fill();
    }
  } finally {
    for (const cursor of cursors) await cursor.close();
  }
  result.oldEntries = cursors[OLD_SIDE].entries;
  result.newEntries = cursors[NEW_SIDE].entries;
  result.equal = merge.equal;
  result.missingTrash = merge.missingTrash;
}

type Cursors = readonly [TreeCursor, TreeCursor];

/** An open directory. */
interface Frame {
  /** Size of its path in `#path`. */
  readonly pathSize: number;
  readonly inodes: readonly [bigint, bigint];
}

const NO_INODE = 0n;
const BOTH = 2;
/** Ignored for roots. */
const ROOT_IGNORES: readonly FactName[] = ["inode"];

class TreeMerge {
  equal = 0;
  missingTrash: Side | undefined;
  readonly #cursors: Cursors;
  readonly #options: DiffTreesOptions;
  readonly #rootIgnored: ReadonlySet<FactName>;
  readonly #compareAtime: boolean;
  /** Directories that are open on both sides, then those that are on one alone. */
  readonly #frames: Frame[] = [];
  /** The side that goes alone below a directory that only it has, or BOTH. */
  #alone: Side | typeof BOTH = BOTH;
  /** Frames when both sides go on together. */
  #together = 0;
  readonly #path: ByteWriter = new ByteWriter(4096);
  readonly #oldFacts: ByteWriter = new ByteWriter(4096);
  readonly #newFacts: ByteWriter = new ByteWriter(4096);
  #position = 0;
  #inTrash = false;

  constructor(cursors: Cursors, options: DiffTreesOptions) {
    this.#cursors = cursors;
    this.#options = options;
    this.#rootIgnored = new Set([...options.ignored, ...ROOT_IGNORES]);
    this.#compareAtime = !options.ignored.has("atime");
  }

  /** Passes up to `limit` items or as far as the batches go; false when both trees have ended. Both cursors are ready. */
  run(limit: number): boolean {
    const [a, b] = this.#cursors;
    for (let i = 0; i < limit; i++) {
      if (this.#alone !== BOTH) {
        if (!this.#cursors[this.#alone].ready()) return true;
        this.#stepAlone(this.#alone);
        continue;
      }
      if (!a.ready() || !b.ready()) return true;
      if (a.state === "entry" && b.state === "entry") this.#stepEntries(a, b);
      else if (a.state === "entry") this.#single(OLD_SIDE);
      else if (b.state === "entry") this.#single(NEW_SIDE);
      else if (this.#frames.length === 0) return false;
      else {
        a.advance();
        b.advance();
        this.#leave();
      }
    }
    return true;
  }

  #stepEntries(a: TreeCursor, b: TreeCursor): void {
    const order = this.#frames.length === 0 ? Number(a.isTrash) - Number(b.isTrash) : compareNames(a, b);
    if (order < 0) this.#single(OLD_SIDE);
    else if (order > 0) this.#single(NEW_SIDE);
    else this.#pair(a, b);
  }

  /** The same path on both sides. */
  #pair(a: TreeCursor, b: TreeCursor): void {
    const isRoot = this.#frames.length === 0;
    if (!isRoot && this.#isSame(a, b)) this.equal++;
    else this.#compare(a, b, isRoot);
    const inA = a.isDirectory;
    const inB = b.isDirectory;
    if (inA || inB) this.#enter(a, inA ? a.inode : NO_INODE, inB ? b.inode : NO_INODE);
    if (inA !== inB) this.#goAlone(inA ? OLD_SIDE : NEW_SIDE);
    a.advance();
    b.advance();
  }

  #compare(a: TreeCursor, b: TreeCursor, isRoot: boolean): void {
    const options = this.#options;
    const oldFacts = this.#oldFacts;
    const newFacts = this.#newFacts;
    oldFacts.length = 0;
    newFacts.length = 0;
    writeFacts(oldFacts, a);
    writeFacts(newFacts, b);
    if (!isRoot && options.sameNumbers && a.inode !== b.inode) {
      this.#position++;
      this.#place(OLD_SIDE, a, oldFacts);
      this.#place(NEW_SIDE, b, newFacts);
      return;
    }
    const ignored = isRoot ? this.#rootIgnored : options.ignored;
    if (compareFacts(oldFacts.buffer, 0, newFacts.buffer, 0, ignored).length === 0) {
      this.equal++;
      return;
    }
    // A root's number stays out of the report as well.
    if (isRoot) oldFacts.view.setBigUint64(0, b.inode);
    options.sink.changed(++this.#position, this.#pathOf(a), oldFacts.written(), newFacts.written());
  }

  /** An entry that only one side has, and what is below it. */
  #single(side: Side): void {
    const cursor = this.#cursors[side];
    const isRoot = this.#frames.length === 0;
    if (!isRoot) this.#report(side, cursor);
    else if (cursor.isTrash) this.missingTrash = side === OLD_SIDE ? NEW_SIDE : OLD_SIDE;
    if (cursor.isDirectory) {
      this.#enter(cursor, cursor.inode, cursor.inode);
      this.#goAlone(side);
    }
    cursor.advance();
  }

  #stepAlone(side: Side): void {
    const cursor = this.#cursors[side];
    if (cursor.state === "entry") {
      this.#report(side, cursor);
      if (cursor.isDirectory) this.#enter(cursor, cursor.inode, cursor.inode);
      cursor.advance();
      return;
    }
    cursor.advance();
    this.#leave();
    if (this.#frames.length === this.#together) this.#alone = BOTH;
  }

  /** Goes on with one side, below the directory that was just entered. */
  #goAlone(side: Side): void {
    this.#alone = side;
    this.#together = this.#frames.length - 1;
  }

  #report(side: Side, cursor: TreeCursor): void {
    this.#position++;
    const facts = side === OLD_SIDE ? this.#oldFacts : this.#newFacts;
    facts.length = 0;
    writeFacts(facts, cursor);
    this.#place(side, cursor, facts);
  }

  #place(side: Side, cursor: TreeCursor, facts: ByteWriter): void {
    this.#options.sink.place({
      side,
      position: this.#position,
      inTrash: this.#inTrash,
      parent: this.#frames.at(-1)!.inodes[side],
      name: cursor.name,
      path: this.#pathOf(cursor),
      facts: facts.written(),
    });
  }

  /** The path of the entry at hand, borrowed. */
  #pathOf(cursor: TreeCursor): Buffer {
    const path = this.#path;
    const size = path.length;
    this.#appendName(cursor);
    const whole = path.length === 0 ? ROOT_PATH : path.written();
    path.length = size;
    return whole;
  }

  #appendName(cursor: TreeCursor): void {
    if (this.#frames.length === 0) {
      if (cursor.isTrash) this.#path.writeBytes(TRASH_PATH);
      return;
    }
    this.#path.writeU8(0x2f);
    this.#path.writeBytes(cursor.name);
  }

  #enter(cursor: TreeCursor, oldInode: bigint, newInode: bigint): void {
    if (this.#frames.length === 0) this.#inTrash = cursor.isTrash;
    const pathSize = this.#path.length;
    this.#appendName(cursor);
    this.#frames.push({ pathSize, inodes: [oldInode, newInode] });
  }

  #leave(): void {
    this.#path.length = this.#frames.pop()!.pathSize;
  }

  /** Whether two entries are equal byte by byte in all that counts; when not, they may still be. For the many that are. */
  #isSame(a: TreeCursor, b: TreeCursor): boolean {
    const [x, y] = [a.view, b.view];
    let at = a.at;
    let to = b.at;
    if (x.getUint32(at + ENTRY_INODE) !== y.getUint32(to + ENTRY_INODE)) return false;
    if (x.getUint32(at + ENTRY_INODE + 4) !== y.getUint32(to + ENTRY_INODE + 4)) return false;
    const type = x.getUint8(at + ENTRY_TYPE);
    if (type !== y.getUint8(to + ENTRY_TYPE)) return false;
    const flags = x.getUint8(at + ENTRY_FLAGS) | y.getUint8(to + ENTRY_FLAGS);
    if ((flags & (ENTRY_MORE_CHUNKS | ENTRY_NODE_MISSING | ENTRY_ROOT)) !== 0) return false;
    for (const size of [ENTRY_SYMLINK_SIZE, ENTRY_XATTRS_SIZE, ENTRY_CHUNKS_SIZE]) {
      if (x.getUint32(at + size) !== y.getUint32(to + size)) return false;
    }
    // Records with ACLs or a tier, and short ones, are left to the comparison of facts.
    if (x.getUint16(at + ENTRY_ATTRIBUTE_SIZE) !== ATTR_BASE_BYTES) return false;
    if (y.getUint16(to + ENTRY_ATTRIBUTE_SIZE) !== ATTR_BASE_BYTES) return false;
    const endA = at + x.getUint32(at);
    at += ENTRY_NAME + x.getUint16(at + ENTRY_NAME_SIZE);
    to += ENTRY_NAME + y.getUint16(to + ENTRY_NAME_SIZE);
    // Flags, type, mode, uid, gid; words overlap where the fields are no multiple of four bytes.
    if (!sameWords(x, at, y, to, 8) || x.getUint32(at + 7) !== y.getUint32(to + 7)) return false;
    if (this.#compareAtime && !sameWords(x, at + ATTR_ATIME, y, to + ATTR_ATIME, ATTR_MTIME - ATTR_ATIME)) return false;
    if (!sameWords(x, at + ATTR_MTIME, y, to + ATTR_MTIME, ATTR_LENGTH - ATTR_MTIME)) return false;
    const rest = type === FileType.regular ? ATTR_LENGTH : ATTR_LENGTH + 8;
    if (!sameWords(x, at + rest, y, to + rest, ATTR_MIN_BYTES - rest)) return false;
    return sameBytes(a, at + ATTR_BASE_BYTES, b, to + ATTR_BASE_BYTES, endA - at - ATTR_BASE_BYTES);
  }
}

const ROOT_PATH = Buffer.from("/");
const TRASH_PATH = Buffer.from("/.trash");

function compareNames(a: TreeCursor, b: TreeCursor): number {
  const startA = a.at + ENTRY_NAME;
  const startB = b.at + ENTRY_NAME;
  const endA = startA + a.view.getUint16(a.at + ENTRY_NAME_SIZE);
  const endB = startB + b.view.getUint16(b.at + ENTRY_NAME_SIZE);
  if (endA - startA === endB - startB && sameBytes(a, startA, b, startB, endA - startA)) return 0;
  return a.bytes.compare(b.bytes, startB, endB, startA, endA);
}

/** Compares `size` bytes, a multiple of four. */
function sameWords(x: DataView, at: number, y: DataView, to: number, size: number): boolean {
  for (let i = 0; i < size; i += 4) if (x.getUint32(at + i) !== y.getUint32(to + i)) return false;
  return true;
}

/** A call into the runtime costs as much as comparing this many bytes here. */
const SHORT_BYTES = 128;

function sameBytes(a: TreeCursor, at: number, b: TreeCursor, to: number, size: number): boolean {
  if (size > SHORT_BYTES) return a.bytes.compare(b.bytes, to, to + size, at, at + size) === 0;
  const words = size & ~3;
  if (!sameWords(a.view, at, b.view, to, words)) return false;
  for (let i = words; i < size; i++) if (a.view.getUint8(at + i) !== b.view.getUint8(to + i)) return false;
  return true;
}
