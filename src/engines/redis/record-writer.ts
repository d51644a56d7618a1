import { type ByteWriter, copyBytes, viewOf } from "../../base/bytes.ts";
import { DataError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import { SLICE_BYTES } from "../../volume/slices.ts";
import type { CommandPipe } from "./command-pipe.ts";
import { commandName, writeBulk, writeCommandHead } from "./command-writer.ts";
import { toBigInt, writeNumberArgument, writePairArgument } from "./decimal.ts";

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
const DEL = commandName("DEL");
const EMPTY = Buffer.alloc(0);

/**
 * Encodes the kinds of the inode families as commands, from the packed bytes, without an object per record. Neighbouring
 * records of one key share a command.
 */
export class RecordWriter {
  readonly #pipe: CommandPipe;
  readonly #replaces: boolean;
  readonly #prefixes: { node: Buffer; edge: Buffer; chunk: Buffer; symlink: Buffer; xattr: Buffer; parent: Buffer };

  /** `replaces`: what an earlier load may have stored of the same records is there already, and lists would get it twice. */
  constructor(pipe: CommandPipe, prefix: Buffer, replaces: boolean) {
    this.#replaces = replaces;
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
    return this.#strings(batch, this.#prefixes.node, NODE_HEADER, (source, at) => source.getUint16(at + 8));
  }

  symlinks(batch: RecordBatch): Promise<void> {
    return this.#strings(batch, this.#prefixes.symlink, SYMLINK_HEADER, (source, at) => source.getUint32(at + 8));
  }

  /** `MSET <key> <value> ...` */
  async #strings(
    batch: RecordBatch,
    prefix: Buffer,
    header: number,
    sizeAt: (source: DataView, at: number) => number,
  ): Promise<void> {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    let at = 0;
    for (let done = 0; done < count; ) {
      const items = Math.min(ITEMS_PER_COMMAND, count - done);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, MSET, items * 2);
      for (let i = 0; i < items; i++) {
        const size = sizeAt(source, at);
        writeNumberArgument(writer, prefix, source.getUint32(at), source.getUint32(at + 4));
        writeBulk(writer, source, at + header, at + header + size);
        at += header + size;
      }
      done += items;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `HSET d<parent> <name> <type and inode> ...` */
  async edges(batch: RecordBatch): Promise<void> {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    const size = (at: number): number => EDGE_HEADER + source.getUint16(at + 17);
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(source, at, count - done, size);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.edge, source.getUint32(at), source.getUint32(at + 4));
      for (let i = 0; i < run; i++) {
        const end = at + size(at);
        writeBulk(writer, source, at + EDGE_HEADER, end);
        writeDentry(writer, source, at);
        at = end;
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `RPUSH c<inode>_<index> <slice> ...`; a chunk without slices has no key. */
  async chunks(batch: RecordBatch): Promise<void> {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    for (let done = 0, at = 0; done < count; done++) {
      const size = source.getUint32(at + 12);
      const hi = source.getUint32(at);
      const lo = source.getUint32(at + 4);
      const index = source.getUint32(at + 8);
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
        if (this.#replaces) {
          writeCommandHead(this.#pipe.writer, DEL, 1);
          writePairArgument(this.#pipe.writer, this.#prefixes.chunk, hi, lo, 0x5f, 0, index);
          this.#pipe.end();
        }
        const writer = this.#pipe.writer;
        writeCommandHead(writer, RPUSH, 1 + slices);
        writePairArgument(writer, this.#prefixes.chunk, hi, lo, 0x5f, 0, index);
        writeSlices(writer, source, at, slices);
        if (this.#pipe.end()) await this.#pipe.flow();
      }
      at += size;
    }
  }

  /** `HSET x<inode> <name> <value> ...` */
  async xattrs(batch: RecordBatch): Promise<void> {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    const nameSize = (at: number): number => source.getUint16(at + 8);
    const size = (at: number): number => XATTR_HEADER + nameSize(at) + source.getUint32(at + 10);
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(source, at, count - done, size);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.xattr, source.getUint32(at), source.getUint32(at + 4));
      for (let i = 0; i < run; i++) {
        const value = at + XATTR_HEADER + nameSize(at);
        const end = at + size(at);
        writeBulk(writer, source, at + XATTR_HEADER, value);
        writeBulk(writer, source, value, end);
        at = end;
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }

  /** `HSET p<inode> <parent> <count> ...` */
  async parents(batch: RecordBatch): Promise<void> {
    const { count } = batch;
    const source = viewOf(batch.bytes);
    let at = 0;
    for (let done = 0; done < count; ) {
      const run = sameInodeRun(source, at, count - done, () => PARENT_BYTES);
      const writer = this.#pipe.writer;
      writeCommandHead(writer, HSET, 1 + run * 2);
      writeNumberArgument(writer, this.#prefixes.parent, source.getUint32(at), source.getUint32(at + 4));
      for (let i = 0; i < run; i++, at += PARENT_BYTES) {
        writeNumberArgument(writer, EMPTY, source.getUint32(at + 8), source.getUint32(at + 12));
        writeSignedArgument(writer, source.getUint32(at + 16), source.getUint32(at + 20));
      }
      done += run;
      if (this.#pipe.end()) await this.#pipe.flow();
    }
  }
}

/** How many records from `at` on begin with the same inode, at most as many as fit one command. */
function sameInodeRun(source: DataView, at: number, available: number, size: (at: number) => number): number {
  const hi = source.getUint32(at);
  const lo = source.getUint32(at + 4);
  const most = Math.min(available, ITEMS_PER_COMMAND);
  let run = 1;
  for (let next = at + size(at); run < most; run++, next += size(next)) {
    if (source.getUint32(next + 4) !== lo || source.getUint32(next) !== hi) break;
  }
  return run;
}

/** The stored form of an entry: type, then inode; the record has them the other way round. */
function writeDentry(writer: ByteWriter, source: DataView, at: number): void {
  const to = writer.reserve(15);
  const view = writer.view;
  view.setUint32(to, DENTRY_HEAD);
  view.setUint8(to + 4, source.getUint8(at + 16));
  copyBytes(source, at + 8, at + 16, view, to + 5);
  view.setUint16(to + 13, CRLF);
  writer.length = to + 15;
}

function writeSlices(writer: ByteWriter, source: DataView, from: number, slices: number): void {
  let to = writer.reserve(slices * (SLICE_BYTES + 7));
  const view = writer.view;
  for (let i = 0, at = from; i < slices; i++, at += SLICE_BYTES) {
    view.setUint32(to, SLICE_HEAD);
    view.setUint8(to + 4, LF);
    copyBytes(source, at, at + SLICE_BYTES, view, to + 5);
    view.setUint16(to + 5 + SLICE_BYTES, CRLF);
    to += SLICE_BYTES + 7;
  }
  writer.length = to;
}

const CRLF = 0x0d0a;
const LF = 0x0a;
/** `$9\r\n` */
const DENTRY_HEAD = 0x2439_0d0a;
/** `$24\r`, the size of a slice */
const SLICE_HEAD = 0x2432_340d;

const MINUS = Buffer.from("-");

/** A signed 64-bit number given as two's complement halves. */
export function writeSignedArgument(writer: ByteWriter, hi: number, lo: number): void {
  if (hi < 0x8000_0000) return writeNumberArgument(writer, EMPTY, hi, lo);
  const low = -lo >>> 0;
  writeNumberArgument(writer, MINUS, (~hi + (low === 0 ? 1 : 0)) >>> 0, low);
}
