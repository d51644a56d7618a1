import { EngineError } from "../../../base/errors.ts";
import type { PhaseProgress, Progress } from "../../../base/progress.ts";
import type { RecordBatch, RecordKind } from "../../../volume/records.ts";
import { DirectoryReader } from "../directory-reader.ts";
import { FAMILY_OF_KIND } from "../family-kinds.ts";
import type { RareContext } from "../rare-context.ts";
import { rareRecords } from "../rare-records.ts";
import { FAMILY_DIRECTORY } from "../redis-keys.ts";
import type { RedisServer } from "../redis-server.ts";
import type { RespConnection } from "../resp-connection.ts";
import type { SeenSet } from "../seen-set.ts";
import type { DirtyKeys } from "./dirty-keys.ts";
import { Invalidations, readRunId } from "./invalidations.ts";
import { type KeyFilter, SESSION_KEY } from "./key-filter.ts";
import { KeyLists } from "./key-lists.ts";
import { readAgain } from "./read-again.ts";
import { type RareKey, rareCommand, readAtOnce } from "./read-at-once.ts";
import { RecordSpool } from "./record-spool.ts";
import type { RepeatedNotes } from "./repeated-notes.ts";
import { withoutSuperseded } from "./superseded.ts";
import { notTracked, StartAgain } from "./tracking-errors.ts";
import { WritePause } from "./write-pause.ts";

/** Another round must leave fewer keys than this share of those before it, or reading one by one does not get any further. */
const SHRINKS = 0.75;
const MAX_ROUNDS = 50;
/** So many keys are few enough for one transaction. */
const FEW_KEYS = 1000;
/** Values and members that one transaction may read while writers go on: it holds the server for some 20 ms. */
const MAX_WEIGHT = 50_000;
/** The same for each millisecond that writers may be held. */
const WEIGHT_PER_MS = 1000;
/** So long it is tried without holding the writers, and so often at the least. */
const PATIENCE_MS = 3000;
const MIN_ATTEMPTS = 20;
const MAX_ATTEMPTS = 2000;
/** The same where they must not be held. */
const LAST_PATIENCE_MS = 30_000;
const MAX_PAUSES = 3;
/** Rounds for keys of so many members that no transaction may read them: when they still change then, they always will. */
const MAX_HEAVY_ROUNDS = 20;
/** Sizes of hashes outside the inode families are asked for every so many attempts. */
const ATTEMPTS_PER_SIZES = 10;

export interface TrackedReadOptions {
  readonly server: RedisServer;
  readonly signal: AbortSignal;
  readonly filter: KeyFilter;
  readonly hasChangeLog: boolean;
  /** The setting that the caller goes by. */
  readonly setting: Buffer;
  /** Where and how all is read; the connection reads values, nothing else uses it. */
  readonly context: RareContext;
  readonly connection: RespConnection;
  readonly hardLinks: SeenSet;
  /** Those of `context`. */
  readonly notes: RepeatedNotes;
  readonly progress: Progress | undefined;
  /** A guess for `progress`; 0 where there is none. */
  readonly expectedRecords: number;
  /** 0: writers are never held. */
  readonly maxPauseMs: number;
  /** Only a part of the tree is read: where one of its directories changes, another part is wanted, which must be read anew. */
  readonly isTree: boolean;
  readonly spool: { readonly maxBytes: number; readonly tmpDir: string };
}

/** What is known when the proof has succeeded. */
export interface Proof {
  readonly asOf: Date;
  /** Times that a key was read again. */
  readonly rereadKeys: number;
  /** Rounds and transactions in which that was done. */
  readonly rounds: number;
  readonly heldMs: number;
}

/** What one pass has read: the batches from `from` to the next generation, and of which keys. */
interface Generation {
  readonly from: number;
  /** Undefined: of all keys. */
  readonly keys: DirtyKeys | undefined;
}

/**
 * Reads a volume that is being changed, and proves an instant at which all values that it gives were there together.
 *
 * All is read once while the server tells of every key that is changed. Changed keys are read again, in rounds that become shorter.
 * At last the few that remain are read in one transaction. When, up to a fence behind its reply, nothing has changed but those
 * keys, then every other value is as it was when it was read, and all together are the volume at the instant of the transaction
 * (Invalidations says why the fence proves that). Else the changed keys are read again.
 *
 * Until then records wait in a spool, pass by pass. They are given from the last pass to the first, without those of keys
 * that a later pass has read, so that memory holds the changed keys only, and values never.
 */
