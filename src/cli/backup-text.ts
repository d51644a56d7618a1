import { formatBytes, formatCount, formatDuration } from "../base/units.ts";
import type { BackupReport } from "../operations/backups/backup.ts";
import type {
  BackupFetchReport,
  BackupListReport,
  BackupShowReport,
  BackupVerifyReport,
} from "../operations/backups/backups.ts";
import type { CatalogueEntry, Mark } from "../operations/backups/catalogue.ts";
import type { PruneReport } from "../operations/backups/prune.ts";
import { policyText } from "../operations/backups/retention-policy.ts";
import { authorText } from "../operations/backups/sidecars.ts";
import type { SummaryLine } from "./command-spec.ts";
import { countsText, findingText } from "./report-text.ts";
import { verifyText } from "./verify-report.ts";

/** Closing lines of a backup; that it succeeded was logged when it had. */
export function backupSummary(report: BackupReport): SummaryLine[] {
  const { manifest, pruned } = report;
  const { consistency, backup } = manifest;
  const { name, uuid } = manifest.volume;
  const packed = manifest.compression === "none" ? "" : ` (${manifest.compression})`;
  const lines = [
    plain(`volume ${name} (${uuid})`),
    consistency.pointInTime
      ? plain(`consistent as of ${consistency.asOf}: ${consistency.method}`)
      : important(`NOT one point in time: ${consistency.method}`),
    plain(
      `${countsText(manifest.counts)}; ${formatBytes(manifest.writtenBytes)}${packed} written and read back in ${formatDuration(report.durationMs)}`,
    ),
    ...report.findings.map((finding) => ({ text: `  ${findingText(finding)}`, important: finding.loss })),
  ];
  if (backup.suspicious.length > 0) {
    lines.push(important(`SUSPICIOUS: since ${backup.comparedWith} its ${backup.suspicious.join(", ")}`));
    lines.push(important(`next: look, and when that is right: decant backups confirm META-URL ${manifest.file}`));
  }
  return pruned === undefined ? lines : [...lines, ...pruneSummary(pruned).map(indented)];
}

/** Closing lines of a clean-up. */
export function pruneSummary(report: PruneReport): SummaryLine[] {
  const { refusal, deleted, deletedBytes, dryRun, plan, failed } = report;
  const going = plan.decisions.filter(({ keep }) => !keep);
  const staying = plan.decisions.length - going.length;
  const lines: SummaryLine[] = [];
  if (refusal !== undefined) {
    lines.push({
      text: `${dryRun ? "Nothing would be deleted" : "Nothing was deleted"}. ${refusal.reason}`,
      important: true,
    });
    lines.push(important(`next: ${refusal.hint}`));
  } else if (dryRun) {
    const bytes = going.reduce((sum, { item }) => sum + item.size, 0);
    const what = `${countOf(going.length)} (${formatBytes(bytes)}) would be deleted, ${formatCount(staying)} kept`;
    lines.push({ text: `${what}; nothing was written (dry run)`, important: false });
  } else {
    const kept = plan.decisions.length - deleted.size;
    const what = `${countOf(deleted.size)} (${formatBytes(deletedBytes)}) deleted, ${formatCount(kept)} kept`;
    lines.push({ text: `${what} by ${policyText(plan.policy)}`, important: false });
  }
  for (const { name, reason } of failed) lines.push(important(`could not delete ${name}: ${reason}`));
  return lines;
}

