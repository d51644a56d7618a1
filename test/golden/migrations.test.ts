import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { migrate } from "../../src/operations/migrate.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines, type TestEngine } from "../support/test-engines.ts";
import { quietContext } from "../support/volume-files.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { type PermittedDifference, withPermittedDifferences } from "./permitted-differences.ts";

const engines = await requireEngines();

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

/** What a load of a dump stores in an engine. Dumps of several engines are the same. */
const loads = new Map<string, Promise<Content>>();

function loadedContent(target: TestEngine, dump: Buffer): Promise<Content> {
  const key = `${target.name} ${createHash("sha256").update(dump).digest("hex")}`;
  const known = loads.get(key) ?? loadAndRead(target, dump);
  loads.set(key, known);
  return known;
}

async function loadAndRead(target: TestEngine, dump: Buffer): Promise<Content> {
  const file = join(temporaryDirectory(), "source.json");
  writeFileSync(file, dump);
  const url = await target.createDatabase();
  await loadVolumeFile(url, file);
  return target.readContent(url);
}

describe.each(engines)("the golden volume in $name, migrated", (source) => {
  let from = "";
  let before: Content = new Map();
  let dump: Buffer = Buffer.alloc(0);

  beforeAll(async () => {
    from = await source.restore(volumeOf(source));
    before = await source.readContent(from);
    dump = (await dumpVolume(from, { keepSecretKey: true })).bytes;
  });

  test.each(engines)("to $name, has the dump of its source and what a load of that stores", async (target) => {
    const to = await target.createDatabase();
    const report = await migrate({ source: from, target: to }, quietContext());
    // Redis cannot always prove an instant, and then says so.
    expect(report.findings.filter(({ loss, kind }) => loss && kind !== "not-point-in-time")).toEqual([]);
    const expected = withPermittedDifferences(dump, [INODE_WAITING]);
    expectSameBytes((await dumpVolume(to, { keepSecretKey: true })).bytes, expected);
    expectSameContent(await target.readContent(to), await loadedContent(target, dump));
  });

  test("is as it was before", async () => {
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
