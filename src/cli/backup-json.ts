import type { JsonValue } from "../base/json-text.ts";
import type { BackupReport } from "../operations/backups/backup.ts";
import { manifestJson } from "../operations/backups/backup-manifest.ts";
import type {
  BackupFetchReport,
  BackupListReport,
  BackupMarkReport,
  BackupPruneReport,
  BackupShowReport,
  BackupVerifyReport,
} from "../operations/backups/backups.ts";
import type { CatalogueEntry, Mark } from "../operations/backups/catalogue.ts";
import { checkJson } from "../operations/backups/check-record.ts";
import type { PruneReport } from "../operations/backups/prune.ts";
import { policyText } from "../operations/backups/retention-policy.ts";
import { runStatusJson } from "../operations/backups/run-status.ts";
import { findingsJson } from "./report-json.ts";
import { verifyJson } from "./verify-report.ts";

type JsonObject = { readonly [member: string]: JsonValue };

/** The document of `backup --json` (docs/json-output.md). */
export function backupJson(report: BackupReport): JsonValue {
  const { manifest, pruned } = report;
  const { backup } = manifest;
  return {
    operation: report.operation,
    source: report.source,
    volume: { ...manifest.volume },
    name: manifest.file,
    key: backup.key,
    path: report.path,
    format: manifest.format,
    compression: manifest.compression,
    documentBytes: manifest.documentBytes,
    writtenBytes: manifest.writtenBytes,
    storedBytes: backup.storedBytes,
    sha256: manifest.sha256,
    consistency: { ...manifest.consistency },
    whole: manifest.whole,
    usage: { ...backup.usage },
    suspicious: [...backup.suspicious],
    comparedWith: backup.comparedWith ?? null,
    counts: { ...manifest.counts } as JsonObject,
    pruned: pruned === undefined ? null : pruneResultJson(pruned),
    findings: findingsJson(report.findings),
    durationMs: Math.round(report.durationMs),
  };
}

export function backupListJson({ operation, volume, storage, catalogue }: BackupListReport): JsonValue {
  return {
    operation,
    volume: { ...volume },
    storage,
    backups: catalogue.entries.map(entryJson),
    foreign: catalogue.foreign,
    frozenBy: catalogue.frozenBy?.backup.name ?? null,
    runs: catalogue.runs.map(runStatusJson),
  };
}

export function backupShowJson({ operation, volume, storage, entry }: BackupShowReport): JsonValue {
  return {
    operation,
    volume: { ...volume },
    storage,
    backup: entryJson(entry),
    manifest: entry.manifest === undefined ? null : manifestJson(entry.manifest),
    check: entry.check === undefined ? null : checkJson(entry.check),
  };
}

export function backupVerifyJson({ operation, volume, storage, results }: BackupVerifyReport): JsonValue {
  return {
    operation,
    volume: { ...volume },
    storage,
    ok: results.every(({ ok }) => ok),
    results: results.map(({ backup, ok, check, dump, inClear }) => ({
      name: backup.name,
      key: backup.key,
      ok,
      inClear,
      check: checkJson(check),
      dump: verifyJson(dump),
    })),
  };
}

export function backupMarkJson({ operation, volume, storage, entry }: BackupMarkReport): JsonValue {
  return { operation, volume: { ...volume }, storage, name: entry.backup.name, key: entry.backup.key };
}

export function backupPruneJson(report: BackupPruneReport): JsonValue {
  const { operation, volume, storage } = report;
  return { operation, volume: { ...volume }, storage, ...pruneResultJson(report) };
}

export function backupFetchJson(report: BackupFetchReport): JsonValue {
  const { operation, volume, storage, entry, file, bytes, sha256, compared } = report;
  const { name, key } = entry.backup;
  return { operation, volume: { ...volume }, storage, name, key, file: file ?? null, bytes, sha256, compared };
}

function pruneResultJson({ dryRun, plan, refusal, deleted, deletedBytes, failed, foreign }: PruneReport): JsonObject {
  return {
    dryRun,
    policy: policyText(plan.policy),
    asOf: plan.asOf.toISOString(),
    refusal: refusal === undefined ? null : { ...refusal },
    decisions: plan.decisions.map(({ item, keep, reasons }) => ({
      name: item.backup.name,
      key: item.backup.key,
      time: item.backup.time.toISOString(),
      size: item.size,
      quality: item.quality,
      keep,
      reasons: [...reasons],
      deleted: deleted.has(item.backup.name),
    })),
    deleted: deleted.size,
    deletedBytes,
    failed: failed.map((each) => ({ ...each })),
    foreign,
  };
}

export function entryJson(entry: CatalogueEntry): JsonObject {
  const { backup, manifest } = entry;
  return {
    name: backup.name,
    key: backup.key,
    time: backup.time.toISOString(),
    format: backup.format,
    compression: backup.compression,
    size: entry.size,
    modified: entry.modified.toISOString(),
    quality: entry.quality,
    why: entry.why,
    inodes: manifest?.backup.usage.inodes ?? null,
    usedSpace: manifest?.backup.usage.usedSpace ?? null,
    pointInTime: manifest?.consistency.pointInTime ?? null,
    whole: manifest?.whole ?? null,
    losses: manifest?.backup.losses.map((loss) => ({ ...loss })) ?? null,
    suspicious: [...entry.suspicious],
    confirmed: markJson(entry.confirmation),
    pinned: markJson(entry.pin),
    by: manifest === undefined ? null : { ...manifest.backup.by },
  };
}

function markJson(mark: Mark | undefined): JsonValue {
  if (mark === undefined) return null;
  const { at, reason, by } = mark;
  return { at: at ?? null, reason: reason ?? null, by: by === undefined ? null : { ...by } };
}
