import type { ByteWriter } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { CommandPipe } from "./command-pipe.ts";
import { commandName, writeBulk, writeCommandHead } from "./command-writer.ts";
import { toBigInt, writeNumberArgument, writePairArgument } from "./decimal.ts";
import { readU32 } from "./record-mapper.ts";

/** Fields or keys per command, as many as the reference sends (docs/spec/redis.md §12.4). */
const ITEMS_PER_COMMAND = 100;
const EDGE_HEADER = 19;
const NODE_HEADER = 10;
const CHUNK_HEADER = 16;
const SYMLINK_HEADER = 12;
const XATTR_HEADER = 14;
const PARENT_BYTES = 24;

const HSET = commandName("HSET");
const MSET = commandName("MSET");
const RPUSH = commandName("RPUSH");
const EMPTY = Buffer.alloc(0);
const DENTRY_HEAD = Buffer.from("$9\r\n");
const SLICE_HEAD = Buffer.from(`$${SLICE_BYTES}\r\n`);

/**
 * Encodes the kinds of the inode families as commands, from the packed bytes, without an object per record. Neighbouring
 * records of one key share a command.
 */
export class RecordWriter {
  readonly #pipe: CommandPipe;
  readonly #prefixes: { node: Buffer; edge: Buffer; chunk: Buffer; symlink: Buffer; xattr: Buffer; parent: Buffer };

