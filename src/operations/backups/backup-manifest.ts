import { DataError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json-text.ts";
import type { Manifest } from "../manifest.ts";
import type { Author, PlainObject } from "./sidecars.ts";

/** The manifest of a backup: that of a dump, and how it came into the bucket. It is written when the backup was read back. */
export interface BackupManifest extends Manifest {
  readonly backup: BackupFacts;
}

export interface BackupFacts {
  readonly key: string;
  /** Size of the object as stored, which is larger than `writtenBytes` on an encrypted volume. */
  readonly storedBytes: number;
  /** The time in its name. RFC 3339, as all times. */
  readonly startedAt: string;
  /** When it had been read back and was found to be what was written. */
  readonly verifiedAt: string;
  readonly durationMs: number;
  readonly by: Author;
  /** The counters of the volume when the backup was begun. */
  readonly usage: { readonly inodes: bigint; readonly usedSpace: bigint };
  /** Directories and files in it, at every place of a file that has several in a JSON dump. */
  readonly entries: number;
  /** What of the volume could not be written. */
  readonly losses: readonly { readonly kind: string; readonly text: string; readonly count: number }[];
  /** Why it looks as if something was lost since the backup that it was compared with; empty when nothing does. */
  readonly suspicious: readonly string[];
  /** Name of that backup. */
  readonly comparedWith: string | undefined;
}

export function manifestJson(manifest: BackupManifest): JsonValue {
  const { backup, ...dump } = manifest;
  return {
    ...(dump as unknown as { [member: string]: JsonValue }),
    backup: {
      ...backup,
      by: { ...backup.by },
      usage: { ...backup.usage },
      losses: backup.losses.map((loss) => ({ ...loss })),
      suspicious: [...backup.suspicious],
      comparedWith: backup.comparedWith ?? null,
    },
  };
}

/** Understands the manifest of a backup. Throws `DataError` for what is none, and for one of a later version. */
export function parseBackupManifest(value: PlainObject, key: string): BackupManifest {
  const facts = value.backup as Partial<BackupFacts> | undefined;
  const expected: readonly (readonly [unknown, string])[] = [
    [value.manifestVersion, "number"],
    [value.file, "string"],
    [value.sha256, "string"],
    [value.writtenBytes, "number"],
    [value.documentBytes, "number"],
    [value.counts, "object"],
    [(value.volume as Manifest["volume"] | undefined)?.uuid, "string"],
    [(value.consistency as Manifest["consistency"] | undefined)?.pointInTime, "boolean"],
    [facts?.key, "string"],
    [facts?.storedBytes, "number"],
    [facts?.startedAt, "string"],
    [facts?.verifiedAt, "string"],
    [facts?.by?.host, "string"],
    [facts?.entries, "number"],
  ];
  const isWhole =
    expected.every(([member, type]) => typeof member === type && member !== null) &&
    value.manifestVersion === 1 &&
    Array.isArray(facts?.losses) &&
    Array.isArray(facts.suspicious);
  const usage = facts?.usage as { inodes?: unknown; usedSpace?: unknown } | undefined;
  if (!isWhole || !isInteger(usage?.inodes) || !isInteger(usage?.usedSpace)) {
    throw new DataError("DECANT_E_MANIFEST", `${key} cannot be used as a manifest: it has not all members`, {
      hint: "It is damaged, or from a later version of decant",
    });
  }
  return {
    ...(value as unknown as Manifest),
    backup: {
      ...(facts as BackupFacts),
      usage: { inodes: BigInt(usage.inodes), usedSpace: BigInt(usage.usedSpace) },
      comparedWith: typeof facts?.comparedWith === "string" ? facts.comparedWith : undefined,
    },
  };
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === "bigint" || Number.isInteger(value);
}
