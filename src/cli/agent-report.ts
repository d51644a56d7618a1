import type { AgentOptions } from "../agent/agent-options.ts";
import type { OnceResult } from "../agent/backup-agent.ts";
import type { CheckOutcome } from "../agent/check-outcome.ts";
import { DecantError, errorText } from "../base/errors.ts";
import { formatGoDuration } from "../base/go-duration.ts";
import type { JsonValue } from "../base/json-text.ts";
import { redactUrl } from "../base/redact-url.ts";
import { formatBytes, formatCount } from "../base/units.ts";
import { policyText } from "../operations/backups/retention-policy.ts";
import type { SummaryLine } from "./command-spec.ts";
import { ExitCode, exitCodeOf } from "./exit-code.ts";

/** How `agent --once` ends: with the code of the first failure, else 3 where somebody has to look, else 0. */
export function onceExitCode(results: readonly OnceResult[], signal: AbortSignal): ExitCode {
  for (const { outcome } of results) if (outcome.kind === "failed") return exitCodeOf(outcome.error, signal);
  return results.some(needsAttention) ? ExitCode.incomplete : ExitCode.ok;
}

function needsAttention({ outcome, status }: OnceResult): boolean {
  if (status.bucket?.frozenBy !== undefined) return true;
  switch (outcome.kind) {
    case "skipped":
    case "useless-stamp":
    case "retry-later":
      return true;
    case "made":
      return outcome.frozen || outcome.backup.suspicious.length > 0 || status.troubles.length > 0;
    default:
      return status.troubles.length > 0;
  }
}

export function onceSummary(results: readonly OnceResult[]): SummaryLine[] {
  return results.map((result) => ({
    text: `${result.volume}: ${outcomeText(result.outcome)}`,
    important: needsAttention(result) || result.outcome.kind === "failed",
  }));
}

function outcomeText(outcome: CheckOutcome): string {
  switch (outcome.kind) {
    case "made": {
      const { path, bytes, inodes, durationMs, suspicious } = outcome.backup;
      const facts = `${formatBytes(bytes)}, ${formatCount(inodes)} inodes, ${formatGoDuration(durationMs)}`;
      const doubt = suspicious.length === 0 ? "" : `; suspicious: ${suspicious.join("; ")}`;
      return `backup ${path} made (${facts})${doubt}`;
    }
    case "not-due":
      return `no backup is due for ${formatGoDuration(Math.round(outcome.waitMs / 1000) * 1000)}`;
    case "busy":
      return "another agent makes or cleans up backups now";
    case "retry-later":
      return "the last attempt failed";
    case "useless-stamp":
    case "skipped":
      return outcome.message;
    case "failed":
      return `failed: ${errorText(outcome.error)}`;
    case "stopped":
      return "stopped; nothing is left of what was begun";
  }
}

/** `agent --once --json`, see docs/json-output.md. */
export function onceJson(results: readonly OnceResult[]): JsonValue {
  return {
    operation: "agent",
    volumes: results.map(({ volume, outcome, status }) => ({
      volume,
      uuid: status.uuid ?? null,
      outcome: outcome.kind,
      message: outcomeText(outcome),
      reason: reasonOf(outcome),
      key: outcome.kind === "made" ? outcome.key : null,
      bytes: outcome.kind === "made" ? outcome.backup.bytes : null,
      inodes: outcome.kind === "made" ? outcome.backup.inodes : null,
      durationMs: outcome.kind === "made" ? outcome.backup.durationMs : null,
      suspicious: outcome.kind === "made" ? [...outcome.backup.suspicious] : [],
      frozenBy: status.bucket?.frozenBy?.name ?? null,
      troubles: status.troubles.map(({ kind, message }) => ({ kind, message })),
      lastSuccess: status.bucket?.lastGood?.time.toISOString() ?? null,
    })),
  };
}

function reasonOf(outcome: CheckOutcome): string | null {
  switch (outcome.kind) {
    case "made":
    case "skipped":
      return outcome.reason;
    case "failed":
      return outcome.error instanceof DecantError ? outcome.error.code : "DECANT_E_FAILED";
    default:
      return null;
  }
}

/** What `--check-config` shows, without secrets. */
export function configJson({ volumes, ...agent }: AgentOptions): JsonValue {
  return {
    operation: "agent",
    concurrency: agent.concurrency,
    listen: agent.listen === undefined ? null : `${agent.listen.host}:${agent.listen.port}`,
    metricsTextfile: agent.metricsTextfile ?? null,
    logFormat: agent.logFormat,
    stopTimeoutMs: agent.stopTimeoutMs,
    leaseMs: agent.leaseMs,
    volumes: volumes.map(({ label, metaUrl, schedule, style, hooks }) => ({
      name: label ?? null,
      metaUrl: redactUrl(metaUrl),
      backupMetaMs: schedule.intervalMs,
      skipAbove: String(schedule.skipAbove),
      prune: schedule.prune,
      verify: schedule.verify,
      format: style.format,
      compression: style.compression,
      snapshot: style.snapshot ?? "auto",
      maxPauseMs: style.maxPauseMs ?? null,
      skipTrash: style.skipTrash,
      maxShrink: style.maxShrink,
      policy: policyText(style.policy),
      hooks: hooks.length,
    })),
  };
}

export function configSummary({ volumes }: AgentOptions): SummaryLine[] {
  return volumes.map(({ label, metaUrl, schedule, style }) => ({
    text: `${label === undefined ? "" : `${label}: `}${redactUrl(metaUrl)}: ${periodText(schedule.intervalMs)}, ${style.format} ${style.compression}, ${policyText(style.policy)}`,
    important: false,
  }));
}

function periodText(ms: number): string {
  return ms === 0 ? "no backups" : `every ${formatGoDuration(ms)}`;
}
