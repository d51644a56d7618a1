import type { Loader, LoadPosition, LoadProgress } from "../engines/engine.ts";
import type { RecordForm } from "../engines/record-form.ts";
import { type DigestBatch, RecordDigest } from "../tree/record-digest.ts";
import { packBatch, type RecordBatch, type RecordKind, unpackBatch } from "../volume/records.ts";

/** Digests of records by kind. */
export type Digests = ReadonlyMap<RecordKind, RecordDigest>;

/** Inodes that are looked up at a time before their records are replaced. */
const LOOKED_UP = 1000;

/** Sums up all records that a loader is given, in the form in which the target gives them back. */
export class LoadDigest {
  readonly #form: RecordForm;
  #digests: KindDigests = new KindDigests();
  #missing: Map<RecordKind, number> = new Map();
  #setting: Buffer | undefined;

  constructor(form: RecordForm) {
    this.#form = form;
  }

  get digests(): Digests {
    return this.#digests.byKind;
  }

  /** The counters that must be found. */
  get counters(): ReadonlyMap<string, bigint> {
    return this.#digests.counters;
  }

  /** Records that the target does not give back, by kind. */
  get missing(): ReadonlyMap<RecordKind, number> {
    return this.#missing;
  }

  /** As it was written, once the load has finished. */
  get setting(): Buffer | undefined {
    return this.#setting;
  }

  /** The same loader, watched. A load that begins once more is summed up from its beginning. */
  watch(loader: Loader): Loader {
    this.#digests = new KindDigests();
    this.#missing = new Map();
    this.#setting = undefined;
    return new WatchedLoader(loader, {
      add: (batch) => this.#add(batch),
      replace: (before, after) => {
        this.#digests.remove(this.#form.stored(before));
        this.#add(after);
      },
      finish: (setting) => {
        this.#setting = setting;
      },
    });
  }

  #add(batch: RecordBatch): void {
    const stored = this.#form.stored(batch);
    const missing = batch.count - stored.count;
    if (missing > 0) this.#missing.set(batch.kind, (this.#missing.get(batch.kind) ?? 0) + missing);
    this.#digests.add(stored);
  }
}

/** A digest for each kind; counters, of which there are few, by name. A counter that is not there counts as 0. */
export class KindDigests {
  readonly byKind: Map<RecordKind, RecordDigest> = new Map();
  readonly counters: Map<string, bigint> = new Map();

  /** `batch` stays as it is. */
  add(batch: RecordBatch): void {
    if (batch.kind === "counter") for (const { name, value } of unpackBatch("counter", batch)) this.#note(name, value);
    this.#of(batch.kind).add(withoutZeros(batch as DigestBatch));
  }

  remove(batch: RecordBatch): void {
    this.#of(batch.kind).remove(batch as DigestBatch);
  }

  #note(name: string, value: bigint): void {
    if (value !== 0n) this.counters.set(name, value);
  }

  #of(kind: RecordKind): RecordDigest {
    let digest = this.byKind.get(kind);
    if (digest === undefined) {
      digest = new RecordDigest();
      this.byKind.set(kind, digest);
    }
    return digest;
  }
}

function withoutZeros(batch: DigestBatch): DigestBatch {
  if (batch.kind !== "counter") return batch;
  const counters = [...unpackBatch("counter", batch)].filter(({ value }) => value !== 0n);
  return { ...packBatch("counter", counters), kind: "counter" };
}

interface LoadWatch {
  /** Borrows the batch. */
  add(batch: RecordBatch): void;
  replace(before: RecordBatch, after: RecordBatch): void;
  finish(setting: Buffer): void;
}

class WatchedLoader implements Loader {
  readonly #loader: Loader;
  readonly #watch: LoadWatch;

  constructor(loader: Loader, watch: LoadWatch) {
    this.#loader = loader;
    this.#watch = watch;
  }

  get isResumable(): boolean {
    return this.#loader.isResumable;
  }

  get earlier(): LoadProgress | undefined {
    return this.#loader.earlier;
  }

  /** What an earlier load has stored must be there in the end, too. */
  skip(batch: RecordBatch): Promise<void> {
    this.#watch.add(batch);
    return this.#loader.skip(batch);
  }

  checkpoint(position: LoadPosition): Promise<void> {
    return this.#loader.checkpoint(position);
  }

  announce(position: LoadPosition): Promise<void> {
    return this.#loader.announce(position);
  }

  write(batch: RecordBatch): Promise<void> {
    this.#watch.add(batch);
    return this.#loader.write(batch);
  }

  readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    return this.#loader.readNodes(inodes);
  }

  async replaceNodes(batch: RecordBatch): Promise<void> {
    const inodes = Array.from(unpackBatch("node", batch), ({ inode }) => inode);
    const before: { inode: bigint; attribute: Buffer }[] = [];
    for (let i = 0; i < inodes.length; i += LOOKED_UP) {
      const some = inodes.slice(i, i + LOOKED_UP);
      const attributes = await this.#loader.readNodes(some);
      attributes.forEach((attribute, at) => {
        if (attribute !== undefined) before.push({ inode: some[at]!, attribute });
      });
    }
    this.#watch.replace(packBatch("node", before), batch);
    await this.#loader.replaceNodes(batch);
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#loader.finish(setting);
    this.#watch.finish(setting);
  }

  abort(): Promise<void> {
    return this.#loader.abort();
  }

  suspend(): Promise<boolean> {
    return this.#loader.suspend();
  }
}
