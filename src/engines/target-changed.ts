import { ConflictError } from "../base/errors.ts";

/** What a load throws whose marker is not there any more. `more` goes on with the hint. */
export function targetChanged(address: string, more: string = ""): ConflictError {
  return new ConflictError(
    "DECANT_E_TARGET_CHANGED",
    `The database ${address} was emptied or taken by others meanwhile`,
    {
      hint: `What is there now was left alone${more}`,
    },
  );
}
