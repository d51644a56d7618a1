import type { JsonValue } from "../base/json-text.ts";
import type { BlockCheckReport } from "../operations/backups/block-check.ts";
import type { OldVolume, RestoreReport } from "../operations/backups/restore.ts";
import { entryJson } from "./backup-json.ts";
import { loadJson } from "./report-json.ts";

/** The document of `restore --json` (docs/json-output.md). */
export function restoreJson(report: RestoreReport): JsonValue {
  const { plan, loaded, blocks } = report;
  return {
    operation: report.operation,
    dryRun: report.dryRun,
    storage: plan.storage,
    target: plan.target,
    volume: { ...plan.volume },
    asOf: plan.asOf.toISOString(),
    backup: entryJson(plan.chosen),
    ageMs: plan.asOf.getTime() - plan.chosen.backup.time.getTime(),
    passedOver: plan.passedOver.map(({ entry, reason }) => ({ name: entry.backup.name, reason })),
    others: plan.others.map(({ backup }) => backup.name),
    missingSecrets: [...plan.missingSecrets],
    old: plan.old === undefined ? null : oldJson(plan.old),
    load: loaded === undefined ? null : loadJson(loaded),
    blocks: blocks === undefined ? null : blocksJson(blocks),
    complete: report.isComplete,
    mount: report.mount,
    nextSteps: [...report.nextSteps],
  };
}

function oldJson({ address, usage, lastBackup, sessions }: OldVolume): JsonValue {
  return {
    address,
    inodes: usage?.totalInodes ?? null,
    usedSpace: usage?.usedSpace ?? null,
    lastBackup: lastBackup ?? null,
    sessions: sessions ?? null,
  };
}

function blocksJson({ slices, sampledSlices, checkedBlocks, missingBlocks, missing, stopped }: BlockCheckReport) {
  return {
    slices,
    sampledSlices,
    checkedBlocks,
    missingBlocks,
    missing: missing.map(({ key, size, found, inode, path }) => ({
      key,
      size,
      found: found ?? null,
      inode,
      path: path ?? null,
    })),
    stopped: stopped ?? null,
  };
}
