import { FAMILY_CHUNK, type KeyInfo } from "../redis-keys.ts";
import { SeenSet } from "../seen-set.ts";

/** Pages of a new set: most have few numbers. */
const FIRST_PAGES = 8;

/**
 * Keys that were changed, each once: those of inode families as bits, about an eighth of a byte to a hundred bytes per key, others by
 * name. Names are without the prefix of the volume.
 */
export class DirtyKeys {
  /** Number of keys. */
  count = 0;
  readonly #families: Map<number, SeenSet> = new Map();
  /** Chunks of index 1 and above; those of index 0 are in `#families`. */
  #laterChunks: SeenSet | undefined;
  readonly #others: Set<string> = new Set();

  addInode(family: number, { hi, lo, index }: KeyInfo): void {
    if (index > 0) {
      this.#laterChunks ??= new SeenSet(FIRST_PAGES);
      if (this.#laterChunks.addChunk(hi, lo, index)) this.count++;
    } else if (this.#set(family).add(hi, lo)) this.count++;
  }

  addOther(name: string): void {
    if (this.#others.has(name)) return;
    this.#others.add(name);
    this.count++;
  }

  get others(): ReadonlySet<string> {
    return this.#others;
  }

  hasInode(family: number, hi: number, lo: number, index: number): boolean {
    if (index > 0) return this.#laterChunks?.hasChunk(hi, lo, index) ?? false;
    return this.#families.get(family)?.has(hi, lo) ?? false;
  }

  hasFamily(family: number): boolean {
    return this.#families.has(family) || (family === FAMILY_CHUNK && this.#laterChunks !== undefined);
  }

  /** Bytes that the sets take. */
  get bytes(): number {
    let bytes = this.#laterChunks?.bytes ?? 0;
    for (const set of this.#families.values()) bytes += set.bytes;
    return bytes;
  }

  /** The keys of one family, a few hundred at a time: between the groups the caller may do something else. */
  *inodes(family: number, visit: (hi: number, lo: number, index: number) => void): Generator<void> {
    const set = this.#families.get(family);
    for (let page = 0; page < (set?.pages ?? 0); page++) {
      set!.visitPage(page, (hi, lo) => visit(hi, lo, 0));
      yield;
    }
    const later = family === FAMILY_CHUNK ? this.#laterChunks : undefined;
    for (let page = 0; page < (later?.pages ?? 0); page++) {
      later!.visitChunkPage(page, visit);
      yield;
    }
  }

  addAll(other: DirtyKeys): void {
    for (const family of other.#families.keys()) {
      for (const _ of other.inodes(family, (hi, lo, index) => this.addInode(family, { hi, lo, index })));
    }
    if (!other.#families.has(FAMILY_CHUNK)) {
      for (const _ of other.inodes(FAMILY_CHUNK, (hi, lo, index) => this.addInode(FAMILY_CHUNK, { hi, lo, index })));
    }
    for (const name of other.#others) this.addOther(name);
  }

  /** Whether all of these keys are in `other`. */
  isWithin(other: DirtyKeys): boolean {
    let isWithin = true;
    const families = new Set([...this.#families.keys(), FAMILY_CHUNK]);
    for (const family of families) {
      const look = (hi: number, lo: number, index: number): void => {
        isWithin &&= other.hasInode(family, hi, lo, index);
      };
      for (const _ of this.inodes(family, look)) if (!isWithin) return false;
    }
    for (const name of this.#others) isWithin &&= other.#others.has(name);
    return isWithin;
  }

  #set(family: number): SeenSet {
    let set = this.#families.get(family);
    if (set === undefined) {
      set = new SeenSet(FIRST_PAGES);
      this.#families.set(family, set);
    }
    return set;
  }
}
