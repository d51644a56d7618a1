import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { runDecant } from "../support/decant.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlTables } from "../support/mysql-tables.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog } from "../support/postgres-tables.ts";
import { dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { NEW_VOLUME, never } from "./engine-harness.ts";
import { attribute, type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";

const mysql = await requireMysql();
const postgres = (await requirePostgresServer()) ? await startPostgres() : undefined;

const NOBODY = 4294967294;
const name = (text: string): Buffer => Buffer.from(text, "latin1");
const xattr = (inode: bigint, text: string, value = "v") => ({ inode, name: name(text), value: name(value) });
const slices = (count: number): Buffer =>
  encodeSlices(Array.from({ length: count }, (_, i) => ({ pos: i, id: 7n, size: 9, off: 0, len: 1 })));
const edge = (parent: bigint, inode: bigint, text: string, type: number = FileType.regular) => ({
  parent,
  inode,
  type,
  name: name(text),
});

/** A volume of which no other database than SQLite and Redis holds everything. */
const VOLUME: RecordSet = {
  counter: [
    { name: "nextInode", value: 100n },
    { name: "nextChunk", value: 100n },
  ],
  node: [
    { inode: 1n, attribute: NEW_VOLUME.root },
    { inode: 2n, attribute: attribute(FileType.directory, 1n, { gid: NOBODY }) },
    { inode: 3n, attribute: attribute(FileType.regular, 2n, { uid: NOBODY, mode: 0o4755, length: 67_108_869n }) },
    { inode: 4n, attribute: attribute(FileType.blockdev, 2n, { rdev: 2147483648 }) },
    { inode: 5n, attribute: attribute(FileType.symlink, 2n) },
    { inode: 6n, attribute: attribute(FileType.regular, 2n) },
  ],
  edge: [
    edge(1n, 2n, "d", FileType.directory),
    edge(2n, 3n, "f"),
    edge(2n, 4n, "dev", FileType.blockdev),
    edge(2n, 5n, "l", FileType.symlink),
    edge(2n, 6n, "g"),
  ],
  symlink: [{ inode: 5n, target: Buffer.alloc(4097, "t") }],
  xattr: [
    xattr(3n, "user.a"),
    xattr(3n, "user.A", "second"),
    xattr(3n, "user.b\xff", "bytes"),
    xattr(6n, "user.long", "x".repeat(65_536)),
    xattr(6n, "user.z"),
  ],
  chunk: [
    { inode: 3n, index: 0, slices: slices(2731) },
    { inode: 3n, index: 1, slices: slices(1) },
  ],
};

/** A new SQLite database with it. */
async function sourceVolume(): Promise<string> {
  const { url } = newSqliteTarget();
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {}, create: true });
  const loader = await store.openLoader({ signal: never, logger: silentLogger, sliceRefs: "exceptions" });
  for (const batch of toBatches(VOLUME)) await loader.write(batch);
  await loader.finish(SAMPLE_SETTING);
  await store.close();
  return url;
}

interface Target {
  readonly name: string;
  newDatabase(): Promise<string>;
  /** Everything that stands in it. */
  content(url: string): Promise<unknown>;
  readonly empty: unknown;
  /** What it cannot hold of the volume, as the command shows it. */
  readonly lines: readonly string[];
  /** Paths and attributes of the volume that are left. */
  readonly keeps: { readonly entries: readonly string[]; readonly xattrs: readonly string[]; readonly chunks: number };
}

const NUMBER = "the largest number is 2147483647";
const OWNERS = [
  `/d (inode 2): gid ${NOBODY}: ${NUMBER}`,
  `/d/dev (inode 4): device number 2147483648: ${NUMBER}`,
  `/d/f (inode 3): uid ${NOBODY}: ${NUMBER}`,
];

const TARGETS: readonly (Target | undefined)[] = [
  postgres && {
    name: "PostgreSQL",
    newDatabase: async () => postgres.url(await postgres.createDatabase()),
    content: readPostgresCatalog,
    empty: [],
    lines: [...OWNERS, "/d/f (inode 3): extended attribute user.b%FF: its name is not UTF-8"],
    keeps: { entries: ["f", "g", "l"], xattrs: ["user.A", "user.a", "user.long", "user.z"], chunks: 2 },
  },
  mysql && {
    name: "MySQL",
    newDatabase: async () => mysql.url(await mysql.createDatabase()),
    content: (url) => readMysqlTables(mysql, url.slice(url.lastIndexOf("/") + 1)),
    empty: new Map(),
    lines: [
      ...OWNERS,
      '/d/f (inode 3): extended attribute user.a: its name is the same as "user.A" under the collation utf8mb4_general_ci of the database',
      "/d/f (inode 3): extended attribute user.b%FF: its name is not UTF-8",
      "/d/f (inode 3): slices of chunk 0: it has 2731 slices, 2730 are possible",
      "/d/g (inode 6): extended attribute user.long: it has 65536 bytes, 65535 are possible",
      "/d/l (inode 5): target of the link: it has 4097 bytes, 4096 are possible",
    ],
    keeps: { entries: ["f", "g"], xattrs: ["user.A", "user.z"], chunks: 1 },
  },
];

type Entry = {
  attr: Record<string, unknown>;
  entries?: Record<string, Entry>;
  xattrs?: { name: string }[];
  chunks?: unknown[];
};

describe.each(TARGETS.filter((target) => target !== undefined))("a volume that $name cannot hold", (target) => {
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
    expect(run.err).toContain(
      `Cannot write the report of values that cannot be held, ${file}: no such file or directory`,
    );
    expect(await readPostgresCatalog(url)).toEqual([]);
  },
);
