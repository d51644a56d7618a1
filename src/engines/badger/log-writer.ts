import { ByteWriter } from "../../base/bytes.ts";
import { crc32c } from "../../base/crc32c.ts";
import {
  META_DELETED,
  META_TRANSACTION,
  META_TRANSACTION_END,
  TRANSACTION_KEY,
  VERSION_BYTES,
  versionOf,
} from "./entry.ts";
import { writeUvarint } from "./uvarint.ts";

/**
 * Header of a log that is not encrypted: key id 0, then bytes that only encryption uses. By them a log of ours is known, to which
 * more may be added: a reference has nothing in memory that belongs to it.
 */
export const LOG_HEADER: Buffer = Buffer.concat([Buffer.alloc(8), Buffer.from("decant-store")]);

/** Behind the last record there have to be zero bytes, or the end of the file. */
export const LOG_PADDING: Buffer = Buffer.alloc(64);

const MAX_HEAD_BYTES = 32;

/** Makes the records of a transaction. */
export class TransactionWriter {
  readonly #writer = new ByteWriter(4096);
  readonly #version: bigint;
  readonly #ts: bigint;

  constructor(ts: bigint) {
    this.#ts = ts;
    this.#version = versionOf(ts);
  }

  get length(): number {
    return this.#writer.length;
  }

  /** `value` undefined deletes the key. */
  add(key: Uint8Array, value: Uint8Array | undefined): void {
    this.#record(value === undefined ? META_TRANSACTION | META_DELETED : META_TRANSACTION, key, value ?? NONE);
  }

  /** The bytes of the whole transaction. */
  finish(): Buffer {
    this.#record(META_TRANSACTION_END, TRANSACTION_KEY, Buffer.from(String(this.#ts)));
    return this.#writer.take();
  }

  /** meta, userMeta, key size, value size, expiresAt, key, version, value, CRC-32C (docs/spec/kv-stores.md §3.3). */
  #record(meta: number, key: Uint8Array, value: Uint8Array): void {
    const writer = this.#writer;
    const start = writer.reserve(MAX_HEAD_BYTES + key.length + VERSION_BYTES + value.length + 4);
    const { buffer } = writer;
    buffer[start] = meta;
    buffer[start + 1] = 0;
    let at = writeUvarint(buffer, start + 2, key.length + VERSION_BYTES);
    at = writeUvarint(buffer, at, value.length);
    buffer[at++] = 0;
    buffer.set(key, at);
    at = buffer.writeBigUInt64BE(this.#version, at + key.length);
    buffer.set(value, at);
    at += value.length;
    writer.length = buffer.writeUInt32BE(crc32c(buffer.subarray(start, at)), at);
  }
}

const NONE = new Uint8Array(0);
