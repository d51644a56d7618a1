import type { JsonValue } from "../base/json-text.ts";
import type { ConvertReport } from "../operations/convert.ts";
import type { CounterValues, DumpReport, Finding, LoadReport, ReportBase } from "../operations/report.ts";
import { unsupportedJson } from "../operations/unsupported-values.ts";
import type { Verification } from "../operations/verify-target.ts";

/** The document of `dump --json` (docs/json-output.md). */
export function dumpJson(report: DumpReport): JsonValue {
  return {
    operation: report.operation,
    source: report.source,
    file: report.file ?? null,
    format: report.format,
    compression: report.compression,
    documentBytes: report.documentBytes,
    writtenBytes: report.writtenBytes,
    consistency: { ...report.consistency },
    manifest: report.manifest ?? null,
    ...baseJson(report),
  };
}

/** The document of `load --json` and `migrate --json` (docs/json-output.md). */
export function loadJson(report: LoadReport): JsonValue {
  return {
    operation: report.operation,
    source: report.source,
    target: report.target,
    dryRun: report.dryRun,
    resumedBatches: report.resumedBatches,
    readBytes: report.readBytes,
    counters: { source: countersJson(report.counters.source), loaded: countersJson(report.counters.loaded) },
    unsupported: {
      count: report.unsupported.count,
      values: report.unsupported.values.map((value) => unsupportedJson(value, false)),
    },
    verification: report.verification === undefined ? null : verificationJson(report.verification),
    ...baseJson(report),
  };
}

/** The document of `convert --json` (docs/json-output.md). */
export function convertJson(report: ConvertReport): JsonValue {
  return {
    operation: report.operation,
    source: report.source,
    sourceFormat: report.sourceFormat,
    file: report.file ?? null,
    format: report.format,
    compression: report.compression,
    encrypted: report.encrypted,
    readBytes: report.readBytes,
    documentBytes: report.documentBytes,
    writtenBytes: report.writtenBytes,
    ...baseJson(report),
  };
}

function verificationJson({ verified, records, kinds, notCompared }: Verification): JsonValue {
  return {
    verified,
    records,
    kinds: Object.fromEntries(Object.entries(kinds).map(([kind, digest]) => [kind, { ...digest }])),
    notCompared: notCompared.map((part) => ({ ...part })),
  };
}

function countersJson(counters: CounterValues): JsonValue {
  return {
    usedSpace: counters.usedSpace,
    usedInodes: counters.usedInodes,
    nextInode: counters.nextInode,
    nextChunk: counters.nextChunk,
    nextSession: counters.nextSession,
    nextTrash: counters.nextTrash,
  };
}

function baseJson(report: ReportBase): { readonly [member: string]: JsonValue } {
  return {
    volume: { ...report.volume },
    counts: { ...report.counts } as { [kind: string]: number },
    durationMs: Math.round(report.durationMs),
    findings: findingsJson(report.findings),
    nextSteps: [...report.nextSteps],
  };
}

export function findingsJson(findings: readonly Finding[]): JsonValue {
  return findings.map(({ kind, text, count, examples, loss }) => ({
    kind,
    text,
    count,
    examples: [...examples],
    loss,
  }));
}

/** True when the command must end with exit code 3. */
export function isIncomplete(report: ReportBase): boolean {
  return report.findings.some((finding) => finding.loss);
}
