import type { PhaseProgress } from "../base/progress.ts";
import { formatBytes, formatCount, formatDuration } from "../base/units.ts";

/** One line about a phase: what is done, how fast, since when, and how long it may still take. */
export function phaseLine(phase: PhaseProgress, now: number): string {
  const elapsedMs = Math.max((phase.endedAt ?? now) - phase.startedAt, 0);
  const parts: string[] = [];
  const share = doneShare(phase);
  if (phase.records > 0 || phase.totalRecords !== undefined) parts.push(amountText(phase, share));
  if (phase.bytes > 0) parts.push(bytesText(phase, phase.records === 0 ? share : undefined));
  if (elapsedMs > 500 && phase.records > 0)
    parts.push(`${formatCount(Math.round(phase.records / (elapsedMs / 1000)))}/s`);
  parts.push(formatDuration(elapsedMs));
  if (share !== undefined && share > 0.02 && share < 1 && elapsedMs > 2000) {
    parts.push(`about ${formatDuration((elapsedMs / share) * (1 - share))} left`);
  }
  return `${phase.name}: ${parts.join(", ")}`;
}

/** Between 0 and 1, undefined where the total is not known. */
function doneShare(phase: PhaseProgress): number | undefined {
  if (phase.totalRecords !== undefined && phase.totalRecords > 0)
    return Math.min(phase.records / phase.totalRecords, 1);
  if (phase.totalBytes !== undefined && phase.totalBytes > 0) return Math.min(phase.bytes / phase.totalBytes, 1);
  return undefined;
}

function amountText(phase: PhaseProgress, share: number | undefined): string {
  const done = formatCount(phase.records);
  if (phase.totalRecords === undefined) return share === undefined ? done : `${done} (${percent(share)})`;
  return `${done} of ${formatCount(phase.totalRecords)} (${percent(share ?? 1)})`;
}

function bytesText(phase: PhaseProgress, share: number | undefined): string {
  const done = formatBytes(phase.bytes);
  return share === undefined ? done : `${done} of ${formatBytes(phase.totalBytes!)} (${percent(share)})`;
}

function percent(share: number): string {
  return `${Math.floor(share * 100)}%`;
}
