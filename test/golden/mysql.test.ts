import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog, readMysqlTables } from "../support/mysql-tables.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts, expectedTables, TRASH_ROOT } from "./reference-load.ts";

const server = await requireMysql();
const client = server === undefined ? undefined : await realClient();

const NATIVE: readonly [reference: string, options: DumpOptions][] = [
  ["golden/native/natmysql.keep.json", { keepSecretKey: true }],
  ["golden/native/natmysql.fast.json", { keepSecretKey: true }],
  ["golden/native/natmysql.skip-trash.json", { keepSecretKey: true, skipTrash: true }],
];

/** Lines of the trees. */
function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}

const inodeOf = (line: string): string => /"inode":(\d+)/.exec(line)?.[1] ?? line.trim();

describe.skipIf(server === undefined)("a dump of a MySQL database has the bytes of the reference's", () => {
  test.each(NATIVE)("%s", async (reference, options) => {
    const database = await server!.restore(fixture("golden/native/natmysql.mysql.sql"));
    const { bytes, report } = await dumpVolume(server!.url(database), options);
    expectSameBytes(bytes, withPermittedDifferences(readFileSync(fixture(reference)), REPLACEMENT_CHARACTERS));
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    expect(report.consistency.pointInTime).toBe(true);
  });

  // Listed in test/fixtures/golden/README.md: link counts of a cloned hard-linked symlink, a time after 2262, a target that
  // the binary dump unescaped.
  test.each([
    ["golden/engines/golden-json.mysql.sql", ["1369", "1377", "1243"]],
    ["golden/engines/golden-bin.mysql.sql", ['"symlink": "100%25-A-%25zz-%25"', "1243"]],
  ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
    const database = await server!.restore(fixture(source));
    const { bytes } = await dumpVolume(server!.url(database), { keepSecretKey: true });
    const got = treeLines(bytes);
    const wanted = treeLines(readFileSync(fixture("golden/dumps/golden.keep.json")));
    expect(got.length).toBe(wanted.length);
    const differing = got.filter((line, i) => line !== wanted[i]).filter((line) => !/^ *"%EF/.test(line));
    expect(new Set(differing.map(inodeOf))).toEqual(new Set(changed));
  });
});

const DUMPS: readonly string[] = [
  "golden/dumps/golden.keep.json",
  "golden/dumps/golden.json.gz",
  "golden/dumps/golden.skip-trash.json",
  "golden/dumps/golden.subdir-docs.json",
  "golden/native/natmysql.keep.json",
  "golden/native/natetcd.keep.json",
  "golden/changelog/chlogpg.json",
  "legacy/legacy-1-3-0.keep.json",
  "legacy/ancient.by-1.4.2.json",
  "encrypted/encaes.json",
  "malformed/base.json",
];

/** A dump by the reference client. */
async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}

describe.skipIf(client === undefined)("a volume loaded into MySQL", () => {
  test.each(DUMPS)("has the rows and the schema of the reference's load of %s, and its dump", async (dump) => {
    const [ours, theirs] = [await server!.createDatabase(), await server!.createDatabase()];
    await loadVolumeFile(server!.url(ours), fixture(dump));
    await mustRun(client!, ["load", server!.url(theirs), fixture(dump)]);
    const facts = dumpFacts(fixture(dump));
    const rows = await readMysqlTables(server!, ours);
    if (!facts.hasTrash) removeTrashRoot(rows);
    for (const [table, expected] of expectedTables(await readMysqlTables(server!, theirs), facts)) {
      expect([table, rows.get(table)]).toEqual([table, expected]);
    }
    expect(await readMysqlCatalog(server!, ours)).toEqual(await readMysqlCatalog(server!, theirs));
    const dumps = [await dumpByReference(server!.url(ours)), await dumpByReference(server!.url(theirs))];
    const [got, wanted] = dumps.map((bytes) => comparableLines(bytes, facts));
    expect(got).toEqual(wanted);
  });
});

/** Takes the row that the reference does not make for a dump without trash out, after a look at it. */
function removeTrashRoot(tables: Map<string, string[]>): void {
  const nodes = tables.get("jfs_node")!;
  const root = nodes.findIndex((row) => row.startsWith(`inode=${TRASH_ROOT} `));
  expect(nodes[root]).toMatch(/ type=2 flags=0 mode=365 uid=0 gid=0 .* nlink=2 length=4096 rdev=0 parent=1 /);
  nodes.splice(root, 1);
}

describe.skipIf(server === undefined)("without the reference client, a volume loaded into MySQL", () => {
  test("has the rows and the schema of the fixture that the reference made of the same dump", async () => {
    const [ours, theirs] = [
      await server!.createDatabase(),
      await server!.restore(fixture("golden/engines/golden-json.mysql.sql")),
    ];
    const dump = fixture("golden/dumps/golden.keep.json");
    await loadVolumeFile(server!.url(ours), dump);
    const rows = await readMysqlTables(server!, ours);
    for (const [table, expected] of expectedTables(await readMysqlTables(server!, theirs), dumpFacts(dump))) {
      expect([table, rows.get(table)]).toEqual([table, expected]);
    }
    expect(await readMysqlCatalog(server!, ours)).toEqual(await readMysqlCatalog(server!, theirs));
  });

  test("is refused where MySQL has no room for a value, and the database stays empty", async () => {
    const database = await server!.createDatabase();
    const load = loadVolumeFile(server!.url(database), fixture("golden/native/awkward.keep.json"));
    await expect(load).rejects.toMatchObject({ code: "DECANT_E_UNSUPPORTED_VALUE" });
    expect(await readMysqlTables(server!, database)).toEqual(new Map());
  });
});
