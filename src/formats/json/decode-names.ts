import { randomBytes } from "node:crypto";
import { viewOf } from "../../base/bytes.ts";
import { printablePath } from "../../volume/path.ts";

/**
 * Hashes kept to find names that occur twice in directories whose names are not sorted: 8 bytes each, for the directories
 * open at one time together.
 */
export const MAX_NAME_HASHES: number = 4 * 1024 * 1024;

export type NameVerdict = "new" | "duplicate" | "too-many";

/**
 * The names on the way from the root to the current entry, and the check that no directory has a name twice. Dumps have
 * the names of a directory in ascending order, then comparing neighbours is enough. A hash of every name is kept for the
 * case that a later one is out of order; a sorted directory that is too large for that goes on without.
 */
export class DirectoryNames {
  /** Name of the current entry: `bytes[start..end)`. Empty for a root. */
  bytes: Buffer = Buffer.allocUnsafeSlow(4096);
  view: DataView = viewOf(this.bytes);
  start = 0;
  end = 0;
  readonly #frames: Frame[] = [];
  #frame: Frame | undefined;
  #hashes: Float64Array = new Float64Array(1024);
  #hashCount = 0;
  readonly #maxHashes: number;
  readonly #seed: number = randomBytes(4).readInt32BE();

  constructor(maxHashes: number = MAX_NAME_HASHES) {
    this.#maxHashes = maxHashes;
  }

  get depth(): number {
    return this.#frames.length;
  }

  /** The current entry becomes the directory that the next names belong to. */
  enter(): void {
    this.#frame = {
      start: this.start,
      end: this.end,
      hashStart: this.#hashCount,
      count: 0,
      hashed: true,
      table: undefined,
    };
    this.#frames.push(this.#frame);
    this.start = this.end;
  }

  /** The directory becomes the current entry again. */
  leave(): void {
    const frame = this.#frames.pop()!;
    this.#frame = this.#frames.at(-1);
    this.#hashCount = frame.hashStart;
    this.start = frame.start;
    this.end = frame.end;
  }

  /** Makes `text[from..to)` the current name, as the next one of the directory. */
  add(text: Buffer, from: number, to: number): NameVerdict {
    const frame = this.#frame!;
    const order = frame.count === 0 ? 1 : this.#compareWithLast(text, from, to);
    if (order === 0) return "duplicate";
    if (order < 0 && frame.table === undefined) {
      if (!frame.hashed) return "too-many";
      frame.table = new HashTable(this.#hashes.subarray(frame.hashStart, this.#hashCount));
      this.#hashCount = frame.hashStart;
    }
    if (frame.table !== undefined) {
      if (frame.table.size >= this.#maxHashes) return "too-many";
      if (!frame.table.add(this.#hash(text, from, to))) return "duplicate";
    } else if (frame.hashed) {
      this.#keepHash(frame, this.#hash(text, from, to));
    }
    frame.count++;
    this.#setName(text, from, to);
    return "new";
  }

  #setName(text: Buffer, from: number, to: number): void {
    const end = this.start + to - from;
    if (end > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.bytes.length * 2));
      this.bytes.copy(grown, 0, 0, this.end);
      this.bytes = grown;
      this.view = viewOf(grown);
    }
    const bytes = this.bytes;
    let at = this.start;
    for (let i = from; i < to; i++) bytes[at++] = text[i]!;
    this.end = end;
  }

  #compareWithLast(text: Buffer, from: number, to: number): number {
    const bytes = this.bytes;
    const start = this.start;
    const lastSize = this.end - start;
    const size = to - from;
    const common = Math.min(size, lastSize);
    for (let i = 0; i < common; i++) {
      const difference = text[from + i]! - bytes[start + i]!;
      if (difference !== 0) return difference;
    }
    return size - lastSize;
  }

  #keepHash(frame: Frame, hash: number): void {
    if (this.#hashCount >= this.#maxHashes) this.#dropLargest();
    if (!frame.hashed) return;
    if (this.#hashCount === this.#hashes.length) {
      const grown = new Float64Array(this.#hashes.length * 2);
      grown.set(this.#hashes);
      this.#hashes = grown;
    }
    this.#hashes[this.#hashCount++] = hash;
  }

  /** Makes room: of the open directories the one with the most hashes goes on without. */
  #dropLargest(): void {
    const frames = this.#frames;
    const endOf = (i: number): number => frames[i + 1]?.hashStart ?? this.#hashCount;
    let largest = 0;
    for (let i = 1; i < frames.length; i++) {
      if (endOf(i) - frames[i]!.hashStart > endOf(largest) - frames[largest]!.hashStart) largest = i;
    }
    const start = frames[largest]!.hashStart;
    const size = endOf(largest) - start;
    this.#hashes.copyWithin(start, start + size, this.#hashCount);
    this.#hashCount -= size;
    frames[largest]!.hashed = false;
    for (let i = largest + 1; i < frames.length; i++) frames[i]!.hashStart -= size;
  }

  /** 53 bits, never 0. Seeded, so that nobody can choose names that collide. */
  #hash(text: Buffer, from: number, to: number): number {
    let a = this.#seed;
    let b = ~this.#seed;
    for (let i = from; i < to; i++) {
      const byte = text[i]!;
      a = Math.imul(a ^ byte, 0x01000193);
      a ^= a >>> 15;
      b = Math.imul(b + byte, 0x85ebca6b);
      b ^= b >>> 13;
    }
    return (a >>> 0) * 0x20_0000 + (b >>> 11) + 1;
  }

  /** Path from the root, printable; of the current entry, or of the directory around it. `/` for the root itself. */
  path(ofEntry: boolean): string {
    const names = this.#frames.slice(1).map((frame) => this.bytes.subarray(frame.start, frame.end));
    if (ofEntry && this.#frames.length > 0) names.push(this.bytes.subarray(this.start, this.end));
    return printablePath(names);
  }
}

interface Frame {
  /** Name of the directory itself. */
  readonly start: number;
  readonly end: number;
  /** Where its hashes begin on the stack. */
  hashStart: number;
  count: number;
  /** The hashes of all its names are on the stack. */
  hashed: boolean;
  /** Its names are not sorted: their hashes. */
  table: HashTable | undefined;
}

/** A set of numbers that are not 0, with open addressing. */
class HashTable {
  size = 0;
  #slots: Float64Array = new Float64Array(64);

  constructor(hashes: Float64Array) {
    for (const hash of hashes) this.add(hash);
  }

  /** False when it is there already. */
  add(hash: number): boolean {
    if (this.size * 2 >= this.#slots.length) this.#grow();
    if (!insert(this.#slots, hash)) return false;
    this.size++;
    return true;
  }

  #grow(): void {
    const grown = new Float64Array(this.#slots.length * 2);
    for (const hash of this.#slots) if (hash !== 0) insert(grown, hash);
    this.#slots = grown;
  }
}

function insert(slots: Float64Array, hash: number): boolean {
  const mask = slots.length - 1;
  let slot = (hash / 0x20_0000) & mask;
  while (slots[slot] !== 0) {
    if (slots[slot] === hash) return false;
    slot = (slot + 1) & mask;
  }
  slots[slot] = hash;
  return true;
}
