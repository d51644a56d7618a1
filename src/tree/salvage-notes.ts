import { viewOf } from "../base/bytes.ts";
import { isTrashInode, TRASH_INODE, TRASH_INODE_HIGH } from "../volume/inode.ts";
import { type RecordBatch, unpackBatch } from "../volume/records.ts";
import { InodeSet } from "./inode-set.ts";

export interface SalvageOptions {
  /** Give what no root reaches a place in a new directory `lost+found` below the first root. */
  readonly lostFound: boolean;
  /** Unix seconds that rebuilt attributes have as their times. */
  readonly seconds: bigint;
}

const NO_PARENT = 0xffff_ffff_ffff_ffffn;

/** Counters above this cannot come from any volume. */
const MAX_COUNTER = 1n << 62n;

/**
 * What salvaging has to know before the records are joined, noted while they pass by: about 0.3 bytes for every inode where
 * numbers are dense.
 */
export class SalvageNotes {
  /** Inodes that have entries. */
  readonly parents: InodeSet = new InodeSet();
  /** Inodes that wait for deletion, or for a session to close them: they belong to no directory. */
  readonly leftAlone: InodeSet = new InodeSet();
  readonly #largest: Largest = new Largest();
  #nextInode = 0n;

  /** Takes a batch of nodes, edges, chunks, symlinks or xattrs; the first field of any but edges is their inode. */
  note({ kind, count, bytes }: RecordBatch): void {
    const source = viewOf(bytes);
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.#largest.add(source.getUint32(at), source.getUint32(at + 4));
      if (kind === "edge") {
        this.#edge(source, at);
        at += 19 + source.getUint16(at + 17);
      } else {
        at += sizeOf(kind, source, at);
      }
    }
  }

  #edge(source: DataView, at: number): void {
    // The parent of the roots (tree-order.ts) has no other entries: in a damaged one, it is that of nobody.
    if (source.getUint32(at) === 0xffff_ffff && source.getBigUint64(at) === NO_PARENT) source.setBigUint64(at, 0n);
    const high = source.getUint32(at);
    const low = source.getUint32(at + 4);
    if (high !== this.#parentHigh || low !== this.#parentLow) {
      this.parents.addNumber(high, low);
      this.#parentHigh = high;
      this.#parentLow = low;
    }
    this.#largest.add(source.getUint32(at + 8), source.getUint32(at + 12));
  }

  /** The parent of the last edge: entries of a directory often come together. */
  #parentHigh = -1;
  #parentLow = -1;

  /** Takes a batch of any other kind. */
  noteOther(batch: RecordBatch): void {
    if (batch.kind === "counter") {
      for (const { name, value } of unpackBatch("counter", batch)) {
        if (name === "nextInode" && value <= MAX_COUNTER && value > this.#nextInode) this.#nextInode = value;
      }
    } else if (batch.kind === "sustained" || batch.kind === "delFile") {
      for (const { inode } of unpackBatch(batch.kind, batch)) {
        const [high, low] = [Number(inode >> 32n), Number(inode & 0xffff_ffffn)];
        this.leftAlone.addNumber(high, low);
        this.#largest.add(high, low);
      }
    }
  }

  /** A number that no inode has: greater than all below the trash and than the counter says, as far as there are such. */
  unusedInode(): bigint {
    const { all, credible } = this.#largest;
    const least = all + 1n < TRASH_INODE ? all : credible;
    return (least > this.#nextInode ? least : this.#nextInode) + 1n;
  }
}

/** The largest inode below the trash, and the largest of those that a counter could have given out. */
class Largest {
  #high = 0;
  #low = 0;
  #credibleHigh = 0;
  #credibleLow = 1;

  add(high: number, low: number): void {
    if (high < CREDIBLE_HIGH) {
      if (high < this.#credibleHigh || (high === this.#credibleHigh && low <= this.#credibleLow)) return;
      this.#credibleHigh = high;
      this.#credibleLow = low;
    } else if (high < TRASH_INODE_HIGH || !isTrashInode(numberOf(high, low))) {
      if (high < this.#high || (high === this.#high && low <= this.#low)) return;
      this.#high = high;
      this.#low = low;
    }
  }

  get all(): bigint {
    return this.#high === 0 ? this.credible : numberOf(this.#high, this.#low);
  }

  get credible(): bigint {
    return numberOf(this.#credibleHigh, this.#credibleLow);
  }
}

/** Upper half of MAX_COUNTER. */
const CREDIBLE_HIGH = 0x4000_0000;

function numberOf(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Size of a packed record (volume/records.ts). */
function sizeOf(kind: RecordBatch["kind"], source: DataView, at: number): number {
  switch (kind) {
    case "node":
      return 10 + source.getUint16(at + 8);
    case "chunk":
      return 16 + source.getUint32(at + 12);
    case "symlink":
      return 12 + source.getUint32(at + 8);
    default:
      return 14 + source.getUint16(at + 8) + source.getUint32(at + 10);
  }
}
