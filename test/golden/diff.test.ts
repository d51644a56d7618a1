import { describe, expect, test } from "vitest";
import { differences } from "../support/compare-volumes.ts";
import { fixture } from "../support/repository.ts";

/** A real U+FFFD in a name loses two bytes in a JSON dump of the reference (docs/spec/json-dump.md §13.2). */
const LOST_NAMES = ["R /names/%EF%BF%BD -> /names/%EF", "R /names/%EF%BF%BD%EF%BF%BDx -> /names/%EF%EFx"];

/** A `%41` in the target of a link is decoded in binary dumps from Redis and KV engines (docs/spec/binary-dump.md §9.2). */
const DECODED_TARGETS = [
  "M /clones/links/percent-target (target 100%25-A-%25zz-%25 -> 100%2525-%2541-%25zz-%25)",
  "M /links/percent-target (target 100%25-A-%25zz-%25 -> 100%2525-%2541-%25zz-%25)",
];

describe("the binary and the JSON dump of one volume", () => {
  test.each([
    ["golden/dumps/golden.keep.bin", "golden/dumps/golden.keep.json", [...DECODED_TARGETS, ...LOST_NAMES]],
    ["golden/native/natsqlite.keep.bin", "golden/native/natsqlite.keep.json", LOST_NAMES],
    ["golden/native/natpg.keep.bin", "golden/native/natpg.keep.json", LOST_NAMES],
    ["golden/native/natmysql.keep.bin", "golden/native/natmysql.keep.json", LOST_NAMES],
    ["golden/native/natbadger.keep.bin", "golden/native/natbadger.keep.json", [...DECODED_TARGETS, ...LOST_NAMES]],
    ["golden/native/natetcd.keep.bin", "golden/native/natetcd.keep.json", [...DECODED_TARGETS, ...LOST_NAMES]],
    ["legacy/legacy-1-3-0.keep.bin", "legacy/legacy-1-3-0.keep.json", LOST_NAMES],
  ])("%s and %s differ only where the reference has lost something", async (binary, json, lines) => {
    const found = await differences(fixture(binary), fixture(json));
    expect(found.lines).toEqual(lines);
    expect(found.report.complete).toBe(true);
    const back = await differences(fixture(json), fixture(binary));
    expect(back.lines.length).toBe(lines.length);
  });
});
