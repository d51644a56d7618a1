import { NotFoundError } from "../base/errors.ts";
import type { LoadProgress, MetadataStore, Snapshot, SnapshotOptions } from "../engines/engine.ts";
import { type RecordBatch, unpackBatch } from "../volume/records.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import { describeInterrupted } from "./interrupted-load.ts";

/** The error for a database that holds no volume, in the reference's words. */
export function notFormattedError(address: string): NotFoundError {
  return new NotFoundError(
    "DECANT_E_NOT_FORMATTED",
    "database is not formatted, please run `juicefs format ...` first",
    {
      hint: `${address} holds no volume: check the address, the database number and the prefix; a load that was cut off is none either`,
    },
  );
}

/** The setting of the volume in a store. Throws `NotFoundError` when there is none, which says when a load has not ended there. */
export async function readVolumeSetting(store: MetadataStore, signal: AbortSignal): Promise<Setting> {
  const stored = await store.readSetting(signal);
  if (stored !== undefined && stored.length > 0) return parseSetting(stored);
  const target = await store.inspectTarget(signal);
  throw target.state === "interrupted"
    ? interruptedError(store.address, target.progress)
    : notFormattedError(store.address);
}

/** Opens a view of the volume in a store. Throws `NotFoundError` when there is none, which says when a load has not ended there. */
export async function openVolumeSnapshot(store: MetadataStore, options: SnapshotOptions): Promise<Snapshot> {
  try {
    return await store.openSnapshot(options);
  } catch (error) {
    if (!(error instanceof NotFoundError) || error.code !== "DECANT_E_NO_VOLUME") throw error;
    const target = await store.inspectTarget(options.signal).catch(() => undefined); // who may only read may not look at all
    throw target?.state === "interrupted" ? interruptedError(store.address, target.progress) : error;
  }
}

function interruptedError(address: string, progress: LoadProgress): NotFoundError {
  return new NotFoundError("DECANT_E_LOAD_INTERRUPTED", `${address} holds no volume, but a part of one`, {
    hint: describeInterrupted(progress),
  });
}

/** The setting of a batch of its kind. */
export function settingOf(batch: RecordBatch): Setting {
  const [first] = unpackBatch("setting", batch);
  return parseSetting(first!.json);
}
