import { viewOf } from "../base/bytes.ts";

/** A piece of memory that records are put into one behind the other. */
export class RecordSlab {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Bytes given out. */
  used = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }
}

const MIN_SLAB_BYTES = 4096;
const MAX_SLAB_BYTES = 1024 * 1024;

/**
 * Slabs of one size, used again when they were given back. They are made of shared memory, though nobody shares them: every
 * eight megabytes of other memory that are held make the garbage collector go through the whole heap once more, which for a
 * million files took a fifth of a dump's time.
 */
export class SlabPool {
  readonly slabBytes: number;
  #free: RecordSlab[] = [];
  #isClosed = false;

  /** `maxBytes` is what all slabs together may take: they are a small part of it each. */
  constructor(maxBytes: number) {
    this.slabBytes = Math.max(MIN_SLAB_BYTES, Math.min(MAX_SLAB_BYTES, Math.floor(maxBytes / 64)));
  }

  /** An empty slab of at least that many bytes. */
  take(size: number): RecordSlab {
    if (size > this.slabBytes) return new RecordSlab(Buffer.allocUnsafeSlow(size));
    return this.#free.pop() ?? new RecordSlab(Buffer.from(new SharedArrayBuffer(this.slabBytes)));
  }

  /** Takes back slabs whose records are not needed any more. */
  give(slabs: readonly RecordSlab[]): void {
    if (this.#isClosed) return;
    for (const slab of slabs) {
      slab.used = 0;
      if (slab.bytes.length === this.slabBytes) this.#free.push(slab);
    }
  }

  /** Keeps no slab any more. */
  close(): void {
    this.#isClosed = true;
    this.#free = [];
  }
}
