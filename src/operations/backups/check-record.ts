import { DataError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json-text.ts";
import type { Author, PlainObject } from "./sidecars.ts";

/** What `backups verify` found, kept in the bucket. */
export interface BackupCheck {
  readonly ok: boolean;
  /** RFC 3339. */
  readonly at: string;
  readonly by: Author;
  /** Size of the object that was looked at, as stored, and of what it holds; SHA-256 of the latter, if it could be read to its end. */
  readonly storedBytes: number;
  readonly bytes: number;
  readonly sha256: string | undefined;
  /** What is wrong, a sentence each. */
  readonly problems: readonly string[];
}

export function checkJson(check: BackupCheck): { readonly [member: string]: JsonValue } {
  return {
    ...check,
    by: { ...check.by },
    sha256: check.sha256 ?? null,
    problems: [...check.problems],
  };
}

/** Throws `DataError` for what is no such record. */
export function parseBackupCheck(value: PlainObject, key: string): BackupCheck {
  const { ok, at, by, storedBytes, bytes, sha256, problems } = value;
  const isWhole =
    typeof ok === "boolean" &&
    typeof at === "string" &&
    typeof storedBytes === "number" &&
    typeof bytes === "number" &&
    Array.isArray(problems) &&
    typeof (by as Author | undefined)?.host === "string";
  if (!isWhole) {
    throw new DataError("DECANT_E_SIDECAR", `Object ${key} cannot be understood: it has not all members`, {
      hint: "It is damaged, or from a later version of decant",
    });
  }
  return {
    ok,
    at,
    by: by as Author,
    storedBytes,
    bytes,
    sha256: typeof sha256 === "string" ? sha256 : undefined,
    problems: problems.filter((problem) => typeof problem === "string"),
  };
}
