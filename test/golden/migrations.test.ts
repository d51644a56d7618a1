import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { migrate } from "../../src/operations/migrate.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines, type TestEngine } from "../support/test-engines.ts";
import { quietContext } from "../support/volume-files.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { type PermittedDifference, withPermittedDifferences } from "./permitted-differences.ts";

const engines = await requireEngines();
const pairs = engines.flatMap((source) => engines.map((target) => [source.name, target.name, source, target] as const));

/** The golden volume as the reference's own load has stored it in each engine. */
const volumeOf = ({ ending }: TestEngine): string => fixture(`golden/engines/golden-json.${ending}`);

/** The reference's load forgets that inode 1412 is still in use: it waits for deletion (delfile). */
const INODE_WAITING: PermittedDifference = {
  section: "11",
  why: "the next inode is above those that wait for deletion",
  reference: '    "nextInodes": 1412,',
  decant: '    "nextInodes": 1413,',
  count: 1,
};

describe("the golden volume, migrated", () => {
  test.each(pairs)("from %s to %s, has the dump of its source and what a load of that stores", async (...pair) => {
    const [, , source, target] = pair;
    const [from, to] = [await source.restore(volumeOf(source)), await target.createDatabase()];
    const before = await source.readContent(from);
    const report = await migrate({ source: from, target: to }, quietContext());
    // Redis cannot always prove an instant, and then says so.
    expect(report.findings.filter(({ loss, kind }) => loss && kind !== "not-point-in-time")).toEqual([]);
    const { bytes } = await dumpVolume(from, { keepSecretKey: true });
    const expected = withPermittedDifferences(bytes, [INODE_WAITING]);
    expectSameBytes((await dumpVolume(to, { keepSecretKey: true })).bytes, expected);
    const file = join(temporaryDirectory(), "source.json");
    writeFileSync(file, bytes);
    const loaded = await target.createDatabase();
    await loadVolumeFile(loaded, file);
    expectSameContent(await target.readContent(to), await target.readContent(loaded));
    expectSameContent(await source.readContent(from), before);
  });
});

type Content = Awaited<ReturnType<TestEngine["readContent"]>>;

/** Shows the first lines that differ, not all of them. */
function expectSameContent(actual: Content, expected: Content): void {
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [table, lines] of expected) {
    const got = actual.get(table)!;
    const only = (some: readonly string[], others: readonly string[]): string[] => {
      const known = new Set(others);
      return some.filter((line) => !known.has(line)).slice(0, 3);
    };
    expect([table, got.length, only(got, lines)]).toEqual([table, lines.length, only(lines, got)]);
    expect([table, only(got, lines)]).toEqual([table, []]);
  }
}
