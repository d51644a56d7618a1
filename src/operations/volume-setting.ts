import { NotFoundError } from "../base/errors.ts";
import type { MetadataStore } from "../engines/engine.ts";
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
  if (target.state !== "interrupted") throw notFormattedError(store.address);
  throw new NotFoundError("DECANT_E_LOAD_INTERRUPTED", `${store.address} holds no volume, but a part of one`, {
    hint: describeInterrupted(target.progress),
  });
}
