import { ConflictError, DataError, UsageError } from "../base/errors.ts";
import type { Loader, LoaderOptions, LoadProgress, LoadStamp, MetadataStore } from "../engines/engine.ts";
import { type Consolidated, consolidate } from "../tree/consolidate.ts";
import { leaveOutUnsupported } from "../tree/unsupported-values.ts";
import { withoutBackupLease } from "../volume/backup-xattrs.ts";
import type { FindingList } from "../volume/findings.ts";
import { type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { formatSetting, parseSetting, type Setting } from "../volume/setting.ts";
import { REMOVED } from "../volume/setting-secrets.ts";
import type { ValueLimits } from "../volume/value-limits.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import { describeInterrupted } from "./interrupted-load.ts";
import { KindProgress } from "./kind-progress.ts";
import type { LoadDigest } from "./load-digest.ts";
import { LoadWriter } from "./load-writer.ts";
import type { CounterValues, RecordCounts } from "./report.ts";
import {
  type UnsupportedOptions,
  type UnsupportedReport,
  type UnsupportedSearch,
  UnsupportedValues,
} from "./unsupported-values.ts";

export interface LoadVolumeOptions {
  readonly target: MetadataStore;
  readonly dryRun: boolean;
  readonly findings: FindingList;
  readonly context: OperationContext;
  readonly expectedNodes?: number;
  readonly jsonBytes?: number;
  readonly unsupported: UnsupportedOptions;
  readonly resumption: Resumption;
  /** Sums up what is written. */
  readonly digest?: LoadDigest | undefined;
}

/** How a load can be gone on with when it was cut off, and what it says of itself until then. */
export interface Resumption {
  readonly stamp: LoadStamp;
  /** Go on with an earlier load, where there is one, and keep what later ones can go on with. */
  readonly resume: boolean;
  readonly checkpointBytes: number;
}

export interface LoadedVolume {
  readonly setting: Setting;
  readonly counts: RecordCounts;
  readonly counters: { readonly source: CounterValues; readonly loaded: CounterValues };
  readonly unsupported: UnsupportedReport;
  /** What an earlier load had stored. */
  readonly resumedBatches: number;
}

/**
 * Refuses a target that holds something, in the reference's words (docs/spec/json-dump.md §9). With `clean`, what a load of
 * decant has left there is removed before; with `resume`, it is returned.
 */
export async function checkTarget(
  target: MetadataStore,
  context: OperationContext,
  { clean, resume }: { readonly clean: boolean; readonly resume: boolean },
): Promise<LoadProgress | undefined> {
  const { signal, logger } = context;
  if (clean && (await target.removeRemains(signal))) {
    logger.warn(`Removed from ${target.address} what a load that was cut off had left`);
  }
  const state = await target.inspectTarget(signal);
  if (state.state === "empty") return undefined;
  if (state.state === "interrupted") {
    if (resume && state.progress.checkpoint !== undefined) return state.progress;
    if (resume) return beginAgain(target, context);
    throw new ConflictError("DECANT_E_NOT_EMPTY", state.message, { hint: describeInterrupted(state.progress) });
  }
  if (resume && state.state === "occupied" && state.isBeginning === true) return beginAgain(target, context);
  const message =
    state.state === "occupied"
      ? state.message
      : `database ${target.address} is used by volume ${parseSetting(state.setting).name}`;
  const hint = "Load into an empty database: another database number, another file, or one that was emptied on purpose";
  throw new ConflictError("DECANT_E_NOT_EMPTY", message, {
    hint: state.state === "occupied" ? (state.hint ?? hint) : hint,
  });
}

/** Without a checkpoint nobody knows what is stored. */
async function beginAgain(target: MetadataStore, { signal, logger }: OperationContext): Promise<undefined> {
  logger.info(
    `The load that was cut off had no checkpoint in ${target.address}: what it has stored is removed, and it begins again`,
  );
  await target.removeRemains(signal);
}

/** A load into an empty target that has begun. End it with `writer.finish`, or `writer.fail` on any error. */
export interface BegunLoad {
  readonly head: SettingTap;
  readonly writer: LoadWriter;
  /** The source's records without its setting and without what the target cannot hold. */
  readonly records: RecordStream;
  /** What was left out so far. */
  unsupported(): UnsupportedReport;
}

/** Opens the target. `search` is for records of the source's shape. */
export async function beginLoad(
  source: RecordStream,
  { target, context, findings, dryRun, expectedNodes, jsonBytes, resumption, digest, ...options }: LoadVolumeOptions,
  sliceRefs: LoaderOptions["sliceRefs"],
  search: UnsupportedSearch,
): Promise<BegunLoad> {
  const { signal, logger } = context;
  const limits = target.valueLimits(signal);
  const head = new SettingTap(source, limits);
  const opened = dryRun
    ? DRY_RUN
    : await target.openLoader({
        signal,
        logger,
        sliceRefs,
        stamp: resumption.stamp,
        resume: resumption.resume,
        ...(expectedNodes === undefined ? {} : { expectedNodes }),
        ...(jsonBytes === undefined ? {} : { jsonBytes }),
      });
  const loader = digest?.watch(opened) ?? opened;
  const { checkpointBytes, resume } = resumption;
  if (loader.earlier?.checkpoint !== undefined) {
    const { stamp, checkpoint } = loader.earlier;
    logger.info(`Going on with the load of ${stamp.source}: ${checkpoint.batches} batches are stored already`);
  }
  const writer = new LoadWriter(loader, { checkpointBytes, keep: resume });
  if (limits === undefined) {
    return { head, writer, records: head.records(), unsupported: () => ({ count: 0, values: [] }) };
  }
  const values = new UnsupportedValues(limits, options.unsupported, findings);
  return {
    head,
    writer,
    // What was written is taken back at once; the rest is only read to name all that cannot be held.
    records: values.filter(head.records(), () => writer.abort(), search),
    unsupported: () => values.report,
  };
}

/**
 * Consolidates a tree and writes it into an empty target, the setting last. The tail that load and migration share.
 * Whatever goes wrong, the target is then as it was.
 */
export async function loadVolume(source: RecordStream, options: LoadVolumeOptions): Promise<LoadedVolume> {
  const { context, findings } = options;
  const { head, writer, records, unsupported } = await beginLoad(source, options, "complete", {
    stage: leaveOutUnsupported,
  });
  const result: Consolidated = { source: new Map(), loaded: new Map(), entries: 0, directories: 0, roots: 0 };
  const counts = new Map<string, number>();
  const writing = new KindProgress(context.progress, "Writing");
  try {
    const flat = consolidate(
      records,
      {
        maxBytes: context.memory.maxBytes,
        tmpDir: context.memory.tmpDir,
        findings,
        repair: writer,
        trashDays: () => head.require().trashDays,
      },
      result,
    );
    for await (const batch of withoutBackupLease(flat)) {
      context.signal.throwIfAborted();
      counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
      writing.count(batch);
      await writer.write(batch);
    }
    const setting = head.require();
    await writer.finish(Buffer.from(formatSetting(setting, { form: "stored" })));
    writing.end();
    return {
      setting,
      counts: {
        ...Object.fromEntries(counts),
        directory: result.directories,
        file: result.entries - result.directories + result.roots,
      },
      counters: { source: counterValues(result.source), loaded: counterValues(result.loaded) },
      unsupported: unsupported(),
      resumedBatches: writer.resumedBatches,
    };
  } catch (error) {
    throw await failedLoad(error, writer, options);
  }
}

/** Ends a load that has failed; the error then says when it can be gone on with. */
export async function failedLoad(
  error: unknown,
  writer: LoadWriter,
  { target, context }: LoadVolumeOptions,
): Promise<unknown> {
  if (await writer.fail(error)) {
    context.logger.warn(
      `What is stored in ${target.address} up to the last checkpoint was kept, and is no volume: the same command goes on with it`,
    );
  }
  return error;
}

/** Takes the setting out of a stream and checks it as soon as it is seen, before anything is written where it stands first. */
class SettingTap {
  readonly #source: RecordStream;
  readonly #limits: ValueLimits | undefined;
  #setting: Setting | undefined;
  #stored: Buffer | undefined;

  constructor(source: RecordStream, limits: ValueLimits | undefined) {
    this.#source = source;
    this.#limits = limits;
  }

  async *records(): RecordStream {
    for await (const batch of this.#source) {
      if (batch.kind === "setting") this.#take(batch);
      else yield batch;
    }
  }

  /** The setting, once the stream has given it. */
  require(): Setting {
    if (this.#setting === undefined) {
      throw new DataError("DECANT_E_NO_SETTING", "The dump has no Setting: it does not say what volume this is", {
        hint: "Take a complete dump of the volume, or add its Setting by hand",
      });
    }
    return this.#setting;
  }

  /** The same as the source has it, byte by byte. */
  requireStored(): Buffer {
    this.require();
    return this.#stored!;
  }

  #take(batch: RecordBatch): void {
    for (const { json } of unpackBatch("setting", batch)) {
      const setting = parseSetting(json);
      if (setting.name === "" || setting.uuid === "") {
        throw new DataError(
          "DECANT_E_NO_SETTING",
          "The Setting has no Name or no UUID: it does not say what volume this is",
          {
            hint: "Clients find the volume's data by them; take a complete dump, or add them by hand",
          },
        );
      }
      checkClientVersion(setting);
      this.#checkSize(setting);
      this.#setting = setting;
      this.#stored = json;
    }
  }

  #checkSize(setting: Setting): void {
    const size = Buffer.byteLength(formatSetting(setting, { form: "stored" }));
    if (this.#limits === undefined || size <= this.#limits.maxSettingBytes) return;
    const { engineName, maxSettingBytes } = this.#limits;
    throw new DataError(
      "DECANT_E_UNSUPPORTED_VALUE",
      `${engineName} cannot hold the Setting of this volume: it has ${size} bytes, ${maxSettingBytes} are possible`,
      { hint: "A volume is nothing without it: load into another kind of database" },
    );
  }
}

