import { describe, expect, test } from "vitest";
import { formatJson } from "../../../src/base/json-text.ts";
import { dumpJson, isIncomplete, loadJson } from "../../../src/cli/report-json.ts";
import { countsText, dumpSummary, findingText, loadSummary } from "../../../src/cli/report-text.ts";
import type { CounterValues, DumpReport, Finding, LoadReport } from "../../../src/operations/report.ts";
import type { Verification } from "../../../src/operations/verify-target.ts";

const LOSS: Finding = {
  kind: "missing-node",
  text: "Entries without an inode",
  count: 1200,
  examples: ["/a", "/b"],
  loss: true,
};

const DUMP: DumpReport = {
  operation: "dump",
  source: "redis://h:6379/1",
  file: "x.json.gz",
  format: "json",
  compression: "gzip",
  documentBytes: 5000,
  writtenBytes: 2048,
  consistency: { pointInTime: true, method: "one read transaction", asOf: "2026-11-24T10:00:00.000Z" },
  volume: { name: "v", uuid: "u" },
  counts: { directory: 1, file: 1500, edge: 3000 },
  durationMs: 1234.5,
  findings: [],
  nextSteps: [],
};

const COUNTERS: CounterValues = {
  usedSpace: 1n << 62n,
  usedInodes: 2n,
  nextInode: 3n,
  nextChunk: 4n,
  nextSession: 5n,
  nextTrash: 6n,
};

const LOAD: LoadReport = {
  operation: "load",
  source: "x.json",
  target: "sqlite3://n.db",
  dryRun: false,
  resumedBatches: 0,
  readBytes: 1024,
  counters: { source: COUNTERS, loaded: COUNTERS },
  unsupported: { count: 0, values: [] },
  volume: { name: "v", uuid: "u" },
  counts: {},
  durationMs: 10,
  findings: [LOSS],
  nextSteps: ["Do this"],
};

describe("the closing report of a dump", () => {
  test("says what was written and of which moment", () => {
    expect(dumpSummary(DUMP).map((line) => line.text)).toEqual([
      'Dump metadata into "x.json.gz" succeed',
      "  volume v (u)",
      "  consistent as of 2026-11-24T10:00:00.000Z: one read transaction",
      "  1 directory, 1,500 files; 2.0 KiB (gzip) written in 1.2 s",
    ]);
    expect(dumpSummary(DUMP).some((line) => line.important)).toBe(false);
  });

  test("does not hide that it is no point in time", () => {
    const lines = dumpSummary({
      ...DUMP,
      file: undefined,
      consistency: { ...DUMP.consistency, pointInTime: false, method: "keys changed all the time" },
    });
    expect(lines[0]!.text).toBe('Dump metadata into "STDOUT" succeed');
    expect(lines[2]).toEqual({ text: "  NOT one point in time: keys changed all the time", important: true });
  });
});

describe("the closing report of a load", () => {
  test("of a migration has no file that was read, and says when it is no point in time", () => {
    const text = "Not one point in time: keys were read one after the other";
    const lines = loadSummary({
      ...LOAD,
      operation: "migrate",
      readBytes: 0,
      findings: [{ kind: "not-point-in-time", text, count: 1, examples: [], loss: true }],
    });
    expect(lines.slice(4, 6)).toEqual([
      { text: "  no entries; copied in 10 ms", important: false },
      { text: "  NOT one point in time: keys were read one after the other", important: true },
    ]);
  });

  test("has the reference's sentences, the losses and the next steps", () => {
    const lines = loadSummary(LOAD);
    expect(lines.map((line) => line.text)).toEqual([
      "Dumped counters: {UsedSpace:4611686018427387904 UsedInodes:2 NextInode:3 NextChunk:4 NextSession:5 NextTrash:6}",
      "Loaded counters: {UsedSpace:4611686018427387904 UsedInodes:2 NextInode:3 NextChunk:4 NextSession:5 NextTrash:6}",
      'load metadata from "x.json" succeed',
      "  volume v (u) in sqlite3://n.db",
      "  no entries; 1.0 KiB read in 10 ms",
      "  lost: Entries without an inode: 1,200 (/a, /b, ...)",
      "  next: Do this",
    ]);
    expect(lines.filter((line) => line.important)).toHaveLength(2);
  });

  test("says what was read again, and what is not compared", () => {
    const verification: Verification = {
      verified: true,
      records: 1234,
      kinds: { node: { records: 1000, bytes: 82_000 }, edge: { records: 234, bytes: 7000 } },
      notCompared: [{ kind: "sliceRef", records: 5000, reason: "slices with one reference" }],
    };
    expect(loadSummary({ ...LOAD, verification }).map((line) => line.text)).toEqual([
      ...loadSummary(LOAD)
        .slice(0, 5)
        .map((line) => line.text),
      "  verified: 1,234 records were read again and are what was written",
      "  not compared: slices with one reference: 5,000",
      "  lost: Entries without an inode: 1,200 (/a, /b, ...)",
      "  next: Do this",
    ]);
    expect(JSON.parse(formatJson(loadJson({ ...LOAD, verification })))).toMatchObject({ verification });
    expect(JSON.parse(formatJson(loadJson(LOAD)))).toMatchObject({ verification: null });
  });

  test("of a dry run says that nothing was written", () => {
    expect(loadSummary({ ...LOAD, dryRun: true })[2]!.text).toBe(
      '"x.json" can be loaded into sqlite3://n.db; nothing was written (dry run)',
    );
  });
});

test("a finding without loss is a note and does not make a report incomplete", () => {
  const note = { ...LOSS, loss: false, count: 1, examples: [] };
  expect(findingText(note)).toBe("note: Entries without an inode: 1");
  expect(isIncomplete({ ...LOAD, findings: [note] })).toBe(false);
  expect(isIncomplete(LOAD)).toBe(true);
});

test("counts name everything where there are no directories and files", () => {
  expect(countsText({ node: 2, edge: 1, setting: 1 })).toBe("2 inodes, 1 directory entry, 1 setting");
});

test("the JSON documents are complete and keep all digits", () => {
  const dumped = JSON.parse(formatJson(dumpJson(DUMP))) as Record<string, unknown>;
  expect(dumped).toEqual({ ...DUMP, manifest: null, durationMs: 1235 });
  expect(formatJson(loadJson(LOAD))).toContain('"usedSpace": 4611686018427387904');
  expect(JSON.parse(formatJson(dumpJson({ ...DUMP, file: undefined })))).toMatchObject({ file: null });
});
