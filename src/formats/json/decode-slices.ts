import { ByteWriter } from "../../base/bytes.ts";
import { CHUNK_BYTES } from "../../volume/inode.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import { UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import { skipUnknown } from "./decode-lists.ts";
import type { JsonSkipper } from "./json-skip.ts";
import { integerField, type JsonTokens, U32_MAX, U64_MAX } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";
import { packWord } from "./json-words.ts";

const ID = integerField("id", 0n, U64_MAX);
const POS = integerField("pos", 0n, U32_MAX);
const SIZE = integerField("size", 0n, U32_MAX);
const OFF = integerField("off", 0n, U32_MAX);
const LEN = integerField("len", 0n, U32_MAX);
const INDEX = integerField("index", 0n, U32_MAX);

const HAS_ID = 1;
const HAS_SIZE = 2;
const HAS_LEN = 4;

/** `{"id":`, `"index":` and so on, in words and rest. */
const OPEN_ID = packWord('{"id', 0);
const KEY_INDEX = packWord('{"in', 0);
const INDEX_REST = packWord('dex"', 0);
const KEY_SLICES = packWord(',"sl', 0);
const SLICES_MIDDLE = packWord("ices", 0);
const SLICES_REST = packWord('":[{', 0);
const KEY_POS = packWord(',"po', 0);
const POS_REST = packWord('s":0', 0) >>> 8;
const KEY_SIZE = packWord(',"si', 0);
const SIZE_REST = packWord('ze":', 0);
const KEY_OFF = packWord(',"of', 0);
const OFF_REST = packWord('f":0', 0) >>> 8;
const KEY_LEN = packWord(',"le', 0);
const LEN_REST = packWord('n":0', 0) >>> 8;

/** Size of the head of a packed chunk: u32 index, u32 size of its slices (volume/tree-item.ts). */
const CHUNK_HEAD = 8;

