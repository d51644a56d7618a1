import { copyBytes, viewOf } from "../../base/bytes.ts";
import { ProtobufError } from "../../base/protobuf.ts";
import { PageBuilder } from "../kv/kv-page.ts";
import type { KvPage } from "../kv/kv-store.ts";
import { keyAfter } from "../kv/prefixed-keys.ts";

/** Tags of RangeResponse: kvs 2, more 3. */
const TAG_PAIR = 0x12;
const TAG_MORE = 0x18;

/** Tags of KeyValue: key 1, value 5. */
const TAG_KEY = 0x0a;
const TAG_VALUE = 0x2a;

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const MAX_VARINT_BYTES = 10;

/**
 * Takes the pairs out of RangeResponses, of which a dump has millions: in a straight line, without an object for each
 * (docs/spec/kv-stores.md §1).
 */
export class RangeResponseReader {
  /** Of the response that was opened last: pairs in it, whether the range has more, and the whole keys at its ends. */
  count = 0;
  more = false;
  firstKey: Buffer | undefined;
  lastKey: Buffer | undefined;
  /** Where the rest of the range begins, when it has more. */
  resumeAt: Buffer | undefined;
  readonly #prefixBytes: number;
  readonly #pages = new PageBuilder();
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = viewOf(this.#bytes);
  #at = 0;
  #end = 0;

  constructor(prefixBytes: number) {
    this.#prefixBytes = prefixBytes;
  }

  /** Finds out how it goes on, without looking into the pairs but the first and the last. Throws `ProtobufError`. */
  open(response: Buffer): void {
    this.#bytes = response;
    this.#view = viewOf(response);
    this.more = false;
    this.count = 0;
    let [first, last] = [0, 0];
    this.#begin(0, response.length);
    while (this.#at < this.#end) {
      const at = this.#at;
      const tag = this.#varint();
      if (tag === TAG_PAIR) {
        if (this.count === 0) first = at;
        last = at;
        this.count++;
        this.#at = this.#bytesEnd();
      } else if (tag === TAG_MORE) this.more = this.#varint() !== 0;
      else this.#skip(tag);
    }
    this.firstKey = this.count === 0 ? undefined : this.#keyOf(first);
    this.lastKey = this.count === 0 ? undefined : this.#keyOf(last);
    this.resumeAt = this.more && this.lastKey !== undefined ? keyAfter(this.lastKey) : undefined;
  }

  /** A view of the key in the pair whose tag is at `at`. */
  #keyOf(at: number): Buffer {
    this.#begin(at + 1, this.#bytes.length);
    const end = this.#bytesEnd();
    this.#begin(this.#at, end);
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === TAG_KEY) {
        const keyEnd = this.#bytesEnd();
        return this.#bytes.subarray(this.#at, keyEnd);
      }
      this.#skip(tag);
    }
    throw new ProtobufError("a pair has no key");
  }

  /** The pairs of the response that was opened last, without the prefix of their keys. */
  *pages(): Generator<KvPage> {
    const pages = this.#pages;
    const length = this.#bytes.length;
    for (let next = 0; next < length; ) {
      this.#begin(next, length);
      const tag = this.#varint();
      if (tag === TAG_PAIR) {
        next = this.#bytesEnd();
        this.#begin(this.#at, next);
        this.#copyPair();
        if (pages.isFull) yield pages.take()!;
      } else {
        this.#skip(tag);
        next = this.#at;
      }
    }
    const rest = pages.take();
    if (rest !== undefined) yield rest;
  }

  #copyPair(): void {
    const bytes = this.#bytes;
    const end = this.#end;
    let [key, keyEnd, value, valueEnd] = [0, 0, 0, 0];
    while (this.#at < end) {
      const tag = bytes[this.#at++]!;
      if (tag === TAG_KEY) {
        keyEnd = this.#bytesEnd();
        key = this.#at + this.#prefixBytes;
        this.#at = keyEnd;
      } else if (tag === TAG_VALUE) {
        valueEnd = this.#bytesEnd();
        value = this.#at;
        this.#at = valueEnd;
      } else if (tag < 0x80) this.#skip(tag);
      else {
        this.#at--;
        this.#skip(this.#varint());
      }
    }
    if (keyEnd < key) throw new ProtobufError("a key is shorter than the prefix");
    const pages = this.#pages;
    const to = pages.add(keyEnd - key, valueEnd - value);
    const target = pages.writer.view;
    copyBytes(this.#view, key, keyEnd, target, to);
    copyBytes(this.#view, value, valueEnd, target, to + keyEnd - key);
  }

  #begin(at: number, end: number): void {
    this.#at = at;
    this.#end = end;
  }

  /** Takes the size in front of bytes, and returns where they end. */
  #bytesEnd(): number {
    const size = this.#varint();
    const end = this.#at + size;
    if (end > this.#end) throw new ProtobufError("a field ends behind the end of its message");
    return end;
  }

  /** Passes over the value of a field that is not asked for. */
  #skip(tag: number): void {
    const wireType = tag & 7;
    if (wireType === VARINT) this.#varint();
    else if (wireType === BYTES) this.#at = this.#bytesEnd();
    else if (wireType === FIXED64) this.#at += 8;
    else if (wireType === FIXED32) this.#at += 4;
    else throw new ProtobufError(`the unknown wire type ${wireType}`);
    if (this.#at > this.#end) throw new ProtobufError("the message is cut off");
  }

  /** Above 2^53 inexact, which only numbers are that are passed over. */
  #varint(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    let byte = bytes[at++]!;
    let value = byte & 0x7f;
    for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
      byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (at - this.#at > MAX_VARINT_BYTES) throw new ProtobufError("a number has more than 64 bits");
    }
    this.#at = at;
    if (at > this.#end) throw new ProtobufError("the message is cut off");
    return value;
  }
}
