import { describe, expect, test } from "vitest";
import { crc32c } from "../../../../src/base/crc32c.ts";
import { DataError } from "../../../../src/base/errors.ts";
import { bloomHash, buildBloomFilter } from "../../../../src/engines/badger/bloom-filter.ts";
import { decodeManifest, encodeManifest } from "../../../../src/engines/badger/manifest.ts";
import { decodeSnappy, SNAPPY_ROOM, snappySize } from "../../../../src/engines/badger/snappy.ts";
import { readUvarint, uvarintSize, writeUvarint } from "../../../../src/engines/badger/uvarint.ts";
import { xxHash64 } from "../../../../src/engines/badger/xxhash64.ts";

function unsnappy(hex: string, room = SNAPPY_ROOM): string | undefined {
  const source = Buffer.from(hex, "hex");
  const size = snappySize(source, 0, source.length);
  if (size < 0) return undefined;
  const target = Buffer.alloc(size + room);
  return decodeSnappy(source, 0, source.length, target, size) ? target.toString("latin1", 0, size) : undefined;
}

describe("a Snappy block", () => {
  const LONG = Buffer.from("x".repeat(70)).toString("hex");

  test.each([
    ["a literal", "03 08 616263", "abc"],
    ["a literal of more than sixty bytes", `46 f0 45 ${LONG}`, "x".repeat(70)],
    ["a literal with a size of two bytes", `46 f4 4500 ${LONG}`, "x".repeat(70)],
    ["a copy of one byte's offset", "08 0c 61626364 01 04", "abcdabcd"],
    ["a copy that repeats itself", "0a 00 61 22 0100", "aaaaaaaaaa"],
    ["a copy of two bytes' offset", "10 1c 6162636465666768 1e 0800", "abcdefghabcdefgh"],
    ["a copy of four bytes' offset", "10 1c 6162636465666768 1f 08000000", "abcdefghabcdefgh"],
    ["nothing", "00", ""],
  ])("with %s", (_, hex, text) => {
    const compact = hex.replaceAll(" ", "");
    expect(unsnappy(compact)).toBe(text);
    expect(unsnappy(compact, 0)).toBe(text); // also without room behind it
  });

  test.each([
    ["ends in the middle of a literal", "05 10 6162"],
    ["copies from before its beginning", "08 00 61 05 02"],
    ["copies from nowhere", "08 00 61 05 00"],
    ["gives fewer bytes than it says", "09 08 616263"],
    ["gives more bytes than it says", "02 08 616263"],
    ["gives more bytes than it says, by a copy", "06 0c 61626364 01 04"],
    ["says a size that nothing of that length can have", "ffffff7f 08 616263"],
    ["has no size", "ff"],
    ["ends in the middle of an offset", "10 1c 6162636465666768 1e 08"],
  ])("that %s is refused", (_, hex) => {
    expect(unsnappy(hex.replaceAll(" ", ""))).toBeUndefined();
  });
});

test("XXH64 of texts is that of its authors", () => {
  expect(xxHash64(Buffer.from("")).toString(16)).toBe("ef46db3751d8e999");
  expect(xxHash64(Buffer.from("a")).toString(16)).toBe("d24ec4f1a98c6e5b");
  expect(xxHash64(Buffer.from("abc")).toString(16)).toBe("44bc2cf5ad770999");
  expect(xxHash64(Buffer.from("The quick brown fox jumps over the lazy dog")).toString(16)).toBe("b242d361fda71bc");
});

test("numbers of seven bits per byte come back", () => {
  const bytes = Buffer.alloc(16);
  for (const value of [0, 1, 127, 128, 16383, 16384, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const size = writeUvarint(bytes, 0, value);
    expect(uvarintSize(bytes, 0, bytes.length)).toBe(size);
    expect(uvarintSize(bytes, 0, size - 1)).toBe(0);
    expect(readUvarint(bytes, 0, size)).toBe(value);
  }
  expect(uvarintSize(Buffer.alloc(16, 0xff), 0, 16)).toBe(0);
});

test("a filter says yes to every key that it was made of, and seldom to others", () => {
  const hash = (text: string): number => bloomHash(Buffer.from(text), 0, text.length);
  const keys = Array.from({ length: 2000 }, (_, i) => `key ${i}`);
  const filter = buildBloomFilter(Uint32Array.from(keys, hash));
  expect(filter.length).toBe(Math.ceil((2000 * 7) / 8) + 1);
  const has = (text: string): boolean => {
    const bits = (filter.length - 1) * 8;
    let h = hash(text);
    const delta = ((h >>> 17) | (h << 15)) >>> 0;
    for (let i = 0; i < filter.at(-1)!; i++, h = (h + delta) >>> 0) {
      if ((filter[(h % bits) >>> 3]! & (1 << ((h % bits) % 8))) === 0) return false;
    }
    return true;
  };
  expect(keys.filter((key) => !has(key))).toEqual([]);
  expect(keys.filter((key) => has(`no ${key}`)).length).toBeLessThan(100);
});

describe("MANIFEST", () => {
  const SAMPLE = Buffer.from("426467720000000800000006edc51afe0a0408013001", "hex"); // docs/spec/kv-stores.md §3.4

  test("of the reference after its first flush lists one table", () => {
    const fresh = Buffer.from("42646772000000080000000000000000", "hex");
    const file = Buffer.concat([fresh, SAMPLE.subarray(8)]);
    expect([...decodeManifest(file, "M").values()]).toEqual([{ id: 1, level: 0, compression: 1 }]);
    expect(decodeManifest(fresh, "M").size).toBe(0);
  });

  test("that we write lists what was given", () => {
    const tables = Array.from({ length: 300 }, (_, i) => ({ id: i * 1000 + 1, level: i % 7, compression: i % 3 }));
    expect([...decodeManifest(encodeManifest(tables), "M").values()]).toEqual(tables);
    expect(encodeManifest([{ id: 1, level: 0, compression: 1 }])).toEqual(SAMPLE);
  });

  test("forgets tables that were deleted, and a change set that was not completed", () => {
    const change = (hex: string): Buffer => {
      const payload = Buffer.from(hex, "hex");
      const head = Buffer.alloc(8);
      head.writeUInt32BE(payload.length, 0);
      head.writeUInt32BE(crc32c(payload), 4);
      return Buffer.concat([head, payload]);
    };
    const deletion = change("0a0408011001");
    expect(decodeManifest(Buffer.concat([SAMPLE, deletion]), "M").size).toBe(0);
    expect(decodeManifest(Buffer.concat([SAMPLE, deletion.subarray(0, -1)]), "M").size).toBe(1);
    expect(() => decodeManifest(Buffer.concat([SAMPLE, deletion, deletion]), "M")).toThrow(/never created/);
    expect(() => decodeManifest(Buffer.concat([SAMPLE, SAMPLE.subarray(8)]), "M")).toThrow(/created twice/);
  });

  test("with any byte changed is an error that names the file, or ends before the change", () => {
    const unreported: number[] = [];
    for (let i = 0; i < SAMPLE.length; i++) {
      const damaged = Buffer.from(SAMPLE);
      damaged[i]! ^= 0x41;
      try {
        decodeManifest(damaged, "the/MANIFEST");
        unreported.push(i);
      } catch (error) {
        expect(error).toBeInstanceOf(DataError);
        expect((error as Error).message).toContain("the/MANIFEST");
      }
    }
    expect(unreported).toEqual([]);
  });
});
