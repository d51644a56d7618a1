import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Difference } from "../../src/operations/diff.ts";
import { diff, isTreeChange } from "../../src/operations/diff.ts";
import { differences } from "../support/compare-volumes.ts";
import { type OtherOrder, reorderDump } from "../support/reorder-dump.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const LARGE = 64 * 1024 * 1024;

async function dumpFile(plan: VolumePlan, name: string): Promise<string> {
  const file = join(temporaryDirectory(), name);
  writeFileSync(file, await encodeRecords(volumeRecords(plan), LARGE));
  return file;
}

/** A plan and another one that shares some of its steps: entries stay, go, come, move and change. */
const pairs = fc.tuple(volumePlans(60), volumePlans(20), fc.infiniteStream(fc.nat(9))).map(([plan, other, choices]) => {
  const steps = plan.steps.flatMap((step) => {
    const choice = choices.next().value as number;
    if (choice === 0) return [];
    if (choice === 1) return [{ ...step, parent: step.parent + 1 }];
    if (choice === 2) return [{ ...step, inode: { ...step.inode, uid: (step.inode.uid ^ 1) >>> 0 } }];
    if (choice === 3) return [{ ...step, name: Uint8Array.from([...step.name.subarray(0, 200), 0x31]) }];
    return [step];
  });
  return [plan, { ...plan, steps: [...steps, ...other.steps] }] as const;
});

/** Every entry of a dump by path, as its text: a reading that shares nothing with src/tree. */
function entriesOf(file: string, read: (file: string) => string): Map<string, string> {
  const entries = new Map<string, string>();
  const exact = (text: string): unknown =>
    JSON.parse(text, function (this: unknown, _key, value, context?: { source: string }) {
      return typeof value === "number" ? context!.source : value;
    } as (this: unknown, key: string, value: unknown) => unknown);
  const document = exact(read(file)) as Record<string, Entry>;
  const walk = (path: string, { entries: children, ...rest }: Entry): void => {
    if (path !== "" && path !== "/.trash") {
      const { inode: _, ...attr } = rest.attr;
      entries.set(path, JSON.stringify({ ...rest, attr }));
    }
    for (const [name, child] of Object.entries(children ?? {})) walk(`${path}/${name}`, child);
  };
  walk("", document.FSTree!);
  walk("/.trash", document.Trash!);
  return entries;
}

interface Entry {
  attr: Record<string, string>;
  entries?: Record<string, Entry>;
}

async function treeChanges(from: string, to: string, renames: boolean): Promise<Difference[]> {
  const found: Difference[] = [];
  const ignore = new Set(["inode"] as const);
  await diff({ from, to, renames, ignore: renames ? new Set() : ignore }, quietContext(), async (batch) => {
    found.push(...batch.filter(isTreeChange));
  });
  return found;
}

describe("two volumes of any content", () => {
  test("differ by path where a plain reading of their dumps does", async () => {
    const read = (file: string): string => readFileSync(file, "latin1");
    await fc.assert(
      fc.asyncProperty(pairs, async ([one, two]) => {
        const [from, to] = [await dumpFile(one, "a.json"), await dumpFile(two, "b.json")];
        const [a, b] = [entriesOf(from, read), entriesOf(to, read)];
        const changes = (await treeChanges(from, to, false)).filter(isTreeChange);
        const count = (kind: string): number =>
          changes.filter(
            (change) => change.kind === kind && change.path.length > 1 && !/^\/\.trash$/.test(String(change.path)),
          ).length;
        expect({ added: count("added"), removed: count("removed"), changed: count("changed") }).toEqual({
          added: [...b.keys()].filter((path) => !a.has(path)).length,
          removed: [...a.keys()].filter((path) => !b.has(path)).length,
          changed: [...a].filter(([path, text]) => b.has(path) && b.get(path) !== text).length,
        });
      }),
      runsOf(60),
    );
  });

  test("have the same differences below a tiny memory ceiling, and the reverse ones the other way round", async () => {
    await fc.assert(
      fc.asyncProperty(pairs, fc.integer({ min: 256, max: 1024 }), async ([one, two], kib) => {
        const [from, to] = [await dumpFile(one, "a.json"), await dumpFile(two, "b.json")];
        const large = await differences(from, to);
        const memory = { maxBytes: kib * 1024, tmpDir: temporaryDirectory() };
        expect((await differences(from, to, {}, quietContext({ memory }))).lines).toEqual(large.lines);
        const back = await differences(to, from);
        const { added, removed, renamed, changed, equal } = large.report.counts;
        expect(back.report.counts).toMatchObject({ added: removed, removed: added, renamed, changed, equal });
        // Each entry of a side is the same, changed, renamed, or only there; what is below a renamed directory may be unchanged.
        expect(added + renamed + changed + equal).toBeLessThanOrEqual(large.report.to.entries);
        expect(removed + renamed + changed + equal).toBeLessThanOrEqual(large.report.from.entries);
        expect((await differences(from, from)).lines).toEqual([]);
      }),
      runsOf(40),
    );
  });

  test("have the same differences where their dumps are in another order", async () => {
    await fc.assert(
      fc.asyncProperty(pairs, fc.constantFrom<OtherOrder>("sorted", "reversed"), async ([one, two], order) => {
        const [from, to] = [await dumpFile(one, "a.json"), await dumpFile(two, "b.json")];
        const other = join(temporaryDirectory(), "other.json");
        writeFileSync(other, reorderDump(readFileSync(to), order));
        const memory = { maxBytes: 512 * 1024, tmpDir: temporaryDirectory() };
        expect((await differences(to, other, {}, quietContext({ memory }))).lines).toEqual([]);
        expect((await differences(from, other)).lines).toEqual((await differences(from, to)).lines);
      }),
      runsOf(40),
    );
  });
});