export class TrackedRead {
  readonly #options: TrackedReadOptions;
  readonly #invalidations: Invalidations;
  readonly #spool: RecordSpool;
  readonly #lists: KeyLists;
  readonly #pause: WritePause;
  readonly #generations: Generation[] = [];
  /** In which generation the records of a kind outside the inode families were read last. */
  readonly #latest: Map<RecordKind, number> = new Map();
  readonly #largeDirectories: Map<string, { hi: number; lo: number; entries: number }> = new Map();
  /** Members of hashes and sorted sets outside the inode families, by the name of the key. */
  readonly #sizes: Map<string, number> = new Map();
  #rereadKeys = 0;
  #again: PhaseProgress | undefined;
  #withTime = true;
  #asOf = new Date();

  private constructor(options: TrackedReadOptions, invalidations: Invalidations) {
    this.#options = options;
    this.#invalidations = invalidations;
    this.#spool = new RecordSpool(options.spool.maxBytes, options.spool.tmpDir);
    this.#lists = new KeyLists(options.server.prefix);
    this.#pause = new WritePause(options.connection, options.maxPauseMs);
  }

  /** Begins to listen for changes. Throws `EngineError`, of code DECANT_E_REDIS_TRACKING where the server does not permit it. */
  static async open(options: TrackedReadOptions): Promise<TrackedRead> {
    const { server, connection, signal, filter } = options;
    const runId = await readRunId(connection, server);
    const invalidations = await Invalidations.open(server, filter, signal);
    try {
      const read = new TrackedRead(options, invalidations);
      read.#checkRunId(runId);
      await read.#prepare();
      return read;
    } catch (error) {
      invalidations.close();
      throw error;
    }
  }

  /** Hears of directories with many entries: they cannot be read in a transaction that is to be short. */
  readonly onLarge = (hi: number, lo: number, entries: number): void => {
    this.#largeDirectories.set(`${hi}:${lo}`, { hi, lo, entries });
  };

  /** Whether all was read at least once, so that `records` gives the whole volume, if perhaps not of one instant. */
  get isWhole(): boolean {
    return this.#generations.length > 0;
  }

  /**
   * The same with writers held from the beginning: for what can be read within the pause.
   * Undefined when the server does not permit that.
   */
  proveHeld(all: AsyncIterable<RecordBatch>): Promise<Proof | undefined> {
    return this.#pause.during(() => this.prove(all));
  }

  /**
   * Keeps the records of `all`, whose reading begins now, and reads again what is changed until the proof succeeds. Throws
   * `StartAgain` when all that was read is worthless, `EngineError` of code DECANT_E_REDIS_TRACKING when the writers are too fast.
   */
  async prove(all: AsyncIterable<RecordBatch>): Promise<Proof> {
    const from = this.#spool.length;
    await this.#readFirst(all);
    this.#generations.push({ from, keys: undefined });
    for (const kind of this.#options.filter.rareKeys.keys()) this.#latest.set(kind, 0);
    this.#options.notes.isAgain = true;
    await this.#readChanged();
    return {
      asOf: this.#asOf,
      rereadKeys: this.#rereadKeys,
      rounds: this.#generations.length - 1,
      heldMs: this.#pause.heldMs,
    };
  }

  async #readFirst(all: AsyncIterable<RecordBatch>): Promise<void> {
    const { progress, expectedRecords } = this.#options;
    const totals = expectedRecords === 0 ? {} : { records: expectedRecords };
    const phase = progress?.begin("Reading all values while changes are tracked", totals);
    for await (const batch of all) {
      if (phase !== undefined) {
        phase.records += batch.count;
        phase.bytes += batch.bytes.length;
      }
      this.#spool.add(batch);
    }
    if (phase !== undefined) progress?.end(phase);
  }

  async #readChanged(): Promise<void> {
    const { progress } = this.#options;
    this.#again = progress?.begin("Reading again what was changed");
    try {
      await this.#readInRounds();
      await this.#readLast();
      await this.#invalidations.lastFence();
    } finally {
      if (this.#again !== undefined) progress?.end(this.#again);
    }
  }

  /** Every record once, as it was read last. */
  *records(): Generator<RecordBatch> {
    let later: DirtyKeys | undefined;
    let end = this.#spool.length;
    for (let i = this.#generations.length - 1; i >= 0; i--) {
      const { from, keys } = this.#generations[i]!;
      const wanted = (kind: RecordKind): boolean => FAMILY_OF_KIND.has(kind) || this.#latest.get(kind) === i;
      for (const batch of this.#spool.take(from, end, wanted)) {
        const family = FAMILY_OF_KIND.get(batch.kind);
        const kept = later === undefined || family === undefined ? batch : withoutSuperseded(batch, family, later);
        if (kept !== undefined) yield kept;
      }
      if (later === undefined) later = keys;
      else if (keys !== undefined) later.addAll(keys);
      end = from;
    }
  }

