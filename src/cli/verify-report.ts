import type { JsonValue } from "../base/json-text.ts";
import { formatBytes, formatCount, formatDuration } from "../base/units.ts";
import type { VerifyReport } from "../operations/verify.ts";
import { countsText } from "./report-text.ts";

/** The document of `verify --json` (docs/verify.md). */
export function verifyJson(report: VerifyReport): JsonValue {
  const { damage } = report;
  return {
    operation: report.operation,
    source: report.source,
    format: report.format ?? null,
    container: report.container ?? null,
    volume: report.volume === undefined ? null : { ...report.volume },
    counts: { ...report.counts } as { [kind: string]: number },
    ok: report.ok,
    problems: report.problems.map(({ kind, text, severity, count, examples }) => {
      return { kind, text, severity, count, examples: [...examples] };
    }),
    damage:
      damage === undefined
        ? null
        : {
            code: damage.code,
            message: damage.message,
            hint: damage.hint ?? null,
            location: { ...damage.location },
          },
    manifest: report.manifest ?? null,
    readBytes: report.readBytes,
    durationMs: Math.round(report.durationMs),
  };
}

/** What `verify` prints. */
export function verifyText(report: VerifyReport): string {
  const lines = [`${report.source}: ${report.ok ? "OK" : "DAMAGED"}`];
  if (report.volume !== undefined) lines.push(`  volume ${report.volume.name} (${report.volume.uuid})`);
  const format = report.format === undefined ? "unknown format" : `${report.format} dump`;
  const container = report.container === undefined ? "" : `, ${report.container}`;
  const read = `${formatBytes(report.readBytes)} read in ${formatDuration(report.durationMs)}`;
  lines.push(`  ${format}${container}; ${read}`);
  if (report.volume !== undefined) lines.push(`  ${countsText(report.counts)}`);
  else lines.push("  what needs the whole file was not checked");
  for (const { severity, text, count, examples } of report.problems) {
    lines.push(`  ${severity}: ${text}: ${formatCount(count)}`);
    for (const example of examples) lines.push(`      ${example}`);
    if (count > examples.length && examples.length > 0) lines.push("      ...");
  }
  if (report.damage?.hint !== undefined) lines.push(`  hint: ${report.damage.hint}`);
  if (report.manifest !== undefined) lines.push(`  compared with ${report.manifest}`);
  return `${lines.join("\n")}\n`;
}