/** Reads elements of `chunks` into packed chunks of `list`. */
export class ChunkReader {
  /** Packed chunks of the current entry that have been read completely. */
  readonly list: ByteWriter = new ByteWriter(4096);
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  /** Offset in `list`'s buffer behind what has been written of the current chunk. */
  #to = 0;
  #lastIndex = -1;
  /** Indexes in `list`, once they are not ascending. */
  #indexes: Set<number> | undefined;
  /** Chunks were taken out of `list`: those indexes are not known any more. */
  #taken = false;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
  }

  /** Begins with another entry. */
  reset(): void {
    this.list.length = 0;
    this.#lastIndex = -1;
    this.#indexes = undefined;
    this.#taken = false;
  }

  /** Empties `list`, whose chunks the caller has used; more of the same entry follow. */
  taken(): void {
    this.list.length = 0;
    this.#taken = true;
  }

  /** Reads one chunk object at the cursor, within one step. */
  read(): void {
    this.#tokens.peek();
    this.#to = this.list.length + CHUNK_HEAD;
    const index = this.#readFast() ?? this.#readAny();
    const start = this.list.length;
    this.#checkIndex(index);
    this.list.reserve(this.#to - start);
    this.list.view.setUint32(start, index);
    this.list.view.setUint32(start + 4, this.#to - start - CHUNK_HEAD);
    this.list.length = this.#to;
  }

  #checkIndex(index: number): void {
    const isAscending = index > this.#lastIndex;
    if (!isAscending && this.#taken) {
      throw this.#tokens.error(
        "DECANT_E_JSON_ENTRY",
        `chunk ${index} stands behind chunk ${this.#lastIndex}`,
        "So long a list of chunks must be sorted by index, as dumps have it",
      );
    }
    if (!isAscending) this.#indexes ??= this.#collectIndexes();
    if (this.#indexes?.has(index))
      throw this.#tokens.error("DECANT_E_JSON_ENTRY", `chunk ${index} is listed twice`, DAMAGE_HINT);
    this.#indexes?.add(index);
    this.#lastIndex = Math.max(this.#lastIndex, index);
  }

  #collectIndexes(): Set<number> {
    const indexes = new Set<number>();
    const bytes = this.list.buffer;
    for (let at = 0; at < this.list.length; at += CHUNK_HEAD + bytes.readUInt32BE(at + 4))
      indexes.add(bytes.readUInt32BE(at));
    return indexes;
  }

  /** The layout of the reference: returns the index, or undefined with nothing read. */
  #readFast(): number | undefined {
    const tokens = this.#tokens;
    const { buffer, view } = tokens;
    let at = tokens.at;
    if (view.getUint32(at) !== KEY_INDEX || view.getUint32(at + 4) !== INDEX_REST || buffer[at + 8] !== 0x3a)
      return undefined;
    at = tokens.skipDigits(at + 9);
    if (at < 0 || tokens.digits > INDEX.maxNumber) return undefined;
    const index = tokens.digits;
    if (
      view.getUint32(at) !== KEY_SLICES ||
      view.getUint32(at + 4) !== SLICES_MIDDLE ||
      view.getUint32(at + 8) !== SLICES_REST
    ) {
      return undefined;
    }
    at += 10;
    const start = this.#to;
    do {
      at = this.#fastSlice(buffer, view, at + 1);
    } while (at > 0 && buffer[at] === 0x2c);
    if (at < 0 || buffer[at] !== 0x5d || buffer[at + 1] !== 0x7d) {
      this.#to = start;
      return undefined;
    }
    tokens.at = at + 2;
    return index;
  }

  /** One slice of the reference's layout; returns where it ends, -1 when it is not. */
  #fastSlice(buffer: Buffer, view: DataView, start: number): number {
    const tokens = this.#tokens;
    if (view.getUint32(start) !== OPEN_ID || buffer[start + 4] !== 0x22 || buffer[start + 5] !== 0x3a) return -1;
    let at = tokens.skipDigits(start + 6);
    if (at < 0) return -1;
    const id = tokens.digits;
    let pos = 0;
    if (view.getUint32(at) === KEY_POS && view.getUint32(at + 4) >>> 8 === POS_REST) {
      at = tokens.skipDigits(at + 7);
      if (at < 0) return -1;
      pos = tokens.digits;
    }
    if (view.getUint32(at) !== KEY_SIZE || view.getUint32(at + 4) !== SIZE_REST) return -1;
    at = tokens.skipDigits(at + 8);
    if (at < 0) return -1;
    const size = tokens.digits;
    let off = 0;
    if (view.getUint32(at) === KEY_OFF && view.getUint32(at + 4) >>> 8 === OFF_REST) {
      at = tokens.skipDigits(at + 7);
      if (at < 0) return -1;
      off = tokens.digits;
    }
    if (view.getUint32(at) !== KEY_LEN || view.getUint32(at + 4) >>> 8 !== LEN_REST) return -1;
    at = tokens.skipDigits(at + 7);
    if (at < 0 || buffer[at] !== 0x7d) return -1;
    const len = tokens.digits;
    if (size > SIZE.maxNumber || sliceProblem(id !== 0, pos, size, off, len) !== undefined) return -1;
    this.#put(Math.floor(id / 0x1_0000_0000), id | 0, pos, size, off, len);
    return at + 1;
  }

  #put(idHigh: number, idLow: number, pos: number, size: number, off: number, len: number): void {
    const list = this.list;
    if (this.#to + SLICE_BYTES > list.buffer.length) {
      // `reserve` keeps only what is below `length`.
      const complete = list.length;
      list.length = this.#to;
      list.reserve(SLICE_BYTES);
      list.length = complete;
    }
    const view = list.view;
    const at = this.#to;
    view.setUint32(at, pos);
    view.setUint32(at + 4, idHigh);
    view.setUint32(at + 8, idLow);
    view.setUint32(at + 12, size);
    view.setUint32(at + 16, off);
    view.setUint32(at + 20, len);
    this.#to = at + SLICE_BYTES;
  }

  #readAny(): number {
    const tokens = this.#tokens;
    const start = this.#to;
    let index = -1;
    let hasSlices = false;
    tokens.readObject("a chunk", (name) => {
      if (name === "index") {
        if (index >= 0) throw tokens.error("DECANT_E_JSON_ENTRY", 'a chunk has "index" twice', DAMAGE_HINT);
        index = tokens.readInteger(INDEX);
      } else if (name === "slices") {
        if (hasSlices) throw tokens.error("DECANT_E_JSON_ENTRY", 'a chunk has "slices" twice', DAMAGE_HINT);
        hasSlices = true;
        this.#to = start;
        tokens.readList("slices", () => this.#readSlice());
      } else this.#unknown(name, "chunks");
    });
    if (index < 0) throw tokens.error("DECANT_E_JSON_ENTRY", 'a chunk has no "index"', DAMAGE_HINT);
    if (!hasSlices) throw tokens.error("DECANT_E_JSON_ENTRY", `chunk ${index} has no "slices"`, DAMAGE_HINT);
    return index;
  }

  #readSlice(): void {
    const tokens = this.#tokens;
    const slice = { idHigh: 0, idLow: 0, pos: 0, size: 0, off: 0, len: 0 };
    let seen = 0;
    tokens.readObject("a slice", (name) => {
      switch (name) {
        case "id":
        case "chunkid": // dumps of very old versions (docs/spec/json-dump.md §10)
          tokens.readInteger(ID);
          if ((seen & HAS_ID) === 0 || (tokens.high | tokens.low) !== 0) {
            if ((slice.idHigh | slice.idLow) !== 0)
              throw tokens.error("DECANT_E_JSON_ENTRY", "a slice has two ids", DAMAGE_HINT);
            slice.idHigh = tokens.high;
            slice.idLow = tokens.low;
          }
          seen |= HAS_ID;
          return;
        case "pos":
          slice.pos = tokens.readInteger(POS);
          return;
        case "size":
          slice.size = tokens.readInteger(SIZE);
          seen |= HAS_SIZE;
          return;
        case "off":
          slice.off = tokens.readInteger(OFF);
          return;
        case "len":
          slice.len = tokens.readInteger(LEN);
          seen |= HAS_LEN;
          return;
        default:
          this.#unknown(name, "chunks.slices");
      }
    });
    const missing =
      (seen & HAS_ID) === 0 ? "id" : (seen & HAS_SIZE) === 0 ? "size" : (seen & HAS_LEN) === 0 ? "len" : undefined;
    if (missing !== undefined) throw tokens.error("DECANT_E_JSON_ENTRY", `a slice has no "${missing}"`, DAMAGE_HINT);
    const isData = (slice.idHigh | slice.idLow) !== 0;
    const problem = sliceProblem(isData, slice.pos, slice.size, slice.off, slice.len);
    if (problem !== undefined) throw tokens.error("DECANT_E_JSON_SLICE", problem, DAMAGE_HINT);
    this.#put(slice.idHigh, slice.idLow, slice.pos, slice.size, slice.off, slice.len);
  }

  #unknown(name: string, place: string): void {
    this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, `${place}.${name}`);
    skipUnknown(this.#tokens, this.#skipper, name);
  }
}

/** What is wrong with a slice; a hole (id 0) has no object that it could exceed. */
function sliceProblem(isData: boolean, pos: number, size: number, off: number, len: number): string | undefined {
  if (pos + len > CHUNK_BYTES) {
    return `a slice goes beyond its chunk: "pos" ${pos} and "len" ${len} are more than ${CHUNK_BYTES} together`;
  }
  if (isData && off + len > size) {
    return `a slice goes beyond its own data: "off" ${off} and "len" ${len} are more than its "size" ${size}`;
  }
  return undefined;
}
