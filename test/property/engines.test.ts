import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameVolume } from "../support/compare-volumes.ts";
import { requireEngines, type TestEngine } from "../support/test-engines.ts";
import { dumpText, loadText, newSqlite, quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { type InodePlan, type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const MEMORY = 16 * 1024 * 1024;

// The SQL servers, which cannot hold all of it, are in sql-servers.test.ts.
const engines = await requireEngines(["Redis", "SQLite", "etcd", "TiKV", "BadgerDB"]);

/** The text of a volume's dump. Its counters are those that loading it computes, so it must come back as it is. */
async function textOf(plan: VolumePlan, { holdsEmptyValues }: TestEngine): Promise<Buffer> {
  return encodeRecords(volumeRecords(holdsEmptyValues ? plan : withValues(plan)), MEMORY);
}

/** The same volume without attributes that have no value. */
function withValues(plan: VolumePlan): VolumePlan {
  const fill = (inode: InodePlan): InodePlan => ({
    ...inode,
    xattrs: inode.xattrs.map(({ name, value }) => ({ name, value: value.length === 0 ? Uint8Array.of(0) : value })),
  });
  return { ...plan, root: fill(plan.root), steps: plan.steps.map((step) => ({ ...step, inode: fill(step.inode) })) };
}

/** Expects equal dumps, and shows the first place where they differ. */
function expectSameText(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  expect(actual.toString("latin1").split("\n")).toEqual(expected.toString("latin1").split("\n"));
}

describe.each(engines)("a volume of any content, in $name,", (engine) => {
  test("is dumped as it was loaded, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), async (plan) => {
        const text = await textOf(plan, engine);
        const url = await engine.createDatabase();
        const loaded = await loadText(url, text);
        expect(loaded.counters.loaded).toEqual(loaded.counters.source);
        const { text: dumped, report } = await dumpText(url);
        expectSameText(dumped, text);
        expect(report.findings).toEqual([]);
      }),
      runsOf(25),
    );
  });

  test("is the same after a migration from SQLite and back", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), async (plan) => {
        const text = await textOf(plan, engine);
        const source = newSqlite().url;
        await loadText(source, text);
        const between = await engine.createDatabase();
        const target = newSqlite().url;
        for (const [from, to] of [
          [source, between],
          [between, target],
        ] as const) {
          const report = await migrate({ source: from, target: to }, quietContext());
          // Redis cannot always prove an instant, and then says so.
          const losses = report.findings.filter(({ loss, kind }) => loss && kind !== "not-point-in-time");
          expect(losses).toEqual([]);
          await expectSameVolume(from, to);
        }
        expectSameText((await dumpText(target)).text, text);
      }),
      runsOf(12),
    );
  });

  test("gives the same dump below a tiny memory ceiling", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(200), fc.integer({ min: 256, max: 1024 }), async (plan, kib) => {
        const text = await textOf(plan, engine);
        const memory = { maxBytes: kib * 1024, tmpDir: newSqlite().directory };
        const url = await engine.createDatabase();
        await loadText(url, text, quietContext({ memory }));
        expectSameText((await dumpText(url, quietContext({ memory }))).text, text);
      }),
      runsOf(8),
    );
  });
});
