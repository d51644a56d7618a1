import { ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import { putVarint32, varintSize32 } from "../../base/varint.ts";

/** Requests of up to 1.5 MiB are taken (docs/spec/kv-stores.md §1). */
const MAX_REQUEST_BYTES = 1024 * 1024;

/**
 * Puts stand in transactions within the transaction, as etcd counts 128 operations on each path through them, the outer ones
 * included: a request then costs a quarter of what its puts would cost in four. Larger ones would not cost much less, and a server
 * keeps the last 100,000 requests in memory.
 */
const GROUP_PUTS = 64;
const MAX_GROUPS = 8;

export const MAX_PUTS: number = GROUP_PUTS * MAX_GROUPS;

/** Most that is written around a group: two tags, two sizes. */
const GROUP_HEADER_BYTES = 12;

/** Below this, a call of `Buffer.copy` costs more than copying in words. */
const SHORT_BYTES = 512;

/** TxnRequest.success; RequestOp.request_put and .request_txn; PutRequest.key and .value. */
const TAG_SUCCESS = 0x12;
const TAG_PUT = 0x12;
const TAG_TXN = 0x22;
const TAG_KEY = 0x0a;
const TAG_VALUE = 0x12;

/** Fills TxnRequests with puts, from packed pairs, without an object for each. */
export class PutRequestBuilder {
  /** Puts in the request so far. */
  count = 0;
  readonly #prefix: Buffer;
  readonly #prefixView: DataView;
  readonly #request = new ByteWriter(128 * 1024);
  readonly #group = new ByteWriter(32 * 1024);
  #groupPuts = 0;

  /** `prefix` goes in front of every key. */
  constructor(prefix: Buffer) {
    this.#prefix = prefix;
    this.#prefixView = viewOf(prefix);
  }

  get isFull(): boolean {
    return this.count === MAX_PUTS;
  }

  /** Whether the pair has room in a request that has others already. */
  fits(keySize: number, valueSize: number): boolean {
    if (this.count === 0) return true;
    const size = fieldSize(fieldSize(putSize(this.#prefix.length + keySize, valueSize)));
    return this.#request.length + this.#group.length + size + GROUP_HEADER_BYTES <= MAX_REQUEST_BYTES;
  }

  /** The key is at `key` in `source`, the value right behind it. */
  add(source: DataView, key: number, keySize: number, valueSize: number): void {
    const prefixSize = this.#prefix.length;
    const wholeKey = prefixSize + keySize;
    const put = putSize(wholeKey, valueSize);
    const operation = fieldSize(put);
    const group = this.#group;
    let to = group.reserve(fieldSize(operation));
    const out = group.buffer;
    out[to] = TAG_SUCCESS;
    to = putVarint32(out, to + 1, operation);
    out[to] = TAG_PUT;
    to = putVarint32(out, to + 1, put);
    out[to] = TAG_KEY;
    to = putVarint32(out, to + 1, wholeKey);
    copyBytes(this.#prefixView, 0, prefixSize, group.view, to);
    copyBytes(source, key, key + keySize, group.view, to + prefixSize);
    to += wholeKey;
    if (valueSize > 0) {
      const value = key + keySize;
      out[to] = TAG_VALUE;
      to = putVarint32(out, to + 1, valueSize);
      if (valueSize < SHORT_BYTES) copyBytes(source, value, value + valueSize, group.view, to);
      else out.set(new Uint8Array(source.buffer, source.byteOffset + value, valueSize), to);
      to += valueSize;
    }
    group.length = to;
    this.count++;
    if (++this.#groupPuts === GROUP_PUTS) this.#endGroup();
  }

  #endGroup(): void {
    if (this.#groupPuts === 0) return;
    const group = this.#group.written();
    const request = this.#request;
    let to = request.reserve(group.length + GROUP_HEADER_BYTES);
    const out = request.buffer;
    out[to] = TAG_SUCCESS;
    to = putVarint32(out, to + 1, fieldSize(group.length));
    out[to] = TAG_TXN;
    to = putVarint32(out, to + 1, group.length);
    out.set(group, to);
    request.length = to + group.length;
    this.#group.length = 0;
    this.#groupPuts = 0;
  }

  /** The request, which belongs to the caller. `conditions` are fields of a TxnRequest, which may come in any order. */
  take(conditions: Uint8Array): Buffer {
    this.#endGroup();
    this.#request.writeBytes(conditions);
    this.count = 0;
    return this.#request.take();
  }
}

function putSize(keySize: number, valueSize: number): number {
  return fieldSize(keySize) + (valueSize === 0 ? 0 : fieldSize(valueSize));
}

/** Bytes of a field of `size` bytes, with its tag. */
function fieldSize(size: number): number {
  return 1 + varintSize32(size) + size;
}
