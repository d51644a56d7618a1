import type { RecordBatch, RecordKind } from "../../../volume/records.ts";
import type { SnapshotLoss } from "../../engine.ts";
import { type Notes, printableKey } from "../../notes.ts";
import { toBigInt } from "../decimal.ts";
import { FAMILY_OF_KIND, KIND_OF_FAMILY } from "../family-kinds.ts";
import { type RecordMapper, TYPE_NOTE } from "../record-mapper.ts";
import { classifyKey, FAMILY_FOREIGN, FAMILY_OTHER, type KeyInfo, sessionOfKey } from "../redis-keys.ts";
import { noteForeign } from "../scan-page.ts";
import { type FamilyHandler, type FullBlocks, familyHandler } from "./family-handlers.ts";
import { RareValues } from "./rare-values.ts";
import type { RdbConsumer, ValueHandler } from "./rdb-consumer.ts";
import type { RdbText } from "./rdb-text.ts";
import { hasPrefix, type VolumePlace } from "./volume-place.ts";

export interface VolumeConsumerOptions {
  readonly place: VolumePlace;
  readonly kinds: ReadonlySet<RecordKind>;
  readonly changeLog: boolean;
  readonly notes: Notes;
  readonly mapper: RecordMapper;
  readonly tmpDir: string;
}

/** Takes a whole volume out of an RDB file, and hands it to the mapper. */
export class VolumeConsumer implements RdbConsumer, FullBlocks {
  hasFullBlock = false;
  readonly rare: RareValues;
  readonly #options: VolumeConsumerOptions;
  /** By letter. */
  readonly #families: readonly (FamilyHandler | undefined)[];
  readonly #key: KeyInfo = { hi: 0, lo: 0, index: 0 };

  constructor(options: VolumeConsumerOptions) {
    this.#options = options;
    this.rare = new RareValues(options);
    const families: (FamilyHandler | undefined)[] = new Array(256).fill(undefined);
    for (const [kind, family] of FAMILY_OF_KIND) {
      if (options.kinds.has(kind)) families[family] = familyHandler(family, this);
    }
    this.#families = families;
  }

  get isFull(): boolean {
    return this.hasFullBlock || this.#options.mapper.hasFull;
  }

  wantsDatabase(database: number): boolean {
    return database === this.#options.place.database;
  }

  handlerFor(key: RdbText): ValueHandler | undefined {
    const { prefix } = this.#options.place;
    if (!hasPrefix(key, prefix)) return undefined;
    const start = key.start + prefix.length;
    const info = this.#key;
    const family = classifyKey(key.bytes, start, key.end, info);
    if (family === FAMILY_OTHER) return this.#rareHandler(key, start);
    if (family === FAMILY_FOREIGN) {
      noteForeign(this.#options.notes, key.bytes, key.start, start, key.end);
      return undefined;
    }
    const handler = this.#families[family];
    handler?.begin(info);
    return handler;
  }

  #rareHandler(key: RdbText, start: number): ValueHandler | undefined {
    const session = sessionOfKey(key.bytes, start, key.end);
    if (session !== undefined) return this.rare.sustainedOf(session);
    return this.rare.handlerOf(key.bytes.toString("latin1", start, key.end));
  }

  wrongType(key: RdbText): void {
    const name = printableKey(key.bytes, key.start, key.end);
    this.#options.notes.loss(TYPE_NOTE, name, this.lost(key, "the value is of another type"));
  }

  loseUnknown(): void {
    this.rare.loseUnknown();
  }

  /** What is lost with the value of a key, or a part of it. */
  lost(key: RdbText, what: string): SnapshotLoss {
    const start = key.start + this.#options.place.prefix.length;
    const family = classifyKey(key.bytes, start, key.end, this.#key);
    const message = `key ${printableKey(key.bytes, key.start, key.end)}: ${what}`;
    if (family === FAMILY_OTHER || family === FAMILY_FOREIGN) {
      return { kind: this.rare.lose(key.bytes.toString("latin1", start, key.end)), message };
    }
    return { kind: KIND_OF_FAMILY.get(family), inode: toBigInt(this.#key.hi, this.#key.lo), message };
  }

  /** The batches that are full by now. */
  takeFull(): RecordBatch[] {
    this.hasFullBlock = false;
    const { mapper } = this.#options;
    for (const family of this.#families) if (family?.block.isFull) family.handOn(mapper);
    return mapper.takeFull();
  }

  /** All that is left, when the file has ended. */
  *takeRest(): Generator<RecordBatch> {
    const { mapper } = this.#options;
    for (const family of this.#families) family?.handOn(mapper);
    yield* mapper.takeFull();
    yield* this.rare.rest();
    yield* mapper.takeAll();
  }

  close(): void {
    this.rare.close();
  }
}
