import { recycle } from "../base/bytes.ts";
import { DataError, isAbortError } from "../base/errors.ts";
import type { MetadataStore, SnapshotNote } from "../engines/engine.ts";
import type { RecordForm } from "../engines/record-form.ts";
import { RecordDigest } from "../tree/record-digest.ts";
import type { RecordKind } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";
import { KindDigests, type LoadDigest } from "./load-digest.ts";
import { VERIFYING } from "./verifying.ts";

const VERIFY_FAILED = "DECANT_E_VERIFY_FAILED";

const MUST_NOT_BE_USED =
  "It is a volume now, but must not be used: mount nothing. decant diff of the source and the target names the inodes. Find out who else " +
  "writes there, or what the server or its disk loses, then empty the database and load again";

/** What was read again after a load and is what was written. */
export interface Verification {
  readonly verified: true;
  /** The setting not counted. */
  readonly records: number;
  /** Records and bytes by kind, in decant's packed layout; only kinds of which there are records. */
  readonly kinds: Partial<Record<RecordKind, { readonly records: number; readonly bytes: number }>>;
  /** What no reading gives back, and why. */
  readonly notCompared: readonly { readonly kind: RecordKind; readonly records: number; readonly reason: string }[];
}

/** Kinds that a volume consists of; in the order in which differences are told. */
const KINDS: ReadonlyMap<RecordKind, string> = new Map([
  ["node", "inodes"],
  ["edge", "directory entries"],
  ["chunk", "chunks"],
  ["symlink", "symlinks"],
  ["xattr", "extended attributes"],
  ["parent", "parents"],
  ["sliceRef", "slice references"],
  ["acl", "ACL rules"],
  ["sustained", "sustained inodes"],
  ["delFile", "pending deletions"],
  ["dirStat", "directory statistics"],
  ["quota", "directory quotas"],
  ["userQuota", "user quotas"],
  ["groupQuota", "group quotas"],
  ["counter", "counters"],
]);

/** Names of the kinds of records, for people. */
export function kindText(kind: RecordKind): string {
  return KINDS.get(kind) ?? kind;
}

/**
 * Reads a target again after its load has finished and compares it with what was written: digests by kind, in any order, the setting
 * byte by byte. Memory does not depend on the volume. Throws `DataError` when it is not the same; the target is a volume then,
 * which must not be used. Nobody may have used it meanwhile.
 */
export async function verifyTarget(
  target: MetadataStore,
  written: LoadDigest,
  context: OperationContext,
): Promise<Verification> {
  const { logger } = context;
  try {
    return await compareTarget(target, written, context);
  } catch (error) {
    if (isAbortError(error)) throw error;
    if (error instanceof DataError) throw asDifference(error, target.address);
    logger.warn(`${target.address} holds the volume, but could not be read again: it is loaded and not verified`);
    throw error;
  }
}

/** What cannot be understood is not what was written. */
function asDifference(error: DataError, address: string): DataError {
  if (error.code === VERIFY_FAILED) return error;
  return new DataError("DECANT_E_VERIFY_FAILED", `${address} cannot be read again: ${error.message}`, {
    cause: error,
    location: error.location,
    hint: MUST_NOT_BE_USED,
  });
}

async function compareTarget(
  target: MetadataStore,
  written: LoadDigest,
  { signal, logger, progress }: OperationContext,
): Promise<Verification> {
  const form = target.recordForm;
  const kinds = new Set([...KINDS.keys()].filter((kind) => !form.computed.has(kind)));
  const found = new KindDigests();
  const phase = progress.begin(VERIFYING, { records: total(written.digests.values()) });
  const snapshot = await target.openSnapshot({ signal, logger });
  try {
    for await (const batch of snapshot.records({ kinds })) {
      signal.throwIfAborted();
      found.add(batch);
      phase.records += batch.count;
      phase.bytes += batch.bytes.length;
      recycle(batch.bytes);
    }
    const differences = [
      ...settingDifference(written.setting, snapshot.setting),
      ...[...kinds].flatMap((kind) => kindDifference(kind, written.digests.get(kind), found.byKind.get(kind))),
    ];
    if (differences.length > 0) {
      throw differenceError(target.address, differences, [
        ...counterDifferences(written.counters, found.counters),
        ...lossNotes(snapshot.notes),
      ]);
    }
    progress.end(phase);
    return report(found, written.missing, form);
  } finally {
    await snapshot.close();
  }
}

function total(digests: Iterable<RecordDigest>): number {
  let records = 0;
  for (const { count } of digests) records += count;
  return records;
}

function settingDifference(written: Buffer | undefined, found: Buffer): string[] {
  if (written?.equals(found)) return [];
  return [`setting: ${written?.length ?? 0} bytes written, ${found.length} found, not the same`];
}

function kindDifference(
  kind: RecordKind,
  written: RecordDigest = new RecordDigest(),
  found: RecordDigest = new RecordDigest(),
): string[] {
  if (written.equals(found)) return [];
  const counts = `${kindText(kind)}: ${written.count} written, ${found.count} found`;
  return [written.count === found.count ? `${counts}, not the same` : counts];
}

function counterDifferences(written: ReadonlyMap<string, bigint>, found: ReadonlyMap<string, bigint>): string[] {
  return [...new Set([...written.keys(), ...found.keys()])]
    .filter((name) => written.get(name) !== found.get(name))
    .map((name) => `counter ${name}: ${written.get(name) ?? 0n} written, ${found.get(name) ?? 0n} found`);
}

function lossNotes(notes: readonly SnapshotNote[]): string[] {
  return notes.filter(({ loss }) => loss).map(({ text, count }) => `${text}: ${count}`);
}

function differenceError(address: string, differences: readonly string[], more: readonly string[]): DataError {
  const [first, ...others] = differences;
  const rest = others.length === 0 ? "" : `, and ${others.length} more ${others.length === 1 ? "kind" : "kinds"}`;
  return new DataError("DECANT_E_VERIFY_FAILED", `${address} does not hold what was written (${first}${rest})`, {
    details: [...differences, ...more],
    hint: MUST_NOT_BE_USED,
  });
}

function report(found: KindDigests, missing: ReadonlyMap<RecordKind, number>, form: RecordForm): Verification {
  const byKind = [...KINDS.keys()].flatMap((kind) => {
    const digest = found.byKind.get(kind);
    return digest === undefined || digest.count === 0
      ? []
      : [[kind, { records: digest.count, bytes: digest.bytes }] as const];
  });
  return {
    verified: true,
    records: total(found.byKind.values()),
    kinds: Object.fromEntries(byKind),
    notCompared: [...missing].map(([kind, records]) => ({ kind, records, reason: form.missing.get(kind) ?? "" })),
  };
}
