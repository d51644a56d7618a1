import type { ByteWriter } from "../../base/bytes.ts";
import { viewOf } from "../../base/bytes.ts";
import { type QuotaRecord, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import type { CommandPipe } from "./command-pipe.ts";
import { bulk, commandName, writeCommand, writeCommandHead } from "./command-writer.ts";
import { writeNumberArgument, writePairArgument } from "./decimal.ts";
import { WRITTEN_KEYS_NAME } from "./load-marker.ts";
import { QUOTA_KINDS } from "./quota-records.ts";
import { COUNTERS } from "./rare-records.ts";
import { writeSignedArgument } from "./record-writer.ts";

const ITEMS_PER_COMMAND = 100;
const STAT_BYTES = 32;

const HSET = commandName("HSET");
const EMPTY = Buffer.alloc(0);
const SLICE_PREFIX = Buffer.from("k");

/** Encodes the kinds outside the inode families as commands (docs/spec/redis.md §12.4, §12.5). */
export class RareWriter {
  readonly #otherKeys: Set<string> = new Set();
  readonly #pipe: CommandPipe;
  readonly #prefix: Buffer;
  #maxAclId = 0;

  constructor(pipe: CommandPipe, prefix: Buffer) {
    this.#pipe = pipe;
    this.#prefix = prefix;
  }

  #key(name: string): Buffer {
    return Buffer.concat([this.#prefix, Buffer.from(name)]);
  }

  /** The three hashes of a directory; as many directories as there may be, so from bytes. */
  async dirStats({ bytes, count }: RecordBatch): Promise<void> {
    const source = viewOf(bytes);
    const hashes = ["dirDataLength", "dirUsedSpace", "dirUsedInodes"].map((name) => bulk(this.#key(name)));
    for (let done = 0; done < count; ) {
      const items = Math.min(ITEMS_PER_COMMAND, count - done);
      for (const [which, hash] of hashes.entries()) {
        const writer = this.#pipe.writer;
        writeCommandHead(writer, HSET, 1 + items * 2);
        writer.writeBytes(hash);
        for (let i = 0, at = done * STAT_BYTES; i < items; i++, at += STAT_BYTES) {
          const value = at + 8 + which * 8;
          writeNumberArgument(writer, EMPTY, source.getUint32(at), source.getUint32(at + 4));
          writeSignedArgument(writer, source.getUint32(value), source.getUint32(value + 4));
        }
        if (this.#pipe.end()) await this.#pipe.flow();
      }
      done += items;
    }
  }

  /** References minus 1, and only where there is more than one (docs/spec/redis.md §7.3). */
  async sliceRefs(batch: RecordBatch): Promise<void> {
    const hash = bulk(this.#key("sliceRef"));
    const { count } = batch;
    const source = viewOf(batch.bytes);
    for (let done = 0, at = 0; done < count; done++, at += 20) {
      // Nearly all have one reference.
      if (source.getUint32(at + 16) === 1 && source.getUint32(at + 12) === 0) continue;
      const refs = source.getBigInt64(at + 12);
      if (refs <= 1n) continue;
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 3);
      writer.writeBytes(hash);
      writePairArgument(
        writer,
        SLICE_PREFIX,
        source.getUint32(at),
        source.getUint32(at + 4),
        0x5f,
        0,
        source.getUint32(at + 8),
      );
      writeText(writer, String(refs - 1n));
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  async aclRules(batch: RecordBatch): Promise<void> {
    for (const { id, rule } of unpackBatch("acl", batch)) {
      this.#maxAclId = Math.max(this.#maxAclId, id);
      await this.#command(["HSET", this.#key("acl"), String(id), rule]);
    }
  }

  async sustained(batch: RecordBatch): Promise<void> {
    for (const { sid, inode } of unpackBatch("sustained", batch)) {
      await this.#noteKey(`session${sid}`);
      await this.#command(["SADD", this.#key(`session${sid}`), String(inode)]);
    }
  }

  async delFiles(batch: RecordBatch): Promise<void> {
    for (const { inode, length, expire } of unpackBatch("delFile", batch)) {
      await this.#command(["ZADD", this.#key("delfiles"), String(expire), `${inode}:${length}`]);
    }
  }

  /** Clients find quotas by their usage, so all three fields are always written (docs/spec/redis.md §10.2). */
  async quotas(batch: RecordBatch): Promise<void> {
    const { kind, key } = QUOTA_KINDS.find((quota) => quota.kind === batch.kind)!;
    for (const quota of unpackBatch(kind, batch)) {
      const field = String(quota.key);
      await this.#command(["HSET", this.#key(key), field, encodeLimits(quota)]);
      await this.#command(["HSET", this.#key(`${key}UsedSpace`), field, String(quota.usedSpace)]);
      await this.#command(["HSET", this.#key(`${key}UsedInodes`), field, String(quota.usedInodes)]);
    }
  }

  /** Other names than the six are stored as they are, as the reference does. */
  async counters(batch: RecordBatch): Promise<void> {
    for (const { name, value } of unpackBatch("counter", batch)) {
      const known = COUNTERS.find((counter) => counter.name === name);
      if (known === undefined) await this.#noteKey(name);
      await this.#command(["SET", this.#key(known?.key ?? name), String(value - (known?.offset ?? 0n))]);
    }
  }

  /**
   * Keys with names of their own, of sustained inodes of sessions and counters of other versions, are listed beside the marker before they
   * are written: whoever removes what a load has left finds them there.
   */
  async #noteKey(name: string): Promise<void> {
    if (this.#otherKeys.has(name)) return;
    this.#otherKeys.add(name);
    await this.#command(["SADD", this.#key(WRITTEN_KEYS_NAME), name]);
  }

  /** What follows from the records as a whole. */
  async finish(): Promise<void> {
    if (this.#maxAclId > 0) await this.#command(["SET", this.#key("aclMaxId"), String(this.#maxAclId)]);
  }

  async #command(args: readonly (string | Buffer)[]): Promise<void> {
    writeCommand(this.#pipe.writer, args);
    if (this.#pipe.end()) await this.#pipe.flow();
  }
}

/** Limits of a quota as they are stored: two signed numbers of 8 bytes. */
export function encodeLimits(quota: Pick<QuotaRecord, "maxSpace" | "maxInodes">): Buffer {
  const limits = Buffer.alloc(16);
  limits.writeBigInt64BE(quota.maxSpace, 0);
  limits.writeBigInt64BE(quota.maxInodes, 8);
  return limits;
}

function writeText(writer: ByteWriter, text: string): void {
  writer.writeBytes(Buffer.from(`$${text.length}\r\n${text}\r\n`, "latin1"));
}