  constructor(pipe: CommandPipe, prefix: Buffer) {
    const family = (letter: string): Buffer => Buffer.concat([prefix, Buffer.from(letter)]);
    this.#pipe = pipe;
    this.#prefixes = {
      node: family("i"),
      edge: family("d"),
      chunk: family("c"),
      symlink: family("s"),
      xattr: family("x"),
      parent: family("p"),
    };
  }

  nodes(batch: RecordBatch): Promise<void> {
    return this.#strings(
      batch,
      this.#prefixes.node,
      NODE_HEADER,
      (bytes, at) => (bytes[at + 8]! << 8) | bytes[at + 9]!,
    );
  }

  symlinks(batch: RecordBatch): Promise<void> {
    return this.#strings(batch, this.#prefixes.symlink, SYMLINK_HEADER, (bytes, at) => readU32(bytes, at + 8));
  }

  /** `MSET <key> <value> ...` */
  async #strings(
    batch: RecordBatch,
    prefix: Buffer,
    header: number,
    sizeAt: (bytes: Buffer, at: number) => number,
  ): Promise<void> {
    const { bytes, count } = batch;
    let at = 0;
    for (let done = 0; done < count; ) {
      const items = Math.min(ITEMS_PER_COMMAND, count - done);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, MSET, items * 2);
      for (let i = 0; i < items; i++) {
        const size = sizeAt(bytes, at);
        writeNumberArgument(writer, prefix, readU32(bytes, at), readU32(bytes, at + 4));
        writeBulk(writer, bytes, at + header, at + header + size);
        at += header + size;
      }
      done += items;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `HSET d<parent> <name> <type and inode> ...` */
  async edges(batch: RecordBatch): Promise<void> {
    const { bytes, count } = batch;
    const size = (at: number): number => EDGE_HEADER + ((bytes[at + 17]! << 8) | bytes[at + 18]!);
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(bytes, at, count - done, size);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.edge, readU32(bytes, at), readU32(bytes, at + 4));
      for (let i = 0; i < run; i++) {
        const end = at + size(at);
        writeBulk(writer, bytes, at + EDGE_HEADER, end);
        writeDentry(writer, bytes, at);
        at = end;
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `RPUSH c<inode>_<index> <slice> ...`; a chunk without slices has no key. */
  async chunks(batch: RecordBatch): Promise<void> {
    const { bytes, count } = batch;
    for (let done = 0, at = 0; done < count; done++) {
      const size = readU32(bytes, at + 12);
      const [hi, lo, index] = [readU32(bytes, at), readU32(bytes, at + 4), readU32(bytes, at + 8)];
      if (size % SLICE_BYTES !== 0) {
        throw new DataError(
          "DECANT_E_SLICE_LENGTH",
          `Cannot store ${size} bytes of slices: not a multiple of ${SLICE_BYTES}`,
          {
            location: { key: `c${toBigInt(hi, lo)}_${index}` },
          },
        );
      }
      const slices = size / SLICE_BYTES;
      at += CHUNK_HEADER;
      if (slices > 0) {
        const writer = this.#pipe.writer;
        writeCommandHead(writer, RPUSH, 1 + slices);
        writePairArgument(writer, this.#prefixes.chunk, hi, lo, 0x5f, 0, index);
        writeSlices(writer, bytes, at, slices);
        if (this.#pipe.end()) await this.#pipe.flow();
      }
      at += size;
    }
  }

  /** `HSET x<inode> <name> <value> ...` */
  async xattrs(batch: RecordBatch): Promise<void> {
    const { bytes, count } = batch;
    const nameSize = (at: number): number => (bytes[at + 8]! << 8) | bytes[at + 9]!;
    const size = (at: number): number => XATTR_HEADER + nameSize(at) + readU32(bytes, at + 10);
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(bytes, at, count - done, size);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.xattr, readU32(bytes, at), readU32(bytes, at + 4));
      for (let i = 0; i < run; i++) {
        const value = at + XATTR_HEADER + nameSize(at);
        const end = at + size(at);
        writeBulk(writer, bytes, at + XATTR_HEADER, value);
        writeBulk(writer, bytes, value, end);
        at = end;
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `HSET p<inode> <parent> <count> ...` */
  async parents(batch: RecordBatch): Promise<void> {
    const { bytes, count } = batch;
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(bytes, at, count - done, () => PARENT_BYTES);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.parent, readU32(bytes, at), readU32(bytes, at + 4));
      for (let i = 0; i < run; i++, at += PARENT_BYTES) {
        writeNumberArgument(writer, EMPTY, readU32(bytes, at + 8), readU32(bytes, at + 12));
        writeSignedArgument(writer, readU32(bytes, at + 16), readU32(bytes, at + 20));
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }
}

/** How many records from `at` on begin with the same inode, at most as many as fit one command. */
function sameInodeRun(bytes: Buffer, at: number, available: number, size: (at: number) => number): number {
  const hi = readU32(bytes, at);
  const lo = readU32(bytes, at + 4);
  const most = Math.min(available, ITEMS_PER_COMMAND);
  let run = 1;
  for (let next = at + size(at); run < most; run++, next += size(next)) {
    if (readU32(bytes, next + 4) !== lo || readU32(bytes, next) !== hi) break;
  }
  return run;
}

/** The stored form of an entry: type, then inode; the record has them the other way round. */
function writeDentry(writer: ByteWriter, bytes: Buffer, at: number): void {
  let to = writer.reserve(16);
  const out = writer.buffer;
  to += DENTRY_HEAD.copy(out, to);
  out[to++] = bytes[at + 16]!;
  for (let i = 8; i < 16; i++) out[to++] = bytes[at + i]!;
  out[to++] = 0x0d;
  out[to++] = 0x0a;
  writer.length = to;
}

function writeSlices(writer: ByteWriter, bytes: Buffer, from: number, slices: number): void {
  let to = writer.reserve(slices * (SLICE_BYTES + SLICE_HEAD.length + 2));
  const out = writer.buffer;
  for (let i = 0, at = from; i < slices; i++, at += SLICE_BYTES) {
    for (let j = 0; j < SLICE_HEAD.length; j++) out[to++] = SLICE_HEAD[j]!;
    for (let j = 0; j < SLICE_BYTES; j++) out[to++] = bytes[at + j]!;
    out[to++] = 0x0d;
    out[to++] = 0x0a;
  }
  writer.length = to;
}

const MINUS = Buffer.from("-");

/** A signed 64-bit number given as two's complement halves. */
export function writeSignedArgument(writer: ByteWriter, hi: number, lo: number): void {
  if (hi < 0x8000_0000) return writeNumberArgument(writer, EMPTY, hi, lo);
  const low = -lo >>> 0;
  writeNumberArgument(writer, MINUS, (~hi + (low === 0 ? 1 : 0)) >>> 0, low);
}
