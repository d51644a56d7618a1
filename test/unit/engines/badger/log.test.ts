import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { crc32c } from "../../../../src/base/crc32c.ts";
import { DataError } from "../../../../src/base/errors.ts";
import { measureLog } from "../../../../src/engines/badger/log-reader.ts";
import { createContext } from "../../../../src/operations/context.ts";
import { dump } from "../../../../src/operations/dump.ts";
import { readBadgerLines } from "../../../support/badger-directory.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";
import { lines, transaction, writeLog, writeManifest, writeTable } from "./directory.ts";

/** A record outside of a transaction (docs/spec/kv-stores.md §3.3). */
function record(meta: number, key: string, ts: bigint, value: Buffer, expiresAt = 0): Buffer {
  const version = Buffer.alloc(8);
  version.writeBigUInt64BE(0xffff_ffff_ffff_ffffn - ts);
  const expires = expiresAt === 0 ? [0] : [0x80 | (expiresAt & 0x7f), expiresAt >> 7];
  const head = Buffer.from([meta, 0, key.length + 8, value.length, ...expires]);
  const bytes = Buffer.concat([head, Buffer.from(key), version, value]);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32c(bytes));
  return Buffer.concat([bytes, sum]);
}

describe("a memtable log", () => {
  test("gives whole transactions, and leaves out the one that was being written", async () => {
    const directory = temporaryDirectory();
    const last = transaction(3n, { c: "3", d: "3" });
    const whole = [transaction(1n, { a: "1", b: "1" }), transaction(2n, { b: "2" })];
    for (const size of [1, 10, 30, last.length - 1]) {
      const path = writeLog(directory, 1, ...whole, last.subarray(0, size), Buffer.alloc(1000));
      expect(await readBadgerLines(directory)).toEqual(lines({ a: "1", b: "2" }));
      const end = 20 + whole[0]!.length + whole[1]!.length;
      expect(measureLog(path)).toEqual({ end, maxVersion: 2n, isClean: false });
    }
  });

  test("gives records that stand alone", async () => {
    const directory = temporaryDirectory();
    writeLog(directory, 1, record(0, "a", 1n, Buffer.from("1")), record(1, "b", 2n, Buffer.alloc(0)));
    expect(await readBadgerLines(directory)).toEqual(lines({ a: "1" }));
  });

  test("that was damaged before whole transactions is an error: a client would drop them", async () => {
    const directory = temporaryDirectory();
    const path = writeLog(directory, 1, transaction(1n, { a: "1" }), transaction(2n, { b: "2" }), Buffer.alloc(64));
    const bytes = readFileSync(path);
    bytes[30]! ^= 1;
    writeFileSync(path, bytes);
    await expect(readBadgerLines(directory)).rejects.toThrow(DataError);
    await expect(readBadgerLines(directory)).rejects.toThrow(/00001\.mem is damaged at offset 20/);
  });

  test("that is empty, or was cut off in its header, gives nothing", async () => {
    const directory = temporaryDirectory();
    for (const size of [0, 7, 20]) {
      truncateSync(writeLog(directory, 1), size);
      expect(await readBadgerLines(directory)).toEqual([]);
    }
  });

  test("that is encrypted is refused", async () => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "00001.mem"), Buffer.alloc(100, 1));
    await expect(readBadgerLines(directory)).rejects.toThrow(/encrypted/);
  });

  test("hides keys that have expired, with their older versions", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1", b: "1" });
    writeManifest(directory, { 1: 6 });
    writeLog(directory, 1, record(0, "a", 2n, Buffer.from("2"), 1000));
    expect(await readBadgerLines(directory)).toEqual(lines({ b: "1" }));
  });

  test("larger than the memory that it may take is read completely", async () => {
    const directory = temporaryDirectory();
    const value = "v".repeat(900);
    const parts: Buffer[] = [];
    for (let i = 0; i < 500; i++) {
      const pairs = Array.from({ length: 100 }, (_, j) => [`key ${((i * 100 + j) * 7919) % 50000}`, value + i]);
      parts.push(transaction(BigInt(i + 1), Object.fromEntries(pairs)));
    }
    writeLog(directory, 1, ...parts);
    const found = await readBadgerLines(directory);
    expect(found.length).toBe(50000);
    expect(found).toEqual([...found].sort());
  });

  test("larger than the memory that it may take goes to the directory for temporary files that the caller names", async () => {
    const directory = temporaryDirectory();
    const values = Array.from({ length: 40 }, (_, i) => [`key ${i}`, "v".repeat(1 << 20)]);
    writeLog(directory, 1, transaction(1n, Object.fromEntries(values)));
    const tmpDir = join(temporaryDirectory(), "missing");
    const context = createContext({ memory: { maxBytes: 1 << 24, tmpDir } });
    const request = { source: `badger://${directory}`, target: { file: join(temporaryDirectory(), "dump.json") } };
    await expect(dump(request, context)).rejects.toThrow(`Cannot write a temporary file in ${tmpDir}`);
  });
});

describe("the value log", () => {
  const value = Buffer.from("a large value");
  const stored = record(0, "k", 1n, value);
  const pointer = (length: number, offset: number, file = 1): Buffer => {
    const bytes = Buffer.alloc(12);
    for (const [i, word] of [file, length, offset].entries()) bytes.writeUInt32LE(word, i * 4);
    return bytes;
  };

  const directoryWith = (target: Buffer, key = "k"): string => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, "000001.vlog"), Buffer.concat([Buffer.alloc(20), stored]));
    writeLog(directory, 1, record(2, key, 1n, target));
    return directory;
  };

  test("gives the value to which an entry points", async () => {
    expect(await readBadgerLines(directoryWith(pointer(stored.length, 20)))).toEqual(lines({ k: value.toString() }));
  });

  test.each([
    ["beyond its end", pointer(stored.length, 21), /should stand there/],
    ["into the middle of a record", pointer(stored.length - 1, 21), /checksum/],
    ["to a file that is not there", pointer(stored.length, 20, 7), /000007\.vlog.*no such file/],
    ["with a length that no file has", pointer(0xffff_ffff, 20), /should stand there/],
    ["by something that is no pointer", Buffer.alloc(11), /pointer into the value log has 11 bytes/],
  ])("is damaged when an entry points %s", async (_, target, message) => {
    const error = await readBadgerLines(directoryWith(target)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toMatch(message);
  });

  test("is damaged when the record is that of another key", async () => {
    const directory = directoryWith(pointer(stored.length, 20), "l");
    await expect(readBadgerLines(directory)).rejects.toThrow(/not that of its key/);
  });
});