/** What `backups list` prints. */
export function backupListText({ catalogue }: BackupListReport, now: Date): string {
  const { entries, foreign, runs, frozenBy } = catalogue;
  const rows = entries.map((entry) => [
    entry.backup.name,
    ageText(now.getTime() - entry.backup.time.getTime()),
    formatText(entry),
    formatBytes(entry.size),
    entry.manifest === undefined ? "-" : formatCount(entry.manifest.backup.usage.inodes),
    entry.manifest === undefined ? "-" : formatBytes(entry.manifest.backup.usage.usedSpace),
    stateText(entry),
    entry.pinned ? "pinned" : "-",
    byText(entry),
  ]);
  const head = ["BACKUP", "AGE", "FORMAT", "SIZE", "INODES", "SPACE", "STATE", "PIN", "BY"];
  const lines = entries.length === 0 ? ["No backups."] : table(head, rows, new Set([1, 3, 4, 5]));
  if (foreign > 0) {
    const others = foreign === 1 ? "object beside the backups, which is" : "objects beside the backups, which are";
    lines.push("", `${formatCount(foreign)} other ${others} never touched.`);
  }
  const lastOk = runs.find(({ outcome }) => outcome === "ok");
  for (const run of runs) {
    // What failed before the last success is over.
    if (run === lastOk) break;
    lines.push("", `Last backup ${run.outcome} at ${run.at} on ${run.by.host}: ${run.reason ?? "no reason given"}`);
  }
  if (frozenBy !== undefined) {
    lines.push("", `Clean-up is frozen: ${frozenBy.backup.name} is suspicious, its ${frozenBy.suspicious.join(", ")}`);
    lines.push(`  when that is right: decant backups confirm META-URL ${frozenBy.backup.name}`);
  }
  return text(lines);
}

/** What `backups show` prints. */
export function backupShowText({ entry, storage }: BackupShowReport, now: Date): string {
  const { backup, manifest, check } = entry;
  const age = ageText(now.getTime() - backup.time.getTime());
  const lines = [
    `${storage}${backup.key}`,
    `  begun      ${backup.time.toISOString()}, ${age} ago`,
    `  by         ${byText(entry)}`,
    `  object     ${formatText(entry)}, ${formatBytes(entry.size)}`,
    `  state      ${stateText(entry)}: ${entry.why}`,
  ];
  if (manifest !== undefined) {
    const { consistency, backup: facts } = manifest;
    const instant = consistency.pointInTime ? "one point in time" : "NOT one point in time";
    lines.push(`  volume     ${manifest.volume.name} (${manifest.volume.uuid}) from ${manifest.source.address}`);
    lines.push(
      `  content    ${countsText(manifest.counts)}; ${formatBytes(manifest.documentBytes)} before compression`,
    );
    if (!manifest.whole) lines.push("             without the trash");
    lines.push(
      `  usage      ${formatCount(facts.usage.inodes)} inodes, ${formatBytes(facts.usage.usedSpace)} when it was begun`,
    );
    lines.push(`  consistent ${instant}, ${consistency.asOf}: ${consistency.method}`);
    lines.push(`  sha256     ${manifest.sha256}`);
    for (const loss of facts.losses) lines.push(`  lost       ${loss.text}: ${formatCount(loss.count)}`);
    if (facts.suspicious.length > 0) {
      lines.push(`  suspicious since ${facts.comparedWith} its ${facts.suspicious.join(", ")}`);
    }
  }
  if (check !== undefined) {
    lines.push(`  checked    ${check.at} by ${authorText(check.by)}: ${check.ok ? "OK" : "DAMAGED"}`);
    for (const problem of check.problems) lines.push(`             ${problem}`);
  }
  if (entry.confirmation !== undefined) lines.push(`  confirmed  ${markText(entry.confirmation)}`);
  if (entry.pin !== undefined) lines.push(`  pinned     ${markText(entry.pin)}`);
  return text(lines);
}

/** What `backups verify` prints: what verify prints of a file, by name. */
export function backupVerifyText({ results }: BackupVerifyReport): string {
  if (results.length === 0) return "Every backup is verified.\n";
  return results
    .map(({ backup, ok, check, dump, inClear }) => {
      const lines = [verifyText({ ...dump, ok, source: backup.key }).trimEnd()];
      const known = new Set(dump.problems.map((problem) => problem.text));
      for (const problem of check.problems) {
        if (![...known].some((each) => problem.startsWith(each))) lines.push(`  error: ${problem}`);
      }
      if (inClear) lines.push("  note: stored in clear on an encrypted volume, as juicefs stores large backups");
      return text(lines);
    })
    .join("");
}

