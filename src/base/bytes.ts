/** For numbers in `bytes`: in hot code several times as fast as the methods of Buffer. Make one per buffer, not per record. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Copies `source[start..end)` to `target[to..)`, which do not overlap, in words of eight bytes. For the short pieces of
 * records: a call of `Buffer.copy` costs as much as copying two hundred bytes this way.
 */
export function copyBytes(source: DataView, start: number, end: number, target: DataView, to: number): void {
  const last = end - 8;
  if (last < start) {
    for (let i = start; i < end; i++) target.setUint8(to + i - start, source.getUint8(i));
    return;
  }
  for (let i = start; i < last; i += 8) target.setBigInt64(to + i - start, source.getBigInt64(i));
  target.setBigInt64(to + last - start, source.getBigInt64(last));
}

/**
 * A growable byte buffer for packed records and text. Numbers are big-endian, as everywhere in JuiceFS metadata.
 *
 * Hot code may reserve once and then write into `buffer` or its `view` directly; both change identity whenever it grows,
 * so take them after `reserve`, never before.
 */
export class ByteWriter {
  buffer: Buffer;
  view: DataView;
  length = 0;

  constructor(capacity: number = 65536) {
    this.buffer = Buffer.allocUnsafeSlow(capacity);
    this.view = viewOf(this.buffer);
  }

  /** Makes room for `size` more bytes and returns the offset at which they start; `length` is not changed. */
  reserve(size: number): number {
    const needed = this.length + size;
    if (needed > this.buffer.length) {
      let capacity = this.buffer.length * 2;
      while (capacity < needed) capacity *= 2;
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.buffer.copy(grown, 0, 0, this.length);
      this.buffer = grown;
      this.view = viewOf(grown);
    }
    return this.length;
  }

  writeU8(value: number): void {
    const at = this.reserve(1);
    this.buffer[at] = value;
    this.length = at + 1;
  }

  writeU16(value: number): void {
    const at = this.reserve(2);
    this.buffer.writeUInt16BE(value, at);
    this.length = at + 2;
  }

  writeU32(value: number): void {
    const at = this.reserve(4);
    this.buffer.writeUInt32BE(value, at);
    this.length = at + 4;
  }

  writeU64(value: bigint): void {
    const at = this.reserve(8);
    this.buffer.writeBigUInt64BE(BigInt.asUintN(64, value), at);
    this.length = at + 8;
  }

  writeBytes(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length);
    this.buffer.set(bytes, at);
    this.length = at + bytes.length;
  }

  /** Copies `source[start..end)`. */
  writeSlice(source: Buffer, start: number, end: number): void {
    const at = this.reserve(end - start);
    source.copy(this.buffer, at, start, end);
    this.length = at + end - start;
  }

  /** Hands the written bytes over to the caller and starts again with another buffer of the same capacity. */
  take(): Buffer {
    const taken = this.buffer.subarray(0, this.length);
    this.buffer = takeSpare(this.buffer.length);
    this.view = viewOf(this.buffer);
    this.length = 0;
    return taken;
  }

  /** The written bytes, borrowed until the next write. */
  written(): Buffer {
    return this.buffer.subarray(0, this.length);
  }
}

/**
 * Buffers given back, by capacity: allocating and collecting a gigabyte of them costs as much as filling them. Only capacities that
 * somebody has taken before: others would be kept and never used.
 */
const SPARES: Map<number, Buffer[]> = new Map();
const MAX_SPARES = 16;

/** Node.js cuts small buffers out of a pool of this size, `Buffer.poolSize` and what aligns it: its other parts belong to others. */
const POOL_BYTES: number = Buffer.allocUnsafe(1).buffer.byteLength;

/**
 * Gives bytes that came from `ByteWriter.take` back to be written again. Only for the one who owns them, and only when
 * nothing keeps a view of them.
 */
export function recycle(bytes: Buffer): void {
  tryRecycle(bytes);
}

/** The same; false when there are enough already: the bytes are then left to the collector. */
export function tryRecycle(bytes: Buffer): boolean {
  const capacity = bytes.buffer.byteLength;
  if (capacity <= POOL_BYTES || bytes.byteOffset !== 0) return false;
  const spares = SPARES.get(capacity);
  if (spares === undefined || spares.length >= MAX_SPARES) return false;
  spares.push(Buffer.from(bytes.buffer as ArrayBuffer));
  return true;
}

function takeSpare(capacity: number): Buffer {
  const spares = SPARES.get(capacity);
  if (spares === undefined) SPARES.set(capacity, []);
  return spares?.pop() ?? Buffer.allocUnsafeSlow(capacity);
}

/** Order of two unsigned 64-bit big-endian numbers: negative, 0 or positive. A call into the runtime costs more than this. */
export function compareUint64(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  const high = a.readUInt32BE(aAt) - b.readUInt32BE(bAt);
  return high !== 0 ? high : a.readUInt32BE(aAt + 4) - b.readUInt32BE(bAt + 4);
}
