import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  batchesOf,
  binaryFixtures,
  bodiesByType,
  decodeAll,
  encodeAll,
  splitSegments,
} from "../../../support/binary-segments.ts";
import { collectRecords } from "../../../support/collect-records.ts";
import { readReferenceDump, recordTexts } from "../../../support/reference-binary-dump.ts";
import { fixture } from "../../../support/repository.ts";
import { streamOf } from "../../../support/volume-streams.ts";

const files = binaryFixtures();

test("there are binary dumps of every engine among the fixtures", () => {
  expect(files.length).toBeGreaterThan(15);
});

describe.each(files)("%s", (name) => {
  const bytes = readFileSync(fixture(name));

  test("is decoded to what it holds, in pieces of any size", async () => {
    const expected = readReferenceDump(fixture(name));
    for (const pieceBytes of [7, 1000, bytes.length]) {
      const decoded = await decodeAll(bytes, pieceBytes);
      expect(decoded.notes).toEqual([]);
      const records = await collectRecords(streamOf(decoded.batches));
      records.delete("setting");
      expect([...records.keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [kind, list] of expected) expect(recordTexts(records.get(kind)!)).toEqual(recordTexts(list));
    }
  });

  test("has the same bytes in every segment when it is encoded again", async () => {
    const decoded = await decodeAll(bytes);
    const encoded = await encodeAll(decoded.batches);
    const [ours, theirs] = [bodiesByType(encoded), bodiesByType(bytes)];
    for (const [type, body] of theirs) expect(ours.get(type)?.toString("hex")).toBe(body.toString("hex"));
    for (const [type, body] of ours) expect(theirs.has(type) || body.length === 0).toBe(true);
  });

  test("is itself again when it is decoded and encoded twice", async () => {
    const once = await encodeAll((await decodeAll(bytes)).batches, {}, { segmentRecords: 10 });
    const records = await collectRecords(streamOf((await decodeAll(once, 100)).batches));
    const twice = await encodeAll(batchesOf(records), {}, { segmentRecords: 10 });
    expect(twice.equals(once)).toBe(true);
    expect(splitSegments(once).segments.every(({ type }, i, all) => i === 0 || all[i - 1]!.type <= type)).toBe(true);
  });
});