  close(): void {
    this.#invalidations.close();
    this.#spool.close();
  }

  /** Throws where values that this connection brings would be those of another server. */
  readonly checkConnection = async (connection: RespConnection): Promise<void> => {
    this.#checkRunId(await readRunId(connection, this.#options.server));
  };

  #checkRunId(runId: string): void {
    if (runId === this.#invalidations.runId) return;
    throw notTracked(this.#options.server.printable, "its connections lead to different servers");
  }

  /** The setting is watched by now: it must be the one that the caller has read before. */
  async #prepare(): Promise<void> {
    const { connection, server, setting } = this.#options;
    const stored = await connection.call(["GET", Buffer.concat([server.prefix, Buffer.from("setting")])]);
    if (!Buffer.isBuffer(stored) || !stored.equals(setting)) {
      throw new EngineError(
        "DECANT_E_REDIS_CHANGED",
        `The setting of the volume at ${server.printable} was changed or removed while the volume was read`,
        { hint: "Look whether the volume is still there, and start again", retryable: true },
      );
    }
    try {
      await connection.call(["TIME"]);
    } catch (error) {
      if (!(error instanceof EngineError) || error.retryable) throw error;
      this.#withTime = false;
    }
  }

  /** One by one, while that leaves fewer keys each time. */
  async #readInRounds(): Promise<void> {
    for (let round = 0, before = Number.POSITIVE_INFINITY; round < MAX_ROUNDS; round++) {
      await this.#invalidations.fence();
      const { count } = this.#invalidations.dirty;
      if (count === 0 || (count <= FEW_KEYS && this.#isLight()) || count > before * SHRINKS) return;
      before = count;
      await this.#readRound(this.#begin());
    }
  }

  #isLight(): boolean {
    return this.#weight(this.#invalidations.dirty) <= MAX_WEIGHT;
  }

  /** Takes the changed keys, before they are read. */
  #begin(): DirtyKeys {
    const keys = this.#invalidations.take();
    if (this.#options.isTree && keys.hasFamily(FAMILY_DIRECTORY)) throw new StartAgain();
    this.#rereadKeys += keys.count;
    if (this.#again !== undefined) this.#again.records += keys.count;
    this.#generations.push({ from: this.#spool.length, keys });
    return keys;
  }

  async #readRound(keys: DirtyKeys): Promise<void> {
    const { connection, context, hardLinks, hasChangeLog } = this.#options;
    const directories = new DirectoryReader(connection, hardLinks, context.notes, this.onLarge);
    for await (const raw of readAgain(connection, keys, this.#lists, directories)) {
      context.mapper.map(raw);
      this.#keepFull();
    }
    const kinds = this.#rareKinds(keys);
    for await (const batch of rareRecords(context, kinds, hasChangeLog)) this.#spool.add(batch);
    this.#keepAll(kinds);
  }

  /** The kinds outside the inode families that depend on these keys. Sets of open inodes are noticed by the way. */
  #rareKinds(keys: DirtyKeys): Set<RecordKind> {
    const kinds = new Set<RecordKind>();
    for (const name of keys.others) {
      kinds.add(this.#options.filter.kindOf(name)!);
      if (SESSION_KEY.test(name)) this.#options.context.sessions.add(BigInt(name.slice("session".length)));
    }
    return kinds;
  }

  #keepFull(): void {
    for (const batch of this.#options.context.mapper.takeFull()) this.#spool.add(batch);
  }

  #keepAll(kinds: ReadonlySet<RecordKind>): void {
    for (const batch of this.#options.context.mapper.takeAll()) this.#spool.add(batch);
    for (const kind of kinds) this.#latest.set(kind, this.#generations.length - 1);
  }

  /** In one transaction, until nothing else was changed meanwhile; with writers held when there is no end to it. */
  async #readLast(): Promise<void> {
    const from = performance.now();
    for (let attempt = 0, pauses = 0, heavyRounds = 0; ; attempt++) {
      this.#options.signal.throwIfAborted();
      if (attempt % ATTEMPTS_PER_SIZES === 0) await this.#askSizes();
      await this.#invalidations.fence();
      const spent = performance.now() - from;
      const weight = this.#weight(this.#invalidations.dirty);
      const hopeless = weight > MAX_WEIGHT || (spent > PATIENCE_MS && attempt >= MIN_ATTEMPTS);
      if (hopeless && this.#pause.isAllowed && pauses < MAX_PAUSES && weight <= this.#pause.maxMs * WEIGHT_PER_MS) {
        pauses++;
        if (await this.#pause.during(() => this.#tryLast())) return;
        continue;
      }
      if (weight > MAX_WEIGHT) {
        await this.#readRound(this.#begin());
        heavyRounds++;
      } else if (await this.#tryLast()) return;
      const isOver = spent > LAST_PATIENCE_MS || attempt >= MAX_ATTEMPTS || heavyRounds >= MAX_HEAVY_ROUNDS;
      if (isOver || (hopeless && pauses >= MAX_PAUSES)) throw this.#gaveUp(spent);
    }
  }

  #gaveUp(spent: number): EngineError {
    const { dirty } = this.#invalidations;
    const { refusal, maxMs } = this.#pause;
    const pause =
      refusal !== undefined
        ? `, and the server does not let them be held: ${refusal}`
        : maxMs === 0
          ? ", and they must not be held"
          : `, even when they were held for ${maxMs} ms`;
    const largest = this.#weight(dirty) > MAX_WEIGHT ? " some of them of very many members," : "";
    return notTracked(
      this.#options.server.printable,
      `writers change ${dirty.count} keys at a time,${largest} faster than they are read (tried for ${Math.round(spent / 1000)} s)${pause}`,
    );
  }

  /** True when the picture is whole. The transaction decides about all of its keys, the fence about all others. */
  async #tryLast(): Promise<boolean> {
    await this.#invalidations.fence();
    const keys = this.#begin();
    await this.#readAtOnce(keys);
    await this.#invalidations.fence();
    return this.#invalidations.dirty.isWithin(keys);
  }

