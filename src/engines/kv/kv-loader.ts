import { recycle } from "../../base/bytes.ts";
import { ConflictError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { Loader, LoaderOptions, LoadPosition, LoadProgress } from "../engine.ts";
import { encodeProgress } from "../load-progress.ts";
import { writeBatch } from "../write-batch.ts";
import { inodeKey, LOADED_RANGES, PROGRESS_KEY, SETTING_KEY, TAG_NODE } from "./kv-keys.ts";
import type { ExpectedBytes, KvBulkWriter, KvPair, KvStore } from "./kv-store.ts";
import { loadGuard } from "./load-guard.ts";
import { RareWriter } from "./rare-writer.ts";
import { RecordWriter } from "./record-writer.ts";

/** What a store may hold in memory to sort pairs, where it has to. */
const SORT_BYTES = 128 * 1024 * 1024;

/** What a small file takes of etcd's database: attribute, entry and a chunk, with all that is stored around them (measured). */
const LIKELY_NODE_BYTES = 360;
/** Half of an empty file with a short name: databases that are migrated estimate their rows, some much too high. */
const LEAST_NODE_BYTES = 125;

/**
 * Bytes of etcd's database for each byte of a JSON dump (measured): 0.6 to 1 in most volumes, less where the text is indented much, 0.17
 * at a mean depth of 100 directories.
 */
const LIKELY_JSON_SHARE = 0.8;
const LEAST_JSON_SHARE = 0.125;

/** What a load that was cut off has left: the value of its marker, and how far it came. */
export interface EarlierLoad {
  readonly token: Buffer;
  readonly progress: LoadProgress;
}

/** Writes a volume as pairs in any order. The setting is the last one: clients take the store for unformatted until then. */
export class KvLoader implements Loader {
  readonly isResumable: boolean;
  readonly earlier: LoadProgress | undefined;
  readonly #options: LoaderOptions;
  readonly #bulk: KvBulkWriter;
  readonly #records: RecordWriter;
  readonly #rare: RareWriter;
  #state: "writing" | "finished" | "aborted" = "writing";

  private constructor(bulk: KvBulkWriter, options: LoaderOptions, earlier: LoadProgress | undefined) {
    this.isResumable = options.stamp !== undefined && bulk.checkpoint !== undefined;
    this.earlier = earlier;
    this.#bulk = bulk;
    this.#options = options;
    this.#records = new RecordWriter((page) => bulk.write(page));
    this.#rare = new RareWriter(this.#records);
  }

  /** Throws `ConflictError` when another load runs there. `earlier`: one that was cut off, with which this one goes on. */
  static async open(store: KvStore, options: LoaderOptions, earlier: EarlierLoad | undefined): Promise<KvLoader> {
    const { signal, logger } = options;
    const expectedBytes = earlier === undefined ? expectedBytesOf(options) : undefined;
    const bulk = await store.openBulkWriter({
      signal,
      logger,
      maxBytes: SORT_BYTES,
      guard: loadGuard(store.address),
      ranges: LOADED_RANGES,
      resumable: options.stamp !== undefined,
      ...(expectedBytes === undefined ? {} : { expectedBytes }),
      ...(earlier === undefined ? {} : { takesOver: earlier.token }),
    });
    if (bulk !== undefined) {
      const loader = new KvLoader(bulk, options, earlier?.progress);
      try {
        if (earlier === undefined) await loader.checkpoint({ checkpoint: undefined, announced: [] });
        else await loader.announce(earlier.progress); // with the stamp of this load
      } catch (error) {
        if (earlier === undefined) await loader.abort();
        else await loader.suspend();
        throw error;
      }
      return loader;
    }
    throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${store.address} is running or was cut off`);
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#options.signal.throwIfAborted();
    await writeBatch(batch, this.#records, this.#rare);
    recycle(batch.bytes);
  }

  /** The largest number of an ACL is told by all rules, so these are written again. */
  async skip(batch: RecordBatch): Promise<void> {
    this.#options.signal.throwIfAborted();
    if (batch.kind === "acl") await writeBatch(batch, this.#records, this.#rare);
  }

  /** Where nothing is stored beyond a checkpoint, the one before a position without any stays good. */
  async checkpoint(position: LoadPosition): Promise<void> {
    const isExact = this.#bulk.announce === undefined;
    if (!this.isResumable || (isExact && position.checkpoint === undefined)) return;
    this.#options.signal.throwIfAborted();
    await this.#records.end();
    await this.#bulk.checkpoint?.([this.#progressPair(position)]);
  }

  async announce(position: LoadPosition): Promise<void> {
    if (!this.isResumable) return;
    this.#options.signal.throwIfAborted();
    await this.#bulk.announce?.([this.#progressPair(position)]);
  }

  #progressPair({ checkpoint, announced }: LoadPosition): KvPair {
    return { key: PROGRESS_KEY, value: encodeProgress({ stamp: this.#options.stamp!, checkpoint, announced }) };
  }

  async suspend(): Promise<boolean> {
    if (!this.isResumable) await this.abort();
    if (this.#state !== "writing") return false;
    this.#state = "aborted";
    return (await this.#bulk.suspend?.()) ?? false;
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    if (inodes.length === 0) return [];
    await this.#records.end();
    return this.#bulk.get(inodes.map((inode) => inodeKey(inode, TAG_NODE)));
  }

  replaceNodes(batch: RecordBatch): Promise<void> {
    return this.#records.nodes(batch);
  }

  async finish(setting: Buffer): Promise<void> {
    await this.#rare.finish();
    await this.#records.end();
    this.#options.signal.throwIfAborted();
    await this.#bulk.finish([
      { key: SETTING_KEY, value: setting },
      { key: PROGRESS_KEY, value: undefined },
    ]);
    this.#state = "finished";
  }

  async abort(): Promise<void> {
    if (this.#state !== "writing") return;
    this.#state = "aborted";
    await this.#bulk.abort();
  }
}

function expectedBytesOf({ expectedNodes, jsonBytes }: LoaderOptions): ExpectedBytes | undefined {
  if (expectedNodes !== undefined) {
    return { least: expectedNodes * LEAST_NODE_BYTES, likely: expectedNodes * LIKELY_NODE_BYTES };
  }
  if (jsonBytes !== undefined) return { least: jsonBytes * LEAST_JSON_SHARE, likely: jsonBytes * LIKELY_JSON_SHARE };
  return undefined;
}
