import { decompressLzf } from "./lzf.ts";
import { damaged, tooLarge } from "./rdb-errors.ts";
import type { RdbText } from "./rdb-text.ts";
import type { ByteSource, RdbWindow } from "./rdb-window.ts";

/** Thrown when bytes are missing in the window: the step is done again when they are there. */
export const STARVED: unique symbol = Symbol("more bytes are needed");

/** A piece that is needed as a whole, such as a string or a listpack, has at most so many bytes. */
export const MAX_PIECE_BYTES: number = 64 * 1024 * 1024;

/** Lengths from here on say how a string is kept instead. */
const ENCODED = -1;
const INT8 = 0;
const INT16 = 1;
const INT32 = 2;
const LZF = 3;

const NOT_COMPRESSED = "a compressed string cannot be decompressed";

/** Lengths and strings of an RDB file, read from the window. All methods throw `STARVED` when that has too little. */
export class RdbDecoder {
  /** Where the step at hand began: it is repeated from there. */
  mark = 0;
  /** Bytes from `mark` on that the last `STARVED` asked for. */
  needed = 0;
  /** What is wrong with the last string that was read, and is an empty one now. Only where `skipsDamage`; whoever looks resets it. */
  broken: string | undefined;
  readonly window: RdbWindow;
  /** A string that cannot be decompressed is no error, since it is known where it ends. */
  readonly #skipsDamage: boolean;
  readonly #source: ByteSource;
  /** Key of the value at hand, for messages. */
  readonly #keyName: () => string | undefined;
  #encoding = 0;

  constructor(window: RdbWindow, source: ByteSource, keyName: () => string | undefined, skipsDamage: boolean) {
    this.#skipsDamage = skipsDamage;
    this.window = window;
    this.#source = source;
    this.#keyName = keyName;
  }

  get keyName(): string | undefined {
    return this.#keyName();
  }

  /** The step ends here. */
  commit(): void {
    this.mark = this.window.at;
  }

  need(size: number): void {
    const { window } = this;
    if (window.at + size <= window.end) return;
    this.needed = window.at + size - this.mark;
    throw STARVED;
  }

  byte(): number {
    this.need(1);
    return this.window.bytes[this.window.at++]!;
  }

  skip(size: number): void {
    this.need(size);
    this.window.at += size;
  }

  int64(): number {
    this.need(8);
    this.window.at += 8;
    return Number(this.window.view.getBigInt64(this.window.at - 8, true));
  }

  double(): number {
    this.need(8);
    this.window.at += 8;
    return this.window.view.getFloat64(this.window.at - 8, true);
  }

  /** u8 size and ASCII, or 253 not a number, 254 infinite, 255 minus infinite. */
  textDouble(): number {
    const size = this.byte();
    if (size === 253) return Number.NaN;
    if (size === 254) return Number.POSITIVE_INFINITY;
    if (size === 255) return Number.NEGATIVE_INFINITY;
    this.need(size);
    const { window } = this;
    window.at += size;
    return Number(window.bytes.toString("latin1", window.at - size, window.at));
  }

  length(): number {
    const size = this.#lengthOrEncoding();
    if (size === ENCODED) throw this.damaged("a length is expected, not a string");
    return size;
  }

  /** Skips a length that is any number of 64 bits. */
  skipNumber(): void {
    const first = this.byte();
    if (first >= 0x40 && first < 0x80) this.skip(1);
    else if (first === 0x80) this.skip(4);
    else if (first === 0x81) this.skip(8);
    else if (first >= 0x40) throw this.damaged("a number is expected, not a string");
  }

  /** Reads a string. It is borrowed from the window unless it was compressed or is kept as a number. */
  string(text: RdbText): void {
    const { window } = this;
    const size = this.#lengthOrEncoding();
    if (size >= 0) {
      this.#piece(size);
      text.point(window.bytes, window.view, window.at, window.at + size);
      window.at += size;
      return;
    }
    switch (this.#encoding) {
      case INT8:
        this.need(1);
        return text.setNumber(window.view.getInt8(window.at++));
      case INT16:
        this.need(2);
        window.at += 2;
        return text.setNumber(window.view.getInt16(window.at - 2, true));
      case INT32:
        this.need(4);
        window.at += 4;
        return text.setNumber(window.view.getInt32(window.at - 4, true));
      case LZF:
        return this.#compressed(text);
      default:
        throw this.damaged(`a string has the unknown encoding ${this.#encoding}`);
    }
  }

  /** The bytes that stand for a string, for who does not want it; the string's beginning has been read then. */
  storedSize(): number {
    const size = this.#lengthOrEncoding();
    if (size >= 0) return size;
    switch (this.#encoding) {
      case INT8:
        return 1;
      case INT16:
        return 2;
      case INT32:
        return 4;
      case LZF: {
        const packed = this.length();
        this.length();
        return packed;
      }
      default:
        throw this.damaged(`a string has the unknown encoding ${this.#encoding}`);
    }
  }

  damaged(what: string): Error {
    return damaged(this.#source.name, what, this.window.offsetOf(this.mark), this.keyName);
  }

  #compressed(text: RdbText): void {
    const { window } = this;
    const packed = this.length();
    const size = this.length();
    this.#piece(packed);
    if (!this.#skipsDamage) this.#checkSize(size);
    const { at } = window;
    const isGood = size <= MAX_PIECE_BYTES && decompressLzf(window.bytes, at, at + packed, text.own(size), size);
    if (!isGood) {
      if (!this.#skipsDamage) throw this.damaged(NOT_COMPRESSED);
      this.broken = NOT_COMPRESSED;
      text.own(0);
    }
    window.at = at + packed;
  }

  /** A length that cannot be right is told at once, where the size of the file is known. */
  #piece(size: number): void {
    const { window } = this;
    if (window.at + size <= window.end) return;
    const total = this.#source.totalBytes;
    const offset = window.offsetOf(window.at);
    if (total !== undefined && offset + size > total) {
      throw this.damaged(
        `a string of ${size} bytes at byte ${offset} would reach beyond the end of the file at ${total}`,
      );
    }
    this.#checkSize(size);
    this.need(size);
  }

  #checkSize(size: number): void {
    if (size <= MAX_PIECE_BYTES) return;
    throw tooLarge(this.#source.name, size, MAX_PIECE_BYTES, this.window.offsetOf(this.mark), this.keyName);
  }

  /** Two bits say what follows: 6 bits, 14 bits, 32 or 64 bits big-endian, or the encoding of a string. */
  #lengthOrEncoding(): number {
    const { window } = this;
    const first = this.byte();
    switch (first >> 6) {
      case 0:
        return first;
      case 1:
        return ((first & 0x3f) << 8) | this.byte();
      case 3:
        this.#encoding = first & 0x3f;
        return ENCODED;
    }
    if (first === 0x80) {
      this.need(4);
      window.at += 4;
      return window.view.getUint32(window.at - 4);
    }
    if (first !== 0x81) throw this.damaged(`a length begins with the unknown byte 0x${first.toString(16)}`);
    this.need(8);
    window.at += 8;
    const size = window.view.getBigUint64(window.at - 8);
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw this.damaged(`a length of ${size} cannot be right`);
    return Number(size);
  }
}