  async #readAtOnce(keys: DirtyKeys): Promise<void> {
    const { connection, context, hasChangeLog } = this.#options;
    const kinds = this.#rareKinds(keys);
    const rareKeys = this.#rareKeys(kinds);
    const { time, values, rare } = await readAtOnce(connection, keys, rareKeys, this.#lists, this.#withTime);
    this.#asOf = time ?? new Date();
    for (const raw of values) {
      context.mapper.map(raw);
      this.#keepFull();
    }
    const held = { ...context, connection: rare };
    for await (const batch of rareRecords(held, kinds, hasChangeLog)) this.#spool.add(batch);
    this.#keepAll(kinds);
  }

  #rareKeys(kinds: ReadonlySet<RecordKind>): RareKey[] {
    const { filter, server, context } = this.#options;
    const names = [...kinds].flatMap((kind) => filter.rareKeys.get(kind)!.map((name) => ({ kind, name })));
    if (kinds.has("sustained")) {
      for (const sid of context.sessions) names.push({ kind: "sustained", name: `session${sid}` });
    }
    return names.map(({ kind, name }) => {
      return { key: Buffer.concat([server.prefix, Buffer.from(name)]), ...rareCommand(kind, name) };
    });
  }

  /** About how many values and members must be read for these keys. */
  #weight(keys: DirtyKeys): number {
    let weight = keys.count;
    for (const { hi, lo, entries } of this.#largeDirectories.values()) {
      if (keys.hasInode(FAMILY_DIRECTORY, hi, lo, 0)) weight += entries;
    }
    for (const kind of this.#rareKinds(keys)) {
      for (const name of this.#options.filter.rareKeys.get(kind)!) weight += this.#sizes.get(name) ?? 0;
    }
    return weight;
  }

  /** How large the values outside the inode families are by now. */
  async #askSizes(): Promise<void> {
    const { filter, connection, server } = this.#options;
    for (const [kind, names] of filter.rareKeys) {
      if (kind === "counter" || kind === "sustained") continue;
      for (const name of names) {
        const key = Buffer.concat([server.prefix, Buffer.from(name)]);
        this.#sizes.set(name, await sizeOf(connection, kind === "delFile" ? "ZCARD" : "HLEN", key));
      }
    }
  }
}

/** 0 for a value of the wrong type, which is not read either. */
async function sizeOf(connection: RespConnection, command: string, key: Buffer): Promise<number> {
  try {
    return Number(await connection.call([command, key]));
  } catch (error) {
    if (error instanceof EngineError && error.code === "DECANT_E_REDIS_TYPE") return 0;
    throw error;
  }
}
