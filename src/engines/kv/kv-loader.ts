import { recycle } from "../../base/bytes.ts";
import { ConflictError } from "../../base/errors.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { Loader, LoaderOptions } from "../engine.ts";
import { writeBatch } from "../write-batch.ts";
import { inodeKey, LOADED_RANGES, SETTING_KEY, TAG_NODE } from "./kv-keys.ts";
import type { ExpectedBytes, KvBulkWriter, KvStore } from "./kv-store.ts";
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

/** Writes a volume as pairs in any order. The setting is the last one: clients take the store for unformatted until then. */
export class KvLoader implements Loader {
  readonly #options: LoaderOptions;
  readonly #bulk: KvBulkWriter;
  readonly #records: RecordWriter;
  readonly #rare: RareWriter;
  #state: "writing" | "finished" | "aborted" = "writing";

  private constructor(bulk: KvBulkWriter, options: LoaderOptions) {
    this.#bulk = bulk;
    this.#options = options;
    this.#records = new RecordWriter((page) => bulk.write(page));
    this.#rare = new RareWriter(this.#records);
  }

  /** Throws `ConflictError` when another load runs there. */
  static async open(store: KvStore, options: LoaderOptions): Promise<KvLoader> {
    const { signal, logger } = options;
    const expectedBytes = expectedBytesOf(options);
    const bulk = await store.openBulkWriter({
      signal,
      logger,
      maxBytes: SORT_BYTES,
      guard: loadGuard(store.address),
      ranges: LOADED_RANGES,
      ...(expectedBytes === undefined ? {} : { expectedBytes }),
    });
    if (bulk !== undefined) return new KvLoader(bulk, options);
    throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${store.address} is running or was cut off`);
  }

  async write(batch: RecordBatch): Promise<void> {
    this.#options.signal.throwIfAborted();
    await writeBatch(batch, this.#records, this.#rare);
    recycle(batch.bytes);
  }

  async readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]> {
    if (inodes.length === 0) return [];
    await this.#records.end();
    return this.#bulk.get(inodes.map((inode) => inodeKey(inode, TAG_NODE)));
  }

  replaceNodes(batch: RecordBatch): Promise<void> {
    return this.#records.nodes(batch);
  }

  /** When this throws, what was written has been removed again. */
  async finish(setting: Buffer): Promise<void> {
    try {
      await this.#rare.finish();
      await this.#records.end();
      this.#options.signal.throwIfAborted();
      await this.#bulk.finish([{ key: SETTING_KEY, value: setting }]);
      this.#state = "finished";
    } catch (error) {
      await this.abort();
      throw error;
    }
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
