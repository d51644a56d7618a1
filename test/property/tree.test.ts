import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toText } from "../conformance/engine-records.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { volumePlans } from "../support/volume-plan.ts";
import { consolidateRecords, decodeText, encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const KIB = 1024;
const LARGE = 64 * KIB * KIB;

describe("a volume of any content", () => {
  test("comes back record by record from tree order, text, and consolidation", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), fc.integer({ min: 1, max: 5000 }), async (plan, pieceBytes) => {
        const records = volumeRecords(plan);
        const text = await encodeRecords(records, LARGE);
        const loaded = await consolidateRecords(decodeText(text, pieceBytes), LARGE);
        expect(loaded.findings.all.map(({ kind }) => kind).filter((kind) => kind !== "pending-deletion")).toEqual([]);
        expect(toText(loaded.records)).toEqual(toText(records));
      }),
      runsOf(150),
    );
  });

  test("gives the same bytes and records below tiny memory ceilings as below a large one", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(200), fc.integer({ min: 256, max: 1024 }), async (plan, kib) => {
        const records = volumeRecords(plan);
        const text = await encodeRecords(records, LARGE);
        expect((await encodeRecords(records, kib * KIB)).equals(text)).toBe(true);
        const small = await consolidateRecords(decodeText(text), kib * KIB);
        expect(toText(small.records)).toEqual(toText(records));
      }),
      runsOf(30),
    );
  });
});
