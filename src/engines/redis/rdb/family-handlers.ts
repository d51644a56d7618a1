import { DataError } from "../../../base/errors.ts";
import type { RecordMapper } from "../record-mapper.ts";
import { FAMILY_CHUNK, FAMILY_NODE, FAMILY_SYMLINK, type KeyInfo } from "../redis-keys.ts";
import { ValueHandler } from "./rdb-consumer.ts";
import { MAX_PIECE_BYTES } from "./rdb-decoder.ts";
import { TOO_LARGE } from "./rdb-errors.ts";
import type { RdbText } from "./rdb-text.ts";
import { ValueBlock } from "./value-block.ts";

/** Told when a block should be handed on. */
export interface FullBlocks {
  hasFullBlock: boolean;
}

/** Collects the values of one of the families that belong to inodes, for the mapper that the server's answers go through. */
export abstract class FamilyHandler extends ValueHandler {
  readonly block: ValueBlock;
  protected readonly full: FullBlocks;
  protected hi = 0;
  protected lo = 0;
  protected index = 0;

  constructor(block: ValueBlock, full: FullBlocks) {
    super();
    this.block = block;
    this.full = full;
  }

  /** The value of this key comes next. */
  begin(key: KeyInfo): void {
    this.hi = key.hi;
    this.lo = key.lo;
    this.index = key.index;
  }

  /** Hands on what is there, in full or, when all has been read, whatever it is. */
  handOn(mapper: RecordMapper): void {
    this.block.endArray();
    if (this.block.keys.count > 0) mapper.map(this.block.values());
    this.block.clear();
  }

  protected addKey(): void {
    this.block.keys.add(this.hi, this.lo, this.index);
  }
}

/** Attributes and symlinks. */
class StringFamily extends FamilyHandler {
  readonly type = "string";

  override string(value: RdbText): void {
    this.addKey();
    this.block.add(value);
    if (this.block.isFull) this.full.hasFullBlock = true;
  }
}

/** Directories, extended attributes and parents: a hash of any size, in as many arrays as it takes. */
class HashFamily extends FamilyHandler {
  readonly type = "hash";

  override pair(field: RdbText, value: RdbText): void {
    const { block } = this;
    if (!block.isOpen) {
      this.addKey();
      block.beginArray();
    }
    block.add(field);
    block.add(value);
    if (block.isFull) this.full.hasFullBlock = true;
  }

  override end(): void {
    this.block.endArray();
  }
}

/** Chunks: a record has all slices, so a list stays whole. */
class ListFamily extends FamilyHandler {
  readonly type = "list";
  #isSpoiled = false;

  override spoil(): void {
    this.#isSpoiled = true;
  }

  override begin(key: KeyInfo): void {
    super.begin(key);
    this.addKey();
    this.block.beginArray();
    this.#isSpoiled = false;
  }

  override item(value: RdbText): void {
    if (this.block.bytes > MAX_PIECE_BYTES) {
      const key = `c${(BigInt(this.hi) << 32n) | BigInt(this.lo)}_${this.index}`;
      throw new DataError(TOO_LARGE, `The list ${key} has more than ${MAX_PIECE_BYTES} bytes`, {
        location: { key },
        hint: "No client leaves so many slices in a chunk: have one compact it, or dump from the server",
      });
    }
    if (!this.#isSpoiled) this.block.add(value);
  }

  override end(): void {
    if (this.#isSpoiled) this.block.dropArray();
    else this.block.endArray();
    if (this.block.isFull) this.full.hasFullBlock = true;
  }
}

export function familyHandler(family: number, full: FullBlocks): FamilyHandler {
  const isString = family === FAMILY_NODE || family === FAMILY_SYMLINK;
  const block = new ValueBlock(family, isString ? "strings" : "arrays");
  if (isString) return new StringFamily(block, full);
  return family === FAMILY_CHUNK ? new ListFamily(block, full) : new HashFamily(block, full);
}
