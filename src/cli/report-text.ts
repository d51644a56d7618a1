import { formatBytes, formatCount, formatDuration } from "../base/units.ts";
import type { CounterValues, DumpReport, Finding, LoadReport, RecordCounts, ReportBase } from "../operations/report.ts";
import { type UnsupportedReport, unsupportedText } from "../operations/unsupported-values.ts";
import type { Verification } from "../operations/verify-target.ts";
import type { SummaryLine } from "./command-spec.ts";

const NOUNS: Readonly<Record<keyof RecordCounts, readonly [one: string, many: string]>> = {
  directory: ["directory", "directories"],
  file: ["file", "files"],
  tree: ["entry", "entries"],
  node: ["inode", "inodes"],
  edge: ["directory entry", "directory entries"],
  chunk: ["chunk", "chunks"],
  symlink: ["symlink", "symlinks"],
  xattr: ["extended attribute", "extended attributes"],
  parent: ["parent record", "parent records"],
  sliceRef: ["slice reference", "slice references"],
  acl: ["ACL rule", "ACL rules"],
  sustained: ["sustained inode", "sustained inodes"],
  delFile: ["deleted file", "deleted files"],
  dirStat: ["directory statistic", "directory statistics"],
  quota: ["directory quota", "directory quotas"],
  userQuota: ["user quota", "user quotas"],
  groupQuota: ["group quota", "group quotas"],
  changeLog: ["change log entry", "change log entries"],
  counter: ["counter", "counters"],
  setting: ["setting", "settings"],
};

/** Closing lines of a dump. */
export function dumpSummary(report: DumpReport): SummaryLine[] {
  const { consistency } = report;
  const compression = report.compression === "none" ? "" : ` (${report.compression})`;
  const written = `${formatBytes(report.writtenBytes)}${compression} written`;
  return [
    { text: `Dump metadata into "${report.file ?? "STDOUT"}" succeed`, important: false },
    plain(`volume ${volumeText(report)}`),
    consistency.pointInTime
      ? plain(`consistent as of ${consistency.asOf}: ${consistency.method}`)
      : { text: `  NOT one point in time: ${consistency.method}`, important: true },
    plain(`${countsText(report.counts)}; ${written} in ${formatDuration(report.durationMs)}`),
    ...closingLines(report),
  ];
}

/** Closing lines of a load or a migration. */
export function loadSummary(report: LoadReport): SummaryLine[] {
  const loaded: SummaryLine = report.dryRun
    ? {
        text: `"${report.source}" can be loaded into ${report.target}; nothing was written (dry run)`,
        important: false,
      }
    : { text: `load metadata from "${report.source}" succeed`, important: false };
  const done = report.operation === "migrate" ? "copied" : `${formatBytes(report.readBytes)} read`;
  return [
    { text: `Dumped counters: ${countersText(report.counters.source)}`, important: false },
    { text: `Loaded counters: ${countersText(report.counters.loaded)}`, important: false },
    loaded,
    plain(`volume ${volumeText(report)} in ${report.target}`),
    plain(`${countsText(report.counts)}; ${done} in ${formatDuration(report.durationMs)}`),
    ...(report.verification === undefined ? [] : verificationLines(report.verification)),
    ...closingLines(report),
    ...unsupportedLines(report.unsupported),
  ];
}

function verificationLines({ records, notCompared }: Verification): SummaryLine[] {
  return [
    plain(`verified: ${formatCount(records)} records were read again and are what was written`),
    ...notCompared.map((part) => plain(`not compared: ${part.reason}: ${formatCount(part.records)}`)),
  ];
}

/** Each value that was left out: a finding shows only a few. */
function unsupportedLines({ count, values }: UnsupportedReport): SummaryLine[] {
  const more = count - values.length;
  return [
    ...values.map((value) => ({ text: `  left out: ${unsupportedText(value)}`, important: true })),
    ...(more === 0 ? [] : [{ text: `  left out: ${formatCount(more)} more`, important: true }]),
  ];
}

function closingLines(report: ReportBase): SummaryLine[] {
  return [
    ...report.findings.map((finding) => ({ text: `  ${findingText(finding)}`, important: finding.loss })),
    ...report.nextSteps.map((step) => ({ text: `  next: ${step}`, important: true })),
  ];
}

function plain(text: string): SummaryLine {
  return { text: `  ${text}`, important: false };
}

function volumeText(report: ReportBase): string {
  return `${report.volume.name} (${report.volume.uuid})`;
}

/** `lost: Entries without an inode: 3 (/a, /b, ...)` */
export function findingText(finding: Finding): string {
  // Says of the whole copy what it is; there is nothing to be counted, and it may well have lost nothing.
  if (finding.kind === "not-point-in-time") return finding.text.replace(/^Not/, "NOT");
  const shown = finding.examples.slice(0, 5);
  const more = finding.count > shown.length ? ", ..." : "";
  const examples = shown.length === 0 ? "" : ` (${shown.join(", ")}${more})`;
  return `${finding.loss ? "lost" : "note"}: ${finding.text}: ${formatCount(finding.count)}${examples}`;
}

/** Kinds that say nothing to a user who is told of directories and files. */
const INNER_KINDS: ReadonlySet<string> = new Set([
  "setting",
  "counter",
  "node",
  "edge",
  "parent",
  "sliceRef",
  "dirStat",
]);

/** `40 directories, 300 files, 12 quotas`: only what there is. */
export function countsText(counts: RecordCounts): string {
  const parts: string[] = [];
  const isTree = (counts.directory ?? 0) + (counts.file ?? 0) > 0;
  for (const [kind, [one, many]] of Object.entries(NOUNS) as [keyof RecordCounts, readonly [string, string]][]) {
    const count = counts[kind] ?? 0;
    if (count === 0 || (isTree && INNER_KINDS.has(kind))) continue;
    parts.push(`${formatCount(count)} ${count === 1 ? one : many}`);
  }
  return parts.length === 0 ? "no entries" : parts.join(", ");
}

/** As the reference logs them (docs/spec/cli.md §5). */
export function countersText(counters: CounterValues): string {
  const names = [
    ["UsedSpace", counters.usedSpace],
    ["UsedInodes", counters.usedInodes],
    ["NextInode", counters.nextInode],
    ["NextChunk", counters.nextChunk],
    ["NextSession", counters.nextSession],
    ["NextTrash", counters.nextTrash],
  ];
  return `{${names.map(([name, value]) => `${name}:${value}`).join(" ")}}`;
}