/** The table of `backups prune`. */
export function pruneTable({ plan, deleted, dryRun, refusal }: PruneReport, now: Date): string {
  const rows = plan.decisions.map(({ item, keep, reasons }) => [
    item.backup.name,
    ageText(now.getTime() - item.backup.time.getTime()),
    formatBytes(item.size),
    stateText(item),
    keep ? "keep" : deleted.has(item.backup.name) ? "deleted" : dryRun || refusal ? "delete" : "NOT DELETED",
    reasons.join(", "),
  ]);
  if (rows.length === 0) return "No backups.\n";
  return text(table(["BACKUP", "AGE", "SIZE", "STATE", "", "WHY"], rows, new Set([1, 2])));
}

export function fetchSummary({ entry, file, bytes, compared }: BackupFetchReport): SummaryLine[] {
  const proof = compared ? "its checksum is that of the manifest" : "there is no manifest to compare it with";
  return [
    { text: `Fetched ${entry.backup.name} into ${file === undefined ? "STDOUT" : `"${file}"`}`, important: false },
    plain(`${formatBytes(bytes)}; ${proof}`),
  ];
}

function formatText({ backup }: CatalogueEntry): string {
  return backup.compression === "none" ? backup.format : `${backup.format} ${backup.compression}`;
}

export function stateText({ quality, suspicious, manifest }: CatalogueEntry): string {
  if (quality === "bad") return "DAMAGED";
  if (suspicious.length > 0) return "SUSPICIOUS";
  if (quality === "unknown") return "unverified";
  return (manifest?.backup.losses.length ?? 0) > 0 ? "verified, incomplete" : "verified";
}

/** Backups without a manifest where the reference keeps its own are taken for its. */
export function byText({ manifest, sidecars, backup }: CatalogueEntry): string {
  if (manifest !== undefined) return authorText(manifest.backup.by);
  if (sidecars.has("manifest")) return "unknown";
  return backup.key.startsWith("meta/") ? "juicefs" : "decant, interrupted";
}

function markText({ at, reason, by }: Mark): string {
  const who = by === undefined ? "" : ` by ${authorText(by)}`;
  return `${at ?? "at an unknown time"}${who}${reason === undefined ? "" : `: ${reason}`}`;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** `5 min`, `12 h`, `40 d`. */
export function ageText(ms: number): string {
  if (ms < 0) return "future";
  if (ms < MINUTE_MS) return `${Math.floor(ms / 1000)} s`;
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min`;
  return ms < 48 * HOUR_MS ? `${Math.floor(ms / HOUR_MS)} h` : `${Math.floor(ms / (24 * HOUR_MS))} d`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[], right: ReadonlySet<number>): string[] {
  const widths = head.map((title, i) => rows.reduce((width, row) => Math.max(width, row[i]!.length), title.length));
  return [head, ...rows].map((row) =>
    row
      .map((cell, i) => (right.has(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** Whoever can write into the bucket wrote some of it: nothing of that may steer a terminal. */
export function text(lines: readonly string[]): string {
  return `${lines.map((line) => line.replace(/[^\P{Cc}\n]/gu, "?")).join("\n")}\n`;
}

function countOf(count: number): string {
  return `${formatCount(count)} ${count === 1 ? "backup" : "backups"}`;
}

function plain(line: string): SummaryLine {
  return { text: `  ${line}`, important: false };
}

function important(line: string): SummaryLine {
  return { text: `  ${line}`, important: true };
}

function indented({ text: line, important: isImportant }: SummaryLine): SummaryLine {
  return { text: `  ${line}`, important: isImportant };
}
