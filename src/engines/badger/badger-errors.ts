import { DataError } from "../../base/errors.ts";

/** What stands in a file cannot be right: `problem` says what, at `offset` (bytes from the beginning of the file). */
export function damagedFile(path: string, offset: number, problem: string): DataError {
  return new DataError("DECANT_E_BADGER_DAMAGED", `${path} is damaged at offset ${offset}: ${problem}`, {
    location: { offset },
    hint:
      "Restore the directory from a copy, or the volume from a backup, or take what can be read with --keep-going; keep this one: a client " +
      "may drop what it cannot read",
  });
}

/** Something that other users of BadgerDB may have, and JuiceFS never writes. */
export function unsupportedFile(path: string, what: string): DataError {
  return new DataError("DECANT_E_BADGER_UNSUPPORTED", `Cannot read ${path}: ${what}`, {
    hint: "JuiceFS does not write this; was the directory made by another program?",
  });
}
