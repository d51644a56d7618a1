import { DataError } from "../../../base/errors.ts";

export const TOO_LARGE = "DECANT_E_RDB_TOO_LARGE";

/** What a damaged file says is wrong; `offset` counts from the beginning of the RDB. */
export function damaged(name: string, what: string, offset: number, key?: string): DataError {
  return new DataError("DECANT_E_RDB_DAMAGED", `${name} is damaged at byte ${offset}${ofKey(key)}: ${what}`, {
    location: { offset, ...(key === undefined ? {} : { key }) },
    hint: "Take another RDB file, or what can be read of this one with --keep-going; redis-check-rdb says what Redis thinks of it",
  });
}

export function cut(name: string, offset: number, key?: string): DataError {
  return new DataError("DECANT_E_RDB_CUT", `${name} is cut off at byte ${offset}${ofKey(key)}`, {
    location: { offset, ...(key === undefined ? {} : { key }) },
    hint: "It was not written or copied completely: take the whole file, or what is there with --keep-going",
  });
}

export function tooLarge(name: string, size: number, limit: number, offset: number, key?: string): DataError {
  return new DataError(
    TOO_LARGE,
    `${name} has a piece of ${size} bytes at byte ${offset}${ofKey(key)}, more than the ${limit} that are held in memory`,
    {
      location: { offset, ...(key === undefined ? {} : { key }) },
      hint: "Lower hash-max-listpack-entries and list-max-listpack-size of the server to their defaults, or dump from the server",
    },
  );
}

function ofKey(key: string | undefined): string {
  return key === undefined ? "" : ` (key ${key})`;
}
