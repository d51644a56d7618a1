import { DataError } from "../base/errors.ts";

/** What stands in the way of all else: `place` is where the setting should be, `damage` why it cannot be read. */
export function lostSetting(place: string, damage: string): DataError {
  return new DataError("DECANT_E_NO_SETTING", `The setting of the volume in ${place} cannot be read: ${damage}`, {
    hint:
      "Nothing can be saved without it: nobody knows how the data of the files is stored (block size, compression, encryption). " +
      "Take another copy, or an earlier backup",
  });
}
