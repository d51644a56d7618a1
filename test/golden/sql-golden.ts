import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { type PermittedDifference, REPLACEMENT_CHARACTERS, withPermittedDifferences } from "./permitted-differences.ts";
import { comparableLines, dumpFacts, expectedTables, removeTrashRoot } from "./reference-load.ts";

/** A SQL server whose fixtures are SQL files. Every URL is one that decant and the reference understand. */
export interface SqlGoldenServer {
  /** Makes a database of a SQL file; returns its META-URL. */
  restore(file: string): Promise<string>;
  createDatabase(): Promise<string>;
  /** Rows by table, in the form of test/support/sqlite-tables.ts. */
  readTables(url: string): Promise<Map<string, string[]>>;
  /** Everything else that a client could find out of place. */
  readCatalog(url: string): Promise<unknown>;
}

export interface SqlGoldenFixtures {
  readonly name: string;
  /** Ending of the SQL files: `postgres`. */
  readonly ending: string;
  /** SQL file, reference dump and the options it was made with. */
  readonly native: readonly (readonly [
    source: string,
    reference: string,
    options: DumpOptions,
    permitted: readonly PermittedDifference[],
  ])[];
}

/** Natively made volumes of one engine below test/fixtures/golden/native. */
export function nativeDumps(name: string, ending: string): SqlGoldenFixtures["native"] {
  const source = `golden/native/${name}.${ending}.sql`;
  return [
    [source, `golden/native/${name}.keep.json`, { keepSecretKey: true }, REPLACEMENT_CHARACTERS],
    [source, `golden/native/${name}.fast.json`, { keepSecretKey: true }, REPLACEMENT_CHARACTERS],
    [source, `golden/native/${name}.skip-trash.json`, { keepSecretKey: true, skipTrash: true }, REPLACEMENT_CHARACTERS],
  ];
}

const DUMPS: readonly string[] = [
  "golden/dumps/golden.keep.json",
  "golden/dumps/golden.json.gz",
  "golden/dumps/golden.skip-trash.json",
  "golden/dumps/golden.subdir-docs.json",
  "golden/native/natpg.keep.json",
  "golden/native/natmysql.keep.json",
  "golden/native/natetcd.keep.json",
  "golden/changelog/chlogpg.json",
  "legacy/legacy-1-3-0.keep.json",
  "legacy/ancient.by-1.4.2.json",
  "encrypted/encaes.json",
  "malformed/base.json",
];

/** The golden volume and its relatives, from and to one SQL server. `server` is undefined where it had to be skipped. */
export async function describeSqlGolden(
  { name, ending, native }: SqlGoldenFixtures,
  server: SqlGoldenServer | undefined,
): Promise<void> {
  const client = server === undefined ? undefined : await realClient();

  describe.skipIf(server === undefined)(`${name}: a dump has the bytes of the reference's`, () => {
    test.each(native)("%s: %s", async (source, reference, options, permitted) => {
      const { bytes, report } = await dumpVolume(await server!.restore(fixture(source)), options);
      expectSameBytes(bytes, withPermittedDifferences(readFileSync(fixture(reference)), permitted));
      expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
      expect(report.consistency.pointInTime).toBe(true);
    });

    // Listed in test/fixtures/golden/README.md: link counts of a cloned hard-linked symlink, a time after 2262, a target that
    // the binary dump unescaped.
    test.each([
      [`golden/engines/golden-json.${ending}.sql`, ["1369", "1377", "1243"]],
      // the name stands on another line than the inode
      [`golden/engines/golden-bin.${ending}.sql`, ["1243", '"symlink": "100%25-A-%25zz-%25"']],
    ])("of the reference's own load of it, but for what that load changes: %s", async (source, changed) => {
      const { bytes } = await dumpVolume(await server!.restore(fixture(source)), { keepSecretKey: true });
      const got = treeLines(bytes);
      const wanted = treeLines(readFileSync(fixture("golden/dumps/golden.keep.json")));
      expect(got.length).toBe(wanted.length);
      const differing = got.filter((line, i) => line !== wanted[i]).filter((line) => !/^ *"%EF/.test(line));
      expect(new Set(differing.map(inodeOf))).toEqual(new Set(changed));
    });
  });

  describe.skipIf(client === undefined)(`${name}: a loaded volume`, () => {
    test.each(DUMPS)("has the rows and the schema of the reference's load of %s, and its dump", async (dump) => {
      const [ours, theirs] = [await server!.createDatabase(), await server!.createDatabase()];
      await loadVolumeFile(ours, fixture(dump));
      await mustRun(client!, ["load", theirs, fixture(dump)]);
      const facts = dumpFacts(fixture(dump));
      const rows = await server!.readTables(ours);
      if (!facts.hasTrash) removeTrashRoot(rows);
      for (const [table, expected] of expectedTables(await server!.readTables(theirs), facts)) {
        expect([table, rows.get(table)]).toEqual([table, expected]);
      }
      expect(await server!.readCatalog(ours)).toEqual(await server!.readCatalog(theirs));
      const dumps = [await dumpByReference(client!, ours), await dumpByReference(client!, theirs)];
      const [got, wanted] = dumps.map((bytes) => comparableLines(bytes, facts));
      expect(got).toEqual(wanted);
    });
  });

  describe.skipIf(server === undefined)(`${name}: without the reference client, a loaded volume`, () => {
    test("has the rows and the schema of the fixture that the reference made of the same dump", async () => {
      const ours = await server!.createDatabase();
      const theirs = await server!.restore(fixture(`golden/engines/golden-json.${ending}.sql`));
      const dump = fixture("golden/dumps/golden.keep.json");
      await loadVolumeFile(ours, dump);
      const rows = await server!.readTables(ours);
      for (const [table, expected] of expectedTables(await server!.readTables(theirs), dumpFacts(dump))) {
        expect([table, rows.get(table)]).toEqual([table, expected]);
      }
      expect(await server!.readCatalog(ours)).toEqual(await server!.readCatalog(theirs));
    });

    test("is refused where there is no room for a value, and the database stays as it was", async () => {
      const ours = await server!.createDatabase();
      const load = loadVolumeFile(ours, fixture("golden/native/awkward.keep.json"));
      await expect(load).rejects.toMatchObject({ code: "DECANT_E_UNSUPPORTED_VALUE" });
      expect(await server!.readTables(ours)).toEqual(new Map());
    });
  });
}

async function dumpByReference(client: string, url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}

function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}

const inodeOf = (line: string): string => /"inode":(\d+)/.exec(line)?.[1] ?? line.trim();
