import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { runDecant } from "../support/decant.ts";
import { readPostgresCatalog } from "../support/postgres-tables.ts";
import { dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { NEW_VOLUME, never } from "./engine-harness.ts";
import { type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";
import { mysql, postgres, sourceVolume, TARGETS } from "./unsupported-volume.ts";

type Entry = {
  attr: Record<string, unknown>;
  entries?: Record<string, Entry>;
  xattrs?: { name: string }[];
  chunks?: unknown[];
};

describe.each(TARGETS)("a volume that $name cannot hold", (target) => {
  test("is refused as a whole, with everything that cannot be held named, and nothing is left of it", async () => {
    const url = await target.newDatabase();
    const run = await runDecant(["migrate", await sourceVolume(), url]);
    expect(run.code).toBe(6);
    const lines = run.err.split("\n");
    const start = lines.findIndex((line) => line.includes("error:"));
    expect(lines[start]).toBe(
      `decant: error: ${target.name} cannot hold ${target.lines.length} values of this volume; nothing was loaded`,
    );
    expect(lines.slice(start + 1, start + 1 + target.lines.length)).toEqual(target.lines.map((line) => `  ${line}`));
    expect(await target.content(url)).toEqual(target.empty);
    expect((await runDecant(["status", url])).code).toBe(4);
  });

  test("is checked by a dry run in the same way", async () => {
    const url = await target.newDatabase();
    const run = await runDecant(["migrate", await sourceVolume(), url, "--dry-run", "--json"]);
    expect(run.code).toBe(6);
    const { error } = JSON.parse(run.out) as { error: { code: string; details: string[] } };
    expect(error).toMatchObject({ code: "DECANT_E_UNSUPPORTED_VALUE", details: target.lines });
    expect(await target.content(url)).toEqual(target.empty);
  });

  test("is loaded without it when that is asked for, and the report has all that is missing", async () => {
    const url = await target.newDatabase();
    const report = join(temporaryDirectory(), "report.jsonl");
    const args = ["--on-unsupported", "skip", "--unsupported-report", report, "--json"];
    const run = await runDecant(["migrate", await sourceVolume(), url, ...args]);
    expect(run.code).toBe(3);
    const { unsupported, findings } = JSON.parse(run.out) as {
      unsupported: { count: number; values: object[] };
      findings: { kind: string; loss: boolean; count: number }[];
    };
    expect(unsupported.count).toBe(target.lines.length);
    const lost = findings.filter(({ kind }) => kind.startsWith("unsupported-"));
    expect(lost.reduce((sum, { count }) => sum + count, 0)).toBe(target.lines.length);
    expect(lost.every(({ loss }) => loss)).toBe(true);
    const written = readFileSync(report, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(written).toMatchObject(unsupported.values);
    const bytes = written.find(({ kind, name: text }) => kind === "xattr" && text === "user.b%FF");
    expect(bytes).toMatchObject({ nameBase64: "dXNlci5i/w==", valueBase64: "Ynl0ZXM=", path: "/d/f", inode: 3 });

    const { bytes: dump, report: dumped } = await dumpVolume(url);
    expect(dumped.findings.filter(({ loss }) => loss)).toEqual([]);
    const directory = (JSON.parse(dump.toString()) as { FSTree: Entry }).FSTree.entries!.d!;
    const { entries } = directory;
    expect(Object.keys(entries!)).toEqual(target.keeps.entries);
    expect(directory.attr).toMatchObject({ gid: 65534 });
    expect(entries!.f!.attr).toMatchObject({ uid: 65534, mode: 0o755, length: 67_108_869 });
    const names = [entries!.f!, entries!.g!].flatMap(({ xattrs }) => (xattrs ?? []).map((x) => x.name));
    expect(names).toEqual(target.keeps.xattrs);
    expect(entries!.f!.chunks).toHaveLength(target.keeps.chunks);
  });

  test("is named to the end of a dump that is piped in, too", async () => {
    const { bytes } = await dumpVolume(await sourceVolume());
    const url = await target.newDatabase();
    const run = await runDecant(["load", url], { input: bytes });
    expect(run.code).toBe(6);
    // A JSON dump has only valid names: U+FFFD stands for what is not.
    for (const line of target.lines.filter((text) => !text.includes("not UTF-8"))) expect(run.err).toContain(line);
    expect(await target.content(url)).toEqual(target.empty);
  });
});

describe.skipIf(mysql === undefined)("names of extended attributes in MySQL", () => {
  const namesOf = async (names: readonly string[], options: string) => {
    const { url } = newSqliteTarget();
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {}, create: true });
    const loader = await store.openLoader({ signal: never, logger: silentLogger, sliceRefs: "exceptions" });
    const set: RecordSet = {
      node: [{ inode: 1n, attribute: NEW_VOLUME.root }],
      xattr: names.map((text) => ({ inode: 1n, name: Buffer.from(text), value: Buffer.from("v") })),
    };
    for (const batch of toBatches(set)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
    await store.close();
    const target = mysql!.url(await mysql!.createDatabase(options));
    const report = await migrate({ source: url, target, unsupported: { action: "skip" } }, createContext({ env: {} }));
    const stored = await mysql!.query(
      "SELECT name FROM jfs_xattr ORDER BY id",
      target.slice(target.lastIndexOf("/") + 1),
    );
    return {
      lost: report.unsupported.values.map((value) => value.name!.toString()),
      stored: stored.map(([text]) => text),
    };
  };

  test.each([
    ["utf8mb4_general_ci", ["a", "a ", "A", "b"], ["a ", "a"]],
    ["utf8mb4_bin", ["a", "A", "b"], []],
    ["utf8mb4_unicode_ci", ["stra\u00dfe", "strasse", "\u00e9", "e"], ["stra\u00dfe", "\u00e9"]],
    ["utf8mb4_nopad_bin", ["a", "a "], []],
    ["latin1_swedish_ci", ["\u00e9", "\u65e5", "\u672c", "?"], ["\u65e5", "\u672c"]],
  ])("are compared as the database's collation %s does", async (collation, names, lost) => {
    const characterSet = collation.slice(0, collation.indexOf("_"));
    const result = await namesOf(names, `CHARACTER SET ${characterSet} COLLATE ${collation}`);
    expect(new Set(result.lost)).toEqual(new Set(lost));
    expect(result.lost.length + result.stored.length).toBe(names.length);
  });
});

test("wrong arguments are refused before anything is opened", async () => {
  const run = await runDecant([
    "migrate",
    "sqlite3:///nowhere.db",
    "postgres://nobody@/x",
    "--on-unsupported",
    "ignore",
  ]);
  expect(run.code).toBe(2);
  expect(run.err).toContain('Invalid value "ignore" for "on-unsupported": it must be stop or skip');
});

test.skipIf(postgres === undefined)(
  "a report that cannot be written ends the command before anything is loaded",
  async () => {
    const url = postgres!.url(await postgres!.createDatabase());
    const file = join(temporaryDirectory(), "missing", "report.jsonl");
    const run = await runDecant(["migrate", await sourceVolume(), url, "--unsupported-report", file]);
    expect(run.code).toBe(7);
    expect(run.err).toContain(`Cannot write the report ${file}: no such file or directory`);
    expect(await readPostgresCatalog(url)).toEqual([]);
  },
);