/** Takes everything and writes nothing. */
const DRY_RUN: Loader = {
  isResumable: false,
  earlier: undefined,
  announce: async () => undefined,
  skip: async () => undefined,
  checkpoint: async () => undefined,
  suspend: async () => false,
  write: async () => undefined,
  readNodes: async (inodes) => inodes.map(() => undefined),
  replaceNodes: async () => undefined,
  finish: async () => undefined,
  abort: async () => undefined,
};

/** The counters that reports show; 0 for those that are not there. */
export function counterValues(counters: ReadonlyMap<string, bigint>): CounterValues {
  const value = (name: string): bigint => counters.get(name) ?? 0n;
  return {
    usedSpace: value("usedSpace"),
    usedInodes: value("totalInodes"),
    nextInode: value("nextInode"),
    nextChunk: value("nextChunk"),
    nextSession: value("nextSession"),
    nextTrash: value("nextTrash"),
  };
}

/** What the user must do before the loaded volume can be mounted (docs/spec/json-dump.md §12). */
export function nextStepsAfterLoad(setting: Setting, targetAddress: string): string[] {
  const flags: string[] = [];
  if (setting.secretKey === REMOVED) flags.push("--secret-key SECRET");
  if (setting.sessionToken === REMOVED) flags.push('--session-token TOKEN (or --session-token "" to drop it)');
  const steps: string[] = [];
  if (flags.length > 0) {
    const what =
      flags.length === 2
        ? "The secret key and the session token were"
        : `The ${setting.secretKey === REMOVED ? "secret key" : "session token"} was`;
    steps.push(
      `${what} removed from the dump; set ${flags.length === 2 ? "them" : "it"} with: decant config ${shellWord(targetAddress)} ${flags.join(" ")}`,
    );
  }
  if (setting.encryptKey === REMOVED) {
    steps.push(
      "The encryption key was removed from the dump and cannot be set again: data cannot be read without a dump that has it",
    );
  }
  return steps;
}

/** An address as one word of a command line: `&` and `?` of its options mean something to a shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A dry run writes nothing, so it cannot remove anything either, and nobody goes on with what is removed. */
export function refuseContradictions(options: {
  readonly clean: boolean;
  readonly dryRun: boolean;
  readonly resume: boolean;
}): void {
  const given = Object.entries({ "--resume": options.resume, "--clean": options.clean, "--dry-run": options.dryRun });
  const [first, second] = given.filter(([, isGiven]) => isGiven).map(([name]) => name);
  if (second === undefined) return;
  throw new UsageError("DECANT_E_OPTION_VALUE", `${first} cannot be combined with ${second}`);
}

/** Both addresses given for one database would read and write the same volume. */
export function refuseSameAddress(source: string, target: string): void {
  if (source === target) {
    throw new UsageError("DECANT_E_SAME_ADDRESS", "Source and target are the same database");
  }
}
