import { closeSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { differences } from "../support/compare-volumes.ts";
import { makeNamedPipe, openPipeWriter, writePipe } from "../support/named-pipe.ts";
import { type OtherOrder, reorderDump } from "../support/reorder-dump.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

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

describe("a JSON dump in another order than that of its names", () => {
  const golden = fixture("golden/dumps/golden.json");
  const whole = readFileSync(golden);

  function fileOf(document: Buffer): string {
    const file = join(temporaryDirectory(), "other.json");
    writeFileSync(file, document);
    return file;
  }

  /** A few entries are changed, gone, new and renamed. */
  function edited(): Buffer {
    const text = whole.toString("latin1");
    const other = text
      .replace(/("plain": \{\n +"attr": \{"inode":\d+,"type":"regular","mode":)\d+/, "$1256")
      .replace(/\n +"fifo": \{\n.*\n +\},/, "")
      .replace('"cross-chunk": {', '"aaa-cross-chunk": {')
      .replace('"TrashDays": 1', '"TrashDays": 7');
    return Buffer.from(other, "latin1");
  }

  const orders: OtherOrder[] = ["sorted", "reversed"];

  test.each(orders)("(%s) is the same dump, on either side and on both", async (order) => {
    const other = fileOf(reorderDump(whole, order));
    const sides = [
      [golden, other],
      [other, golden],
      [other, fileOf(reorderDump(whole, "sorted"))],
    ] as const;
    for (const [from, to] of sides) {
      for (const renames of [true, false]) {
        const { lines, report } = await differences(from, to, { renames });
        expect(lines).toEqual([]);
        expect(report.from.entries).toBe(396);
        expect(report.to.entries).toBe(396);
      }
    }
  });

  test.each(orders)("(%s) has the differences that it has in order, each once", async (order) => {
    const later = edited();
    const [inOrder, other] = [fileOf(later), fileOf(reorderDump(later, order))];
    for (const options of [{}, { renames: false }, { subdir: "/acl" }, { skipTrash: true }]) {
      const expected = (await differences(golden, inOrder, options)).lines;
      expect(expected.length).toBeGreaterThan(0);
      expect((await differences(golden, other, options)).lines).toEqual(expected);
      const old = fileOf(reorderDump(whole, order));
      expect((await differences(old, inOrder, options)).lines).toEqual(expected);
      expect((await differences(old, other, options)).lines).toEqual(expected);
    }
  });

  test("is sorted beside a stream that is in order, and refused as a stream", async () => {
    const other = reorderDump(whole, "reversed");
    expect((await differences(fileOf(other), { stream: Readable.from([whole]) })).lines).toEqual([]);
    expect((await differences({ stream: Readable.from([whole]) }, fileOf(other), { renames: false })).lines).toEqual(
      [],
    );
    await expect(differences(golden, { stream: Readable.from([other]) })).rejects.toMatchObject({
      code: "DECANT_E_TREE_ORDER",
      hint: expect.stringContaining("give the dump as a file"),
    });
  });

  test("can stand beside a named pipe, which is read only once", async () => {
    const pipe = makeNamedPipe();
    const writer = openPipeWriter(pipe);
    const reading = differences(pipe, fileOf(reorderDump(whole, "reversed")));
    await writePipe(writer, whole);
    await sleep(100);
    closeSync(writer);
    expect((await reading).lines).toEqual([]);
  });
});
