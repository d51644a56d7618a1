import { FileType } from "../volume/file-type.ts";
import { isTrashInode } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch } from "../volume/records.ts";
import {
  attributeOffset,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_NAME,
  ENTRY_ROOT,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ITEM_TAG,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../volume/tree-item.ts";
import type { ProblemList } from "./check-problems.ts";
import { InodeSet } from "./inode-set.ts";

const TRASH_NAME = Buffer.from(".trash");

/** Looks up the paths of inodes that problems name, in a tree that is read once more. */
export class PathFinder {
  readonly #wanted: InodeSet = new InodeSet();
  readonly #problems: ProblemList;
  readonly #open: Set<bigint>;
  /** Names of the directories around; an empty one for the root. */
  readonly #names: Buffer[] = [];

  constructor(problems: ProblemList) {
    this.#problems = problems;
    this.#open = new Set(problems.wantedInodes());
    const bytes = Buffer.alloc(8);
    for (const inode of this.#open) {
      bytes.writeBigUInt64BE(inode);
      this.#wanted.add(bytes, 0);
    }
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  read({ bytes }: RecordBatch): void {
    for (let at = 0; at < bytes.length && !this.isDone; at += bytes.readUInt32BE(at)) {
      const tag = bytes[at + ITEM_TAG];
      if (tag === TREE_ENTRY) this.#entry(bytes, at);
      else if (tag !== TREE_CHUNKS) this.#names.pop();
    }
  }

  #entry(bytes: Buffer, at: number): void {
    const isDirectory = bytes[at + ENTRY_TYPE] === FileType.directory;
    const isWanted = this.#wanted.has(bytes, at + ENTRY_INODE);
    if (!isDirectory && !isWanted) return;
    const name = entryName(bytes, at);
    if (isWanted) {
      const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
      // The first place of a file with several is enough.
      if (this.#open.delete(inode)) {
        this.#problems.setPath(inode, printablePath([...this.#names, name].filter(({ length }) => length > 0)));
      }
    }
    if (isDirectory) this.#names.push(name);
  }
}

/** The name of the entry at `bytes[at..)` in its directory, as a copy; of a root that of its tree: empty, or `.trash`. */
export function entryName(bytes: Buffer, at: number): Buffer {
  const flags = bytes[at + ENTRY_FLAGS]!;
  if ((flags & ENTRY_ROOT) === 0) return Buffer.from(bytes.subarray(at + ENTRY_NAME, attributeOffset(bytes, at)));
  const inTrash = (flags & ENTRY_TRASH_ROOT) !== 0 || isTrashInode(bytes.readBigUInt64BE(at + ENTRY_INODE));
  return inTrash ? TRASH_NAME : Buffer.alloc(0);
}
