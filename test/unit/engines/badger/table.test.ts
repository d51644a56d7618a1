import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DataError } from "../../../../src/base/errors.ts";
import { badgerStore, readBadgerLines } from "../../../support/badger-directory.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";
import { lines, type Pairs, transaction, writeLog, writeManifest, writeTable } from "./directory.ts";

function numbered(count: number, value: (i: number) => string): Pairs {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`key ${String(i).padStart(6, "0")}`, value(i)]));
}

describe("tables", () => {
  test("give back pairs of all sizes, over many blocks", async () => {
    const directory = temporaryDirectory();
    const pairs = numbered(3000, (i) => (i % 500 === 7 ? "large ".repeat(i * 20) : `value ${i}`.repeat(i % 9)));
    await writeTable(directory, 1, 1n, pairs);
    writeManifest(directory, { 1: 6 });
    expect(await readBadgerLines(directory)).toEqual(lines(pairs));
  });

  test("give back any part", async () => {
    const directory = temporaryDirectory();
    const [even, odd] = [
      numbered(2000, String),
      Object.fromEntries(Object.entries(numbered(2000, String)).map(([key, value]) => [`${key}+`, value])),
    ];
    await writeTable(directory, 1, 1n, even);
    await writeTable(directory, 2, 2n, odd);
    writeManifest(directory, { 1: 6, 2: 5 });
    const all = Object.fromEntries(Object.entries({ ...even, ...odd }).sort(([a], [b]) => (a < b ? -1 : 1)));
    for (const [start, end] of [
      ["key 000100", "key 000100+"],
      ["key 000100", "key 000101"],
      ["key 0015", "key 0017"],
      ["a", "b"],
      ["", "key 000003"],
      ["key 001999", ""],
      ["z", ""],
    ] as const) {
      const wanted = Object.entries(all).filter(([key]) => key >= start && (end === "" || key < end));
      const range = { start: Buffer.from(start), end: Buffer.from(end) };
      expect(await readBadgerLines(directory, range)).toEqual(lines(Object.fromEntries(wanted)));
    }
  });

  test("of one level are read one behind the other, and single keys are found in each", async () => {
    const directory = temporaryDirectory();
    const parts = ["a", "b", "c"].map((letter) => ({ [`${letter}1`]: letter, [`${letter}2`]: letter }));
    for (const [i, part] of parts.entries()) await writeTable(directory, i + 1, 1n, part);
    writeManifest(directory, { 3: 4, 1: 4, 2: 4 });
    expect(await readBadgerLines(directory)).toEqual(lines(Object.assign({}, ...parts)));
    const keys = ["b2", "a1", "c2", "b", "b22", "a", "d"].map((key) => Buffer.from(key));
    const found = await badgerStore(directory).get(keys, new AbortController().signal);
    expect(found.map((value) => value?.toString())).toEqual([
      "b",
      "a",
      "c",
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  test("with any byte changed are an error that names the file", async () => {
    const directory = temporaryDirectory();
    const path = await writeTable(
      directory,
      1,
      1n,
      numbered(40, (i) => `value ${i}`),
    );
    writeManifest(directory, { 1: 0 });
    const good = readFileSync(path);
    const unreported: number[] = [];
    for (let i = 0; i < good.length; i += i < 200 || i > good.length - 200 ? 1 : 13) {
      const damaged = Buffer.from(good);
      damaged[i]! ^= 0x15;
      writeFileSync(path, damaged);
      const error = await readBadgerLines(directory).catch((reason: unknown) => reason);
      if (!(error instanceof DataError) || !error.message.includes("000001.sst")) unreported.push(i);
    }
    expect(unreported).toEqual([]);
  }, 240_000);

  test("that are cut off anywhere are an error", async () => {
    const directory = temporaryDirectory();
    const path = await writeTable(
      directory,
      1,
      1n,
      numbered(40, (i) => `value ${i}`),
    );
    writeManifest(directory, { 1: 0 });
    const good = readFileSync(path);
    for (const size of [0, 3, 11, 100, good.length - 14, good.length - 1]) {
      writeFileSync(path, good.subarray(0, size));
      await expect(readBadgerLines(directory)).rejects.toThrow(DataError);
    }
  });
});

describe("a directory", () => {
  test("gives the newest version of each key, wherever it stands", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1", b: "1", c: "1", d: "1", e: "1" });
    await writeTable(directory, 2, 5n, { b: "5", c: "5", f: "5" });
    await writeTable(directory, 3, 3n, { b: "3", d: "3", g: "3" });
    writeManifest(directory, { 1: 6, 2: 0, 3: 0 });
    writeLog(directory, 1, transaction(4n, { b: "4", d: "4" }), transaction(7n, { e: undefined, h: "7" }));
    writeLog(directory, 2, transaction(8n, { h: "8", c: undefined, i: "" }));
    expect(await readBadgerLines(directory)).toEqual(lines({ a: "1", b: "5", d: "4", f: "5", g: "3", h: "8", i: "" }));
  });

  test("does not show the keys of the database itself", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { "!badger!head": "1", "!badge": "2", "!badger": "3" });
    writeManifest(directory, { 1: 0 });
    expect(await readBadgerLines(directory)).toEqual(lines({ "!badge": "2", "!badger": "3" }));
  });

  test("with a table that MANIFEST does not list is read without it", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1" });
    await writeTable(directory, 2, 2n, { a: "2" });
    writeManifest(directory, { 1: 0 });
    expect(await readBadgerLines(directory)).toEqual(lines({ a: "1" }));
  });

  test("in which a listed table, or MANIFEST itself, is missing is damaged", async () => {
    const directory = temporaryDirectory();
    writeManifest(directory, { 1: 0 });
    await expect(readBadgerLines(directory)).rejects.toThrow(/000001\.sst.*no such file/);
    const other = temporaryDirectory();
    await writeTable(other, 1, 1n, { a: "1" });
    await expect(readBadgerLines(other)).rejects.toThrow(/MANIFEST is missing, but there are 1 tables/);
  });

  test("whose tables of one level overlap is damaged", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1", c: "1" });
    await writeTable(directory, 2, 1n, { b: "1", d: "1" });
    writeManifest(directory, { 1: 6, 2: 6 });
    await expect(readBadgerLines(directory)).rejects.toThrow(/not in order/);
  });

  test("that does not exist, or is empty, holds nothing", async () => {
    const directory = temporaryDirectory();
    expect(await readBadgerLines(directory)).toEqual([]);
    expect(await readBadgerLines(`${directory}/none`)).toEqual([]);
  });
});
