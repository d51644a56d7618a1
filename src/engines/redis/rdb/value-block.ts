import { ByteWriter, copyBytes } from "../../../base/bytes.ts";
import { KeyList } from "../key-list.ts";
import type { RawValues } from "../raw-values.ts";
import { TOKEN_ARRAY, TOKEN_BULK, TOKEN_STRIDE } from "../resp-parser.ts";
import type { RdbText } from "./rdb-text.ts";

/** A block is handed on at about this size. */
const BLOCK_BYTES = 256 * 1024;
const BLOCK_TOKENS = 65_536;

/**
 * Values of one family in the form in which a server answers, so that one mapper makes records of both (raw-values.ts): strings as
 * the reply of one MGET, lists and hashes as an array for each key.
 */
export class ValueBlock {
  readonly keys: KeyList = new KeyList();
  readonly #family: number;
  readonly #isStrings: boolean;
  readonly #writer = new ByteWriter(BLOCK_BYTES + 65_536);
  #tokens = new Int32Array(4096 * TOKEN_STRIDE);
  #count = 0;
  /** Token of the array that is being filled. */
  #array = -1;

  constructor(family: number, form: "strings" | "arrays") {
    this.#family = family;
    this.#isStrings = form === "strings";
    this.clear();
  }

  get isFull(): boolean {
    return this.#writer.length >= BLOCK_BYTES || this.#count >= BLOCK_TOKENS;
  }

  get isOpen(): boolean {
    return this.#array >= 0;
  }

  /** Bytes of all strings. */
  get bytes(): number {
    return this.#writer.length;
  }

  add(text: RdbText): void {
    const size = text.end - text.start;
    const to = this.#writer.reserve(size);
    copyBytes(text.view, text.start, text.end, this.#writer.view, to);
    this.#writer.length = to + size;
    this.#put(TOKEN_BULK, to, size);
  }

  /** Begins the array of a key that was just added to `keys`. */
  beginArray(): void {
    this.#array = this.#count;
    this.#put(TOKEN_ARRAY, 0, 0);
  }

  /** Ends the array without any element: its key has no value. */
  dropArray(): void {
    if (this.#array < 0) return;
    this.#count = this.#array + 1;
    this.endArray();
  }

  endArray(): void {
    if (this.#array < 0) return;
    this.#tokens[this.#array * TOKEN_STRIDE + 2] = this.#count - this.#array - 1;
    this.#array = -1;
  }

  /** What the mapper takes; borrowed until `clear`. No array may be open. */
  values(): RawValues {
    const { buffer, view } = this.#writer;
    const block = { bytes: buffer, view, tokens: this.#tokens, tokenCount: this.#count, replies: this.keys.count };
    return { family: this.#family, keys: this.keys, first: 0, count: this.keys.count, block };
  }

  clear(): void {
    this.keys.clear();
    this.#writer.length = 0;
    this.#count = 0;
    if (this.#isStrings) this.#put(TOKEN_ARRAY, 0, 0);
  }

  #put(kind: number, start: number, size: number): void {
    const at = this.#count++ * TOKEN_STRIDE;
    if (at === this.#tokens.length) {
      const grown = new Int32Array(this.#tokens.length * 2);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens[at] = kind;
    this.#tokens[at + 1] = start;
    this.#tokens[at + 2] = size;
  }
}
