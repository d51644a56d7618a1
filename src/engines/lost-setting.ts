import { DataError } from "../base/errors.ts";
import { parseSetting, settingGap } from "../volume/setting.ts";

/** What stands in the way of all else: `place` is where the setting should be, `damage` why it cannot be read. */
export function lostSetting(place: string, damage: string): DataError {
  return new DataError("DECANT_E_NO_SETTING", `The setting of the volume in ${place} cannot be read: ${damage}`, {
    hint:
      "Nothing can be saved without it: nobody knows how the data of the files is stored (block size, compression, encryption). " +
      "Take another copy, or an earlier backup",
  });
}

/** Throws `lostSetting` for a setting that nobody understands, or that is not whole. */
export function assertSetting(place: string, setting: Buffer): void {
  let gap: string | undefined;
  try {
    gap = settingGap(parseSetting(setting));
  } catch (error) {
    throw error instanceof DataError ? lostSetting(place, error.message) : error;
  }
  if (gap !== undefined) throw lostSetting(place, gap);
}
