import { ConflictError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type { RecordBatch } from "../../volume/records.ts";
import type { ValueLimits } from "../../volume/value-limits.ts";
import type {
  Loader,
  LoaderOptions,
  MetadataStore,
  NewVolume,
  RootXattrSwap,
  SessionDetail,
  SessionSummary,
  SettingChange,
  Snapshot,
  SnapshotOptions,
  TargetState,
  VolumeUsage,
} from "../engine.ts";
import { parseProgress } from "../load-progress.ts";
import type { RecordForm } from "../record-form.ts";
import { ALL_KEYS, MARKER_KEY, PROGRESS_KEY, SETTING_KEY } from "./kv-keys.ts";
import { type EarlierLoad, KvLoader } from "./kv-loader.ts";
import { findSession, readSessions } from "./kv-sessions.ts";
import { KvVolumeSnapshot } from "./kv-snapshot.ts";
import type { KvSnapshot, KvStore } from "./kv-store.ts";
import { readVolumeUsage } from "./kv-usage.ts";
import { removeRemains } from "./load-guard.ts";
import { kvRecordForm } from "./record-form.ts";
import { readRootXattrs, swapRootXattrs } from "./root-xattrs.ts";
import { valueLimits } from "./value-limits.ts";
import { createVolume, replaceUserGroupUsage, updateSetting } from "./volume-changes.ts";

/** A volume in a key-value store: what all of these engines have in common (docs/spec/kv.md). */
export class KvMetadataStore implements MetadataStore {
  readonly engineName: string;
  readonly address: string;
  readonly recordForm: RecordForm = kvRecordForm;
  readonly #store: KvStore;
  readonly #limits: ValueLimits | undefined;

  constructor(store: KvStore) {
    this.#store = store;
    this.engineName = store.name;
    this.address = store.address;
    this.#limits = valueLimits(store.name, store.limits);
  }

  async readSetting(signal: AbortSignal): Promise<Buffer | undefined> {
    signal.throwIfAborted();
    const [setting] = await this.#store.get([SETTING_KEY], signal);
    return setting === undefined || setting.length === 0 ? undefined : setting;
  }

  /** The reference's own sentence (docs/spec/kv.md §9). */
  async inspectTarget(signal: AbortSignal): Promise<TargetState> {
    const setting = await this.readSetting(signal);
    if (setting !== undefined) return { state: "volume", setting };
    return this.#with(signal, async (snapshot) => {
      const message = `Database ${this.address} is not empty`;
      if (await isEmpty(snapshot)) return this.#inspectUnfinished(message, signal);
      const [marker, stored] = await snapshot.get([MARKER_KEY, PROGRESS_KEY]);
      const progress = marker === undefined ? undefined : parseProgress(stored);
      if (progress !== undefined) return { state: "interrupted", progress, message };
      const hint = `A load into it is running or was cut off (key ${MARKER_KEY}): when none is running, load again with --clean`;
      if (marker === undefined) return { state: "occupied", message };
      return { state: "occupied", message, hint, isBeginning: stored === undefined };
    });
  }

  /** What there is beside a store without keys. */
  async #inspectUnfinished(message: string, signal: AbortSignal): Promise<TargetState> {
    const unfinished = await this.#store.unfinishedLoads?.find(signal);
    if (unfinished === undefined) return { state: "empty" };
    const progress = parseProgress(unfinished.progress);
    if (progress !== undefined) return { state: "interrupted", progress, message };
    const hint = "A load by another version of decant was cut off there: load again with --clean, which removes it";
    return { state: "occupied", message, hint };
  }

  async removeRemains(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    if (this.#store.unfinishedLoads !== undefined) return this.#store.unfinishedLoads.remove(signal);
    return removeRemains(this.#store, signal);
  }

  openSnapshot(options: SnapshotOptions): Promise<Snapshot> {
    return KvVolumeSnapshot.open(this.#store, options);
  }

  valueLimits(): ValueLimits | undefined {
    return this.#limits;
  }

  async openLoader(options: LoaderOptions): Promise<Loader> {
    const target = await this.inspectTarget(options.signal);
    const earlier =
      options.resume === true && target.state === "interrupted" ? await this.#earlierLoad(options) : undefined;
    if (target.state === "occupied" || (target.state === "interrupted" && earlier === undefined)) {
      throw new ConflictError("DECANT_E_TARGET_OCCUPIED", target.message);
    }
    if (target.state === "volume") {
      throw new ConflictError("DECANT_E_TARGET_TAKEN", `The database ${this.address} holds a volume already`);
    }
    return KvLoader.open(this.#store, options, earlier);
  }

  /** The marker and what it says, as of one moment: only as long as that marker is there its place can be taken. */
  async #earlierLoad({ signal }: LoaderOptions): Promise<EarlierLoad | undefined> {
    if (this.#store.unfinishedLoads !== undefined) {
      const unfinished = await this.#store.unfinishedLoads.find(signal);
      const progress = parseProgress(unfinished?.progress);
      return progress === undefined ? undefined : { token: unfinished!.token, progress };
    }
    const [token, stored] = await this.#store.get([MARKER_KEY, PROGRESS_KEY], signal);
    const progress = parseProgress(stored);
    return token === undefined || progress === undefined ? undefined : { token, progress };
  }

  async createVolume(volume: NewVolume, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await createVolume(this.#store, volume, signal);
  }

  updateSetting(change: (stored: Buffer | undefined) => SettingChange, signal: AbortSignal): Promise<void> {
    return updateSetting(this.#store, change, signal);
  }

  readRootXattrs(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, Buffer>> {
    return readRootXattrs(this.#store, names, signal);
  }

  swapRootXattrs(swap: RootXattrSwap, signal: AbortSignal): Promise<boolean> {
    return swapRootXattrs(this.#store, swap, signal);
  }

  serverTime(signal: AbortSignal): Promise<Date | undefined> {
    return this.#store.serverTime(signal);
  }

  replaceUserGroupUsage(usage: readonly RecordBatch[], signal: AbortSignal): Promise<void> {
    return this.#with(signal, (snapshot) => replaceUserGroupUsage(this.#store, snapshot, usage, signal));
  }

  listSessions(signal: AbortSignal): Promise<SessionSummary[]> {
    return this.#with(signal, readSessions);
  }

  readSession(sid: bigint, signal: AbortSignal): Promise<SessionDetail | undefined> {
    return this.#with(signal, (snapshot) => findSession(snapshot, sid));
  }

  readUsage({ more, signal }: { more: boolean; signal: AbortSignal }): Promise<VolumeUsage> {
    return this.#with(signal, (snapshot) => readVolumeUsage(snapshot, more));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #with<T>(signal: AbortSignal, work: (snapshot: KvSnapshot) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const snapshot = await this.#store.openSnapshot({ signal, logger: silentLogger });
    try {
      return await work(snapshot);
    } finally {
      await snapshot.close();
    }
  }
}

async function isEmpty(snapshot: KvSnapshot): Promise<boolean> {
  for await (const page of snapshot.scan(ALL_KEYS)) if (page.count > 0) return false;
  return true;
}
