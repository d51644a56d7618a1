import { ByteWriter } from "./bytes.ts";

/**
 * Messages of protobuf as servers exchange them, by field number. The readers and writers of binary dumps are others
 * (formats/binary/wire-reader.ts): there every field must be known and every offset told.
 */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Bytes that are no protobuf message. Whoever has asked for them says in an error from where they came. */
export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
}

/** Writes one message, field by field. Zero, false and empty bytes are left out, as proto3 does. */
export class ProtobufWriter {
  readonly #out: ByteWriter;

  constructor(capacity: number = 256) {
    this.#out = new ByteWriter(capacity);
  }

  /** An unsigned number, or a signed 64-bit one as its two's complement. */
  number(field: number, value: number | bigint): this {
    if (value === 0 || value === 0n) return this;
    return this.#tag(field, VARINT).#varint(value);
  }

  bool(field: number, value: boolean): this {
    return this.number(field, value ? 1 : 0);
  }

  bytes(field: number, value: Uint8Array): this {
    return value.length === 0 ? this : this.element(field, value);
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  /** Bytes that are written even when they are empty: an element of a list, or a message that is there. */
  element(field: number, value: Uint8Array): this {
    this.open(field, value.length);
    this.#out.writeBytes(value);
    return this;
  }

  /** A message within this one. */
  message(field: number, value: ProtobufWriter): this {
    return this.element(field, value.#out.written());
  }

  /** The begin of a message of `size` bytes, which are written next: for many small ones, instead of a writer for each. */
  open(field: number, size: number): this {
    return this.#tag(field, BYTES).#varint(size);
  }

  /** Like `element`, of `source[start..end)`. */
  slice(field: number, source: Buffer, start: number, end: number): this {
    this.open(field, end - start);
    this.#out.writeSlice(source, start, end);
    return this;
  }

  /** What was written so far, borrowed until the next write. */
  written(): Buffer {
    return this.#out.written();
  }

  #tag(field: number, wireType: number): this {
    return this.#varint(field * 8 + wireType);
  }

  #varint(value: number | bigint): this {
    const out = this.#out;
    out.reserve(10);
    let rest = value;
    if (typeof rest === "bigint") {
      rest = BigInt.asUintN(64, rest);
      for (; rest >= 0x80n; rest >>= 7n) out.buffer[out.length++] = Number(rest & 0x7fn) | 0x80;
    } else {
      for (; rest >= 0x80; rest = Math.floor(rest / 128)) out.buffer[out.length++] = (rest & 0x7f) | 0x80;
    }
    out.buffer[out.length++] = Number(rest);
    return this;
  }
}

/** Bytes of a field of `size` bytes, of a number below 16. */
export function bytesFieldSize(size: number): number {
  let prefix = 2;
  for (let rest = size; rest >= 0x80; rest = Math.floor(rest / 128)) prefix++;
  return prefix + size;
}

/**
 * Reads the fields of one message: `next` goes to the next one, which the other members then give in the sense that the caller
 * knows it has. Fields that are not asked for are passed over, as newer servers have more of them.
 */
export class ProtobufReader {
  readonly bytes: Buffer;
  field = 0;
  /** A field of bytes, or a message, is `bytes[start..end)`. */
  start = 0;
  end = 0;
  #wireType = 0;
  #at: number;
  #limit: number;
  /** The varint at hand, in halves: as a bigint each would be an object. */
  #hi = 0;
  #lo = 0;

  constructor(bytes: Buffer, start: number = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.#at = start;
    this.#limit = end;
  }

  /** Goes on with another message in the same bytes: for lists of many, instead of a reader for each. */
  reopen(start: number, end: number): void {
    this.#at = start;
    this.#limit = end;
  }

  /** False at the end of the message. */
  next(): boolean {
    if (this.#at >= this.#limit) return false;
    this.#readVarint();
    this.field = Math.floor((this.#hi * 0x1_0000_0000 + this.#lo) / 8);
    this.#wireType = this.#lo & 7;
    if (this.#wireType === VARINT) this.#readVarint();
    else if (this.#wireType === BYTES) {
      this.#readVarint();
      this.#span(this.#hi === 0 ? this.#lo : Number.POSITIVE_INFINITY);
    } else if (this.#wireType === FIXED64) this.#span(8);
    else if (this.#wireType === FIXED32) this.#span(4);
    else throw new ProtobufError(`field ${this.field} has the unknown wire type ${this.#wireType}`);
    return true;
  }

  /** The number at hand. Throws where a JavaScript number cannot hold it. */
  number(): number {
    this.#expect(VARINT);
    const value = this.#hi * 0x1_0000_0000 + this.#lo;
    if (!Number.isSafeInteger(value)) throw new ProtobufError(`the number in field ${this.field} is too large`);
    return value;
  }

  uint64(): bigint {
    this.#expect(VARINT);
    return (BigInt(this.#hi) << 32n) | BigInt(this.#lo);
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  bool(): boolean {
    this.#expect(VARINT);
    return this.#hi !== 0 || this.#lo !== 0;
  }

  /** A view of the bytes at hand. */
  view(): Buffer {
    this.#expect(BYTES);
    return this.bytes.subarray(this.start, this.end);
  }

  text(): string {
    return this.view().toString("utf8");
  }

  /** A reader of the message at hand. */
  message(): ProtobufReader {
    this.#expect(BYTES);
    return new ProtobufReader(this.bytes, this.start, this.end);
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType) {
      throw new ProtobufError(`field ${this.field} has wire type ${this.#wireType} instead of ${wireType}`);
    }
  }

  #span(size: number): void {
    this.start = this.#at;
    this.end = this.#at + size;
    if (this.end > this.#limit) throw new ProtobufError(`field ${this.field} ends behind the end of its message`);
    this.#at = this.end;
  }

  #readVarint(): void {
    let [lo, hi] = [0, 0];
    for (let shift = 0; ; shift += 7) {
      if (this.#at >= this.#limit) throw new ProtobufError("the message is cut off");
      const byte = this.bytes[this.#at++]!;
      const bits = byte & 0x7f;
      if (shift < 28) lo |= bits << shift;
      else if (shift === 28) {
        lo |= bits << 28;
        hi |= bits >> 4;
      } else if (shift < 63) hi |= bits << (shift - 32);
      else if (byte > 1) throw new ProtobufError("a number has more than 64 bits");
      else hi |= bits << 31;
      if (byte < 0x80) break;
    }
    this.#lo = lo >>> 0;
    this.#hi = hi >>> 0;
  }
}
