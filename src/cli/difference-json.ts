import type { JsonValue } from "../base/json-text.ts";
import {
  type Difference,
  type DiffReport,
  type DiffSide,
  type FactChange,
  type FactTime,
  type FactValue,
  isTreeChange,
} from "../operations/diff.ts";
import { decodeAclRule } from "../volume/acl.ts";
import { printableName } from "../volume/path.ts";
import { factTimeText, pathText } from "./difference-text.ts";
import { findingsJson } from "./report-json.ts";

/** One difference as one line of `diff --json` (docs/json-output.md). */
export function differenceJson(difference: Difference): JsonValue {
  if (!isTreeChange(difference)) {
    const { kind, name, from, to, secret } = difference;
    return { change: kind, name, from: from ?? null, to: to ?? null, secret };
  }
  const { kind, path, from, inode, type, changes } = difference;
  return {
    change: kind,
    path: pathText(path),
    from: from === undefined ? undefined : pathText(from),
    inode,
    type,
    facts: changes.length === 0 ? undefined : changes.map(factJson),
  };
}

function factJson(change: FactChange): JsonValue {
  const { fact, name, from, to } = change;
  return {
    fact,
    name: name === undefined ? undefined : printableName(name),
    from: factValue(change, from),
    to: factValue(change, to),
  };
}

function factValue({ fact }: FactChange, value: FactValue): JsonValue {
  if (value === null || typeof value !== "object") return value;
  if (!Buffer.isBuffer(value)) return factTimeText(value as FactTime);
  if (fact !== "acl" && fact !== "default-acl") return printableName(value);
  const { owner, group, other, mask, users, groups } = decodeAclRule(value);
  const list = (entries: typeof users): JsonValue => entries.map(({ id, perm }) => ({ id, perm }));
  return { owner, group, other, mask, users: list(users), groups: list(groups) };
}

/** The last line of `diff --json`. */
export function diffJson(report: DiffReport): JsonValue {
  return {
    operation: report.operation,
    equal: report.equal,
    complete: report.complete,
    counts: { ...report.counts },
    from: sideJson(report.from),
    to: sideJson(report.to),
    durationMs: Math.round(report.durationMs),
  };
}

function sideJson(side: DiffSide): JsonValue {
  return {
    source: side.source,
    volume: { ...side.volume },
    entries: side.entries,
    findings: findingsJson(side.findings),
  };
}
