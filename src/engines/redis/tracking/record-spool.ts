import { ByteWriter, recycle } from "../../../base/bytes.ts";
import { SpillFile } from "../../../tree/spill-file.ts";
import { BATCH_BYTES, type RecordBatch, type RecordKind } from "../../../volume/records.ts";

/** One batch, in memory or at `offset` of the file. */
interface Spooled {
  readonly kind: RecordKind;
  readonly count: number;
  readonly size: number;
  readonly offset: number;
  bytes: Buffer | undefined;
}

/**
 * Batches that must wait until it is known whether they are good: in memory up to a ceiling, the others in a nameless temporary
 * file. Each is given out once.
 */
export class RecordSpool {
  readonly #batches: (Spooled | undefined)[] = [];
  readonly #spill: SpillFile;
  readonly #maxBytes: number;
  #heldBytes = 0;
  readonly #reader: ByteWriter = new ByteWriter(BATCH_BYTES + 65536);

  constructor(maxBytes: number, tmpDir: string) {
    this.#maxBytes = maxBytes;
    this.#spill = new SpillFile(tmpDir);
  }

  /** Number of batches so far: where the next one will stand. */
  get length(): number {
    return this.#batches.length;
  }

  /** Takes a batch over. Throws `FileError`. */
  add({ kind, count, bytes }: RecordBatch): void {
    const size = bytes.length;
    // what is small stands in a buffer of the size of a full batch
    const held = bytes.buffer.byteLength > size * 2 ? size : bytes.buffer.byteLength;
    if (this.#heldBytes + held > this.#maxBytes) {
      const offset = this.#spill.append(bytes, 0, size);
      this.#batches.push({ kind, count, size, offset, bytes: undefined });
      recycle(bytes);
      return;
    }
    this.#heldBytes += held;
    const kept = held === size ? Buffer.from(bytes) : bytes;
    if (kept !== bytes) recycle(bytes);
    this.#batches.push({ kind, count, size, offset: -1, bytes: kept });
  }

  /** Gives batches `from` to `end - 1` of the kinds that are wanted, for the last time. */
  *take(from: number, end: number, wants: (kind: RecordKind) => boolean): Generator<RecordBatch> {
    for (let i = from; i < end; i++) {
      const batch = this.#batches[i];
      this.#batches[i] = undefined;
      if (batch === undefined || !wants(batch.kind)) continue;
      yield { kind: batch.kind, count: batch.count, bytes: batch.bytes ?? this.#read(batch) };
    }
  }

  #read({ offset, size }: Spooled): Buffer {
    const reader = this.#reader;
    const at = reader.reserve(size);
    this.#spill.read(offset, reader.buffer, at, at + size);
    reader.length = at + size;
    return reader.take();
  }

  close(): void {
    this.#batches.length = 0;
    this.#spill.close();
  }
}
