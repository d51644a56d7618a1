import { createHash, type Hash } from "node:crypto";
import { recycle } from "../base/bytes.ts";
import { ConflictError, DataError } from "../base/errors.ts";
import type { LoadCheckpoint, Loader, LoadPosition } from "../engines/engine.ts";
import type { RecordBatch } from "../volume/records.ts";

/** A checkpoint is made when so many bytes of batches were written since the last one. */
export const DEFAULT_CHECKPOINT_BYTES: number = 128 * 1024 * 1024;

/** So much is gathered, and its position announced, before any of it is written. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** A checkpoint is made when there are so many, however large the distance may be: each of them is stored with all before it. */
const MAX_WINDOWS = 64;

export interface LoadWriterOptions {
  /** 0: no checkpoints. */
  readonly checkpointBytes: number;
  /** Keep what a later load can go on with when this one fails. */
  readonly keep: boolean;
}

/**
 * Writes the batches of a load, and lets one that was cut off go on. The batches that reach it are a function of the dump and the options,
 * so a position among them and a hash of all before it say where an earlier load stands, and whether this one is the same.
 *
 * Behind its last checkpoint an earlier load may have stored more, and that is not to be found among what other loads have stored. So
 * from the first checkpoint on batches go in windows, each announced by its hash before anything of it is written: whoever goes on
 * compares all that may be stored, window by window, before writing the same again.
 */
export class LoadWriter {
  readonly #loader: Loader;
  readonly #keep: boolean;
  readonly #checkpointBytes: number;
  /** Undefined where no position is ever needed: then nothing is hashed, and nothing waits for its window. */
  readonly #hash: Hash | undefined;
  /** Windows of the earlier load that have not come yet. */
  readonly #expected: LoadCheckpoint[];
  readonly #announced: LoadCheckpoint[] = [];
  #checkpoint: LoadCheckpoint | undefined;
  #window: RecordBatch[] = [];
  #windowBytes = 0;
  #batches = 0;
  #bytesSince = 0;
  #isChanged = false;
  #isRefused = false;

  constructor(loader: Loader, options: LoadWriterOptions) {
    this.#loader = loader;
    this.#keep = options.keep;
    // A load that is gone on with has checkpoints, and is not to lose them.
    const isPlain = options.checkpointBytes === 0 && loader.earlier !== undefined;
    this.#checkpointBytes = isPlain ? DEFAULT_CHECKPOINT_BYTES : options.checkpointBytes;
    this.#checkpoint = loader.earlier?.checkpoint;
    this.#expected = [...(loader.earlier?.announced ?? [])];
    this.#hash = loader.isResumable && this.#checkpointBytes > 0 ? createHash("sha256") : undefined;
  }

  /** Batches that were stored before this load began. */
  get resumedBatches(): number {
    return this.#loader.earlier?.checkpoint?.batches ?? 0;
  }

  /** Takes over the batch. Await it before the next call. */
  async write(batch: RecordBatch): Promise<void> {
    this.#batches++;
    if (this.#hash === undefined) return this.#loader.write(batch);
    this.#hash.update(`${batch.kind} ${batch.count} ${batch.bytes.length}\n`).update(batch.bytes);
    if (this.#batches <= this.resumedBatches) return this.#skip(batch);
    // Without a checkpoint all is removed before a load begins again.
    if (this.#checkpoint === undefined || this.#isChanged) return this.#writeNow([batch]);
    this.#window.push(batch);
    this.#windowBytes += batch.bytes.length;
    const isEnd =
      this.#expected.length > 0
        ? this.#batches === this.#expected[0]!.batches
        : this.#windowBytes >= Math.min(WINDOW_BYTES, this.#checkpointBytes);
    if (isEnd) await this.#endWindow();
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    await this.#endWindow();
    return this.#loader.readNodes(inodes);
  }

  /** A load that reads what it has changed before would come to something else: after this nothing can be gone on with. */
  async replaceNodes(batch: RecordBatch): Promise<void> {
    await this.#endWindow();
    if (!this.#isChanged && this.#hash !== undefined) {
      await this.#loader.checkpoint({ checkpoint: undefined, announced: [] });
    }
    this.#isChanged = true;
    await this.#loader.replaceNodes(batch);
  }

  /** Throws `ConflictError` when the dump has ended before the place where the earlier load stood. */
  async finish(setting: Buffer): Promise<void> {
    await this.#endWindow();
    if (this.#batches < this.resumedBatches || this.#expected.length > 0) throw this.#otherDump();
    await this.#loader.finish(setting);
  }

  /** Removes what was written, whatever the options say. */
  abort(): Promise<void> {
    return this.#loader.abort();
  }

  /**
   * Ends a load that has failed: what was written is removed, or kept to go on with; true when the same load can go on. A dump that is
   * damaged will not be whole the next time, but what an earlier load has stored may be of another one.
   */
  async fail(error: unknown): Promise<boolean> {
    const isHopeless = error instanceof DataError && this.#loader.earlier === undefined;
    const isKept = this.#isRefused || (this.#keep && !isHopeless);
    if (isKept) return (await this.#loader.suspend()) && !this.#isRefused;
    await this.#loader.abort();
    return false;
  }

  async #skip(batch: RecordBatch): Promise<void> {
    await this.#loader.skip(batch);
    recycle(batch.bytes);
    if (this.#batches === this.resumedBatches && this.#position().digest !== this.#checkpoint!.digest) {
      throw this.#otherDump();
    }
  }

  async #endWindow(): Promise<void> {
    if (this.#window.length === 0) return;
    const end = this.#position();
    const expected = this.#expected.shift();
    if (expected !== undefined && (expected.batches !== end.batches || expected.digest !== end.digest)) {
      throw this.#otherDump();
    }
    this.#announced.push(end);
    if (expected === undefined) await this.#loader.announce(this.#place());
    const batches = this.#window;
    this.#window = [];
    this.#windowBytes = 0;
    await this.#writeNow(batches);
  }

  async #writeNow(batches: readonly RecordBatch[]): Promise<void> {
    for (const batch of batches) {
      this.#bytesSince += batch.bytes.length;
      await this.#loader.write(batch);
    }
    const isDue = this.#bytesSince >= this.#checkpointBytes || this.#announced.length >= MAX_WINDOWS;
    if (!isDue || this.#isChanged || this.#expected.length > 0) return;
    this.#bytesSince = 0;
    this.#checkpoint = this.#position();
    this.#announced.length = 0;
    await this.#loader.checkpoint(this.#place());
  }

  #position(): LoadCheckpoint {
    return { batches: this.#batches, digest: this.#hash!.copy().digest("hex") };
  }

  #place(): LoadPosition {
    return { checkpoint: this.#checkpoint, announced: [...this.#announced] };
  }

  #otherDump(): ConflictError {
    this.#isRefused = true;
    const { source, began, host, version } = this.#loader.earlier!.stamp;
    return new ConflictError(
      "DECANT_E_RESUME_OTHER",
      `The load that was cut off had other records: ${this.resumedBatches} batches of ${source} are stored, and these differ`,
      {
        hint:
          `It was begun ${began} on ${host} by decant ${version}: resume with the same dump, options and version, ` +
          "or begin again with --clean. What is stored was left alone",
      },
    );
  }
}
