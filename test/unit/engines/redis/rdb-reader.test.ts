import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { viewOf } from "../../../../src/base/bytes.ts";
import { DataError } from "../../../../src/base/errors.ts";
import { Crc64 } from "../../../../src/engines/redis/rdb/crc64.ts";
import { decompressLzf } from "../../../../src/engines/redis/rdb/lzf.ts";
import {
  double,
  int64,
  intset,
  listpack,
  type PackedItem,
  rdbAux,
  rdbCompressed,
  rdbCounted,
  rdbDatabase,
  rdbEntry,
  rdbExpiry,
  rdbFile,
  rdbLength,
  rdbNumber,
  rdbString,
  slowCrc64,
  textDouble,
  ziplist,
  zipmap,
} from "../../../support/rdb-builder.ts";
import { readContents, sourceOf } from "../../../support/rdb-contents.ts";

const LONG = "x".repeat(300);
const HUGE = "y".repeat(20_000);

/** "abcabcabc...": two literals runs and a repetition that reaches into itself. */
const PACKED = Buffer.from([2, 0x61, 0x62, 0x63, 0xe0, 15, 2]);
const UNPACKED = "abc".repeat(9);

/** Integers in every encoding of listpacks, and the text that each stands for. */
const LISTPACK_NUMBERS: PackedItem[] = [
  { number: 127, bits: 7 },
  { number: -4096, bits: 13 },
  { number: 4095, bits: 13 },
  { number: -32768, bits: 16 },
  { number: -8388608, bits: 24 },
  { number: 8388607, bits: 24 },
  { number: -2147483648, bits: 32 },
  { number: -9223372036854775808n, bits: 64 },
];
const ZIPLIST_NUMBERS: PackedItem[] = [
  { number: 0, bits: 4 },
  { number: 12, bits: 4 },
  { number: -128, bits: 8 },
  { number: -32768, bits: 16 },
  { number: -8388608, bits: 24 },
  { number: 2147483647, bits: 32 },
  { number: 9223372036854775807n, bits: 64 },
];
const texts = (items: readonly PackedItem[]): string[] =>
  items.map((item) => (typeof item === "string" ? item : String((item as { number: bigint }).number)));

const wrap = (value: Buffer): Buffer => rdbString(value);
const strings = (...values: string[]): Buffer[] => values.map((value) => rdbString(value));

/** Type number, key, bytes of the value, what is read. */
const VALUES: readonly [type: number, key: string, value: Buffer, parts: string[]][] = [
  [0, "string raw", rdbString("va\0lue"), ["va\0lue"]],
  [0, "string empty", rdbString(""), [""]],
  [0, "string of 14 bits", rdbString(LONG), [LONG]],
  [0, "string of 32 bits", rdbString(HUGE), [HUGE]],
  [
    0,
    "string with a length of 64 bits",
    Buffer.concat([Buffer.from([0x81]), Buffer.alloc(7), Buffer.from([3]), Buffer.from("abc")]),
    ["abc"],
  ],
  [0, "string int8", rdbNumber(-128, 8), ["-128"]],
  [0, "string int16", rdbNumber(-32768, 16), ["-32768"]],
  [0, "string int32", rdbNumber(2147483647, 32), ["2147483647"]],
  [0, "string compressed", rdbCompressed(PACKED, 27), [UNPACKED]],
  [1, "list", rdbCounted(2, strings("b", "a")), ["b", "a"]],
  [2, "set", rdbCounted(2, strings("b", "a")), ["b", "a"]],
  [
    3,
    "zset text",
    rdbCounted(
      4,
      ["1.5", "nan", "inf", "-inf"].flatMap((s) => [rdbString(s), textDouble(s)]),
    ),
    ["1.5", "1.5", "nan", "NaN", "inf", "Infinity", "-inf", "-Infinity"],
  ],
  [4, "hash", rdbCounted(2, strings("f", "1", LONG, "2")), ["f", "1", LONG, "2"]],
  [5, "zset", rdbCounted(1, [rdbString("m"), double(1795414712)]), ["m", "1795414712"]],
  [9, "hash zipmap", wrap(zipmap(["f", "1", LONG, LONG, "", ""], 3)), ["f", "1", LONG, LONG, "", ""]],
  [
    10,
    "list ziplist",
    wrap(ziplist(["a", LONG, HUGE, "b", ...ZIPLIST_NUMBERS])),
    ["a", LONG, HUGE, "b", ...texts(ZIPLIST_NUMBERS)],
  ],
  [11, "set intset 2", wrap(intset([-32768, 7], 2)), ["-32768", "7"]],
  [11, "set intset 4", wrap(intset([-2147483648, 7], 4)), ["-2147483648", "7"]],
  [11, "set intset 8", wrap(intset([7, 9223372036854775807n], 8)), ["7", "9223372036854775807"]],
  [12, "zset ziplist", wrap(ziplist(["m", "1.5", "n", { number: 3, bits: 4 }])), ["m", "1.5", "n", "3"]],
  [13, "hash ziplist", wrap(ziplist(["f", { number: 300, bits: 16 }])), ["f", "300"]],
  [14, "list quicklist", rdbCounted(2, [wrap(ziplist(["a"])), wrap(ziplist(["b", "c"]))]), ["a", "b", "c"]],
  [16, "hash listpack", wrap(listpack(["f", "1", LONG, HUGE])), ["f", "1", LONG, HUGE]],
  [17, "zset listpack", wrap(listpack(["m", "2.5"])), ["m", "2.5"]],
  [
    18,
    "list quicklist2",
    rdbCounted(2, [rdbLength(1), rdbString("plain"), rdbLength(2), wrap(listpack(["a", "b"]))]),
    ["plain", "a", "b"],
  ],
  [20, "set listpack", wrap(listpack(LISTPACK_NUMBERS)), texts(LISTPACK_NUMBERS)],
  [
    22,
    "hash 7.4rc",
    rdbCounted(2, [rdbLength(0), ...strings("f", "1"), rdbLength(5000), ...strings("old", "2")]),
    ["f", "1"],
  ],
  [
    23,
    "hash 7.4rc listpack",
    wrap(listpack(["f", "1", { number: 0, bits: 7 }, "old", "2", { number: 50, bits: 7 }])),
    ["f", "1"],
  ],
  [
    24,
    "hash 7.4",
    Buffer.concat([
      int64(5000),
      rdbCounted(3, [
        rdbLength(0),
        ...strings("f", "1"),
        rdbLength(1),
        ...strings("old", "2"),
        rdbLength(96_000),
        ...strings("g", "3"),
      ]),
    ]),
    ["f", "1", "g", "3"],
  ],
  [
    25,
    "hash 7.4 listpack",
    Buffer.concat([int64(50), wrap(listpack(["f", "1", { number: 0, bits: 7 }, "old", "2", { number: 50, bits: 7 }]))]),
    ["f", "1"],
  ],
]; // prettier-ignore

const CREATED = rdbAux("ctime", "100");
const END_KEY = rdbEntry(0, "string at the end", rdbString("here"));
const AT_THE_END = { database: 0, key: "string at the end", parts: ["here"], isEnded: true };

describe("a value of an RDB file", () => {
  for (const [type, key, value, parts] of VALUES) {
    const file = rdbFile([CREATED, rdbDatabase(0), rdbEntry(type, key, value), END_KEY]);

    test.each([1, 7, 100_000])(`${key} (type ${type}) is read in pieces of %d bytes`, async (perRead) => {
      const { keys } = await readContents(sourceOf(file, perRead));
      expect(keys).toEqual([{ database: 0, key, parts, isEnded: true }, AT_THE_END]);
    });

    test.each([1, 100_000])(`${key} (type ${type}) is skipped in pieces of %d bytes`, async (perRead) => {
      const other = rdbFile([CREATED, rdbDatabase(0), rdbEntry(type, "no key of ours", value), END_KEY]);
      expect((await readContents(sourceOf(other, perRead))).keys).toEqual([AT_THE_END]);
    });

    test(`${key} (type ${type}) is cut off or damaged: an error with its place, never something else`, async () => {
      for (let size = 0; size < Math.min(file.length, 600); size++) {
        await expect(readContents(sourceOf(file.subarray(0, size), 64)), `cut at ${size}`).rejects.toThrow(DataError);
      }
      for (let at = 0; at < Math.min(file.length, 600); at++) {
        const wrong = Buffer.from(file);
        wrong[at]! ^= 0x10;
        await expect(readContents(sourceOf(wrong)), `bit changed at ${at}`).rejects.toThrow(DataError);
      }
    });
  }

  test("of Valkey 9 with fields that expire is read, of which type 22 means something else", async () => {
    const value = rdbCounted(2, [...strings("f", "1"), int64(-1), ...strings("old", "2"), int64(5000)]);
    const file = rdbFile([CREATED, rdbDatabase(0), rdbEntry(22, "hash", value), END_KEY], { head: "VALKEY080" });
    const { keys } = await readContents(sourceOf(file, 7));
    expect(keys[0]!.parts).toEqual(["f", "1"]);
    const skipped = rdbFile([CREATED, rdbEntry(22, "other", value), END_KEY], { head: "VALKEY080" });
    expect((await readContents(sourceOf(skipped, 7))).keys).toEqual([AT_THE_END]);
  });

  test("of another type than it should have is reported and skipped", async () => {
    const file = rdbFile([rdbEntry(1, "hash", rdbCounted(1, strings("a"))), END_KEY]);
    expect(await readContents(sourceOf(file))).toMatchObject({ wrong: ["hash"], keys: [AT_THE_END] });
  });

  test("that is larger than what is held at one time is read element by element, and skipped byte by byte", async () => {
    const fields = Array.from({ length: 60_000 }, (_, i) => [`name ${i}`, LONG.slice(0, 60)]);
    const hash = rdbCounted(60_000, fields.flat().map(rdbString));
    expect(hash.length).toBeGreaterThan(4_000_000);
    const file = rdbFile([
      rdbEntry(4, "hash", hash),
      rdbEntry(4, "other", hash),
      rdbEntry(0, "large", rdbString("z".repeat(5_000_000))),
      END_KEY,
    ]);
    const { keys, asked } = await readContents(sourceOf(file));
    expect(keys[0]!.parts).toEqual(fields.flat());
    expect(keys[1]).toEqual(AT_THE_END);
    expect(asked).toEqual(["hash", "other", "large", "string at the end"]);
  });
});

describe("what stands between the values of an RDB file", () => {
  const stream = (version: number): Buffer => {
    const id = Buffer.alloc(16, 1);
    return Buffer.concat([
      rdbCounted(1, [rdbString(id), wrap(listpack(["a"]))]),
      ...[1, 2, 3].map(rdbLength),
      ...(version >= 2 ? [4, 5, 6, 7, 8].map(rdbLength) : []),
      rdbLength(1),
      rdbString("group"),
      ...(version >= 2 ? [1, 2, 3] : [1, 2]).map(rdbLength),
      rdbCounted(2, [id, int64(9), rdbLength(1), id, int64(9), rdbLength(300)]),
      rdbCounted(1, [rdbString("consumer"), int64(1), ...(version >= 3 ? [int64(2)] : []), rdbCounted(2, [id, id])]),
    ]);
  };
  const moduleData = Buffer.concat([
    rdbLength(1),
    rdbLength(70_000),
    rdbLength(2),
    rdbLength(5),
    rdbLength(3),
    Buffer.alloc(4),
    rdbLength(4),
    Buffer.alloc(8),
    rdbLength(5),
    rdbString(HUGE),
    rdbLength(0),
  ]);
  const moduleNumber = rdbLength(0x1234_5678_9abc_def0n);
  const cases: [string, Buffer][] = [
    ["a stream of version 1", rdbEntry(15, "s", stream(1))],
    ["a stream of version 2", rdbEntry(19, "s", stream(2))],
    ["a stream of version 3", rdbEntry(21, "s", stream(3))],
    ["a value of a module", rdbEntry(7, "m", Buffer.concat([moduleNumber, moduleData]))],
    ["data of a module", Buffer.concat([Buffer.from([0xf7]), moduleNumber, rdbLength(2), rdbLength(1), moduleData])],
    ["functions", Buffer.concat([Buffer.from([0xf5]), rdbString("#!lua name=x")])],
    ["sizes of the database", Buffer.concat([Buffer.from([0xfb]), rdbLength(70_000), rdbLength(1)])],
    ["sizes of a slot", Buffer.concat([Buffer.from([0xf4]), rdbLength(16_383), rdbLength(5), rdbLength(0)])],
    ["idle time", Buffer.concat([Buffer.from([0xf8]), rdbLength(300)])],
    ["frequency", Buffer.from([0xf9, 200])],
    ["unknown information", rdbAux("valkey-ver", "8.0.1")],
  ];
  test.each(cases)("is skipped: %s", async (_, bytes) => {
    for (const perRead of [1, 5, 100_000]) {
      expect((await readContents(sourceOf(rdbFile([bytes, END_KEY]), perRead))).keys).toEqual([AT_THE_END]);
    }
    const file = rdbFile([bytes, END_KEY]);
    for (let size = 9; size < Math.min(file.length, 400); size++) {
      await expect(readContents(sourceOf(file.subarray(0, size))), `cut at ${size}`).rejects.toThrow(DataError);
    }
  });

  test("keys of other databases are not looked at", async () => {
    const parts = [0, 3, 5, 3].flatMap((n, i) => [rdbDatabase(n), rdbEntry(0, `string${i}`, rdbString(`${n}`))]);
    const { keys, asked } = await readContents(sourceOf(rdbFile(parts)), [3]);
    expect(keys.map(({ database, key }) => [database, key])).toEqual([
      [3, "string1"],
      [3, "string3"],
    ]);
    expect(asked).toEqual(["string1", "string3"]);
  });

  test("what had expired when the file was made is left out; without the time of making everything stays", async () => {
    const seconds = Buffer.from([0xfd, 99, 0, 0, 0]);
    const parts = [
      rdbExpiry(100_000),
      rdbEntry(0, "string old", rdbString("")),
      rdbExpiry(100_001),
      rdbEntry(0, "string new", rdbString("")),
      seconds,
      rdbEntry(0, "string seconds", rdbString("")),
      END_KEY,
    ];
    expect((await readContents(sourceOf(rdbFile([CREATED, ...parts])))).keys.map(({ key }) => key)).toEqual([
      "string new",
      "string at the end",
    ]);
    expect((await readContents(sourceOf(rdbFile(parts)))).keys).toHaveLength(4);
  });
});

describe("an RDB file that cannot be right", () => {
  const good = [rdbDatabase(0), END_KEY];
  const cases: [what: string, bytes: Buffer, message: RegExp, options?: { isSizeKnown: boolean }][] = [
    ["nothing", Buffer.alloc(0), /cut off at byte 0/],
    ["an append-only file", Buffer.from("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"), /no RDB file: it begins with "\*2/],
    ["a newer version", rdbFile(good, { head: "REDIS0099" }), /RDB version 99 of Redis, newer than 12/],
    ["a newer version of Valkey", rdbFile(good, { head: "VALKEY081" }), /RDB version 81 of Valkey, newer than 80/],
    ["a wrong checksum", rdbFile(good, { checksum: 5n }), /0000000000000005 is stored, /],
    [
      "something behind the end",
      Buffer.concat([rdbFile(good), Buffer.from("*1\r\n")]),
      /goes on behind its end at byte 44/,
    ],
    [
      "a value of an unknown type",
      rdbFile([rdbEntry(99, "hash", rdbString(""))]),
      /byte 9 \(key hash\): a value of the unknown type 99/,
    ],
    [
      "a length beyond the end",
      rdbFile([rdbEntry(0, "string", rdbLength(60_000))]),
      /\(key string\): a string of 60000 bytes at byte 22 would reach beyond the end/,
    ],
    [
      "a length without end",
      rdbFile([rdbEntry(0, "string", rdbLength(2n ** 60n))]),
      /a length of 1152921504606846976 cannot be right/,
    ],
    [
      "a piece that is too large",
      rdbFile([rdbEntry(16, "hash", rdbLength(2 ** 27))]),
      /a piece of 134217728 bytes at byte 15 \(key hash\), more than the 67108864/,
      { isSizeKnown: false },
    ],
    [
      "a compressed string that unpacks to something else",
      rdbFile([rdbEntry(0, "string", rdbCompressed(PACKED, 26))]),
      /\(key string\): a compressed string cannot be decompressed/,
    ],
    [
      "a listpack without its end",
      rdbFile([rdbEntry(16, "hash", wrap(listpack(["a", "b"]).subarray(0, -1)))]),
      /\(key hash\): a listpack of 12 bytes says it has 13/,
    ],
    [
      "a field without a value",
      rdbFile([rdbEntry(16, "hash", wrap(listpack(["a", "b", "c"])))]),
      /\(key hash\): an entry without its value at the end/,
    ],
    [
      "a ziplist with an unknown encoding",
      rdbFile([rdbEntry(10, "list", wrap(Buffer.concat([ziplist([{ number: 1, bits: 8 }]).fill(0xff, 11, 12)])))]),
      /a ziplist has an entry of the unknown encoding 0xff/,
    ],
  ]; // prettier-ignore
  test.each(cases)("%s", async (_, bytes, message, options) => {
    const error = await readContents(sourceOf(bytes, bytes.length || 1, options?.isSizeKnown)).catch((e) => e);
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
    expect(error.hint).not.toBe("");
    expect(error.location.offset).toBeTypeOf("number");
  });

  test("is not told by a checksum that the server did not compute", async () => {
    expect((await readContents(sourceOf(rdbFile(good, { checksum: 0n })))).keys).toEqual([AT_THE_END]);
  });

  test("before version 5 no checksum follows", async () => {
    expect((await readContents(sourceOf(rdbFile(good, { head: "REDIS0003" })))).keys).toEqual([AT_THE_END]);
  });

  test("in a stream something may follow, but only what was announced", async () => {
    const bytes = Buffer.concat([rdbFile(good), Buffer.from("MARK*1\r\nPING")]);
    const options = { checksum: true, trailer: () => Buffer.from("MARK") };
    expect((await readContents(sourceOf(bytes, 3, false), [0], options)).keys).toEqual([AT_THE_END]);
    const other = { checksum: true, trailer: () => Buffer.from("MARC") };
    await expect(readContents(sourceOf(bytes, 3, false), [0], other)).rejects.toThrow(/announced as the end/);
  });
});

describe("the parts of the reader", () => {
  test("the checksum is that of the description, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
        const crc = new Crc64();
        const middle = Math.min(cut, bytes.length);
        crc.update(bytes, viewOf(bytes), 0, middle);
        crc.update(bytes, viewOf(bytes), middle, bytes.length);
        expect(crc.value).toBe(slowCrc64(bytes));
      }),
    );
  });

  test("whatever is decompressed, nothing is written or read outside", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(100), (bytes, size) => {
        const target = Buffer.alloc(size + 10, 0xee);
        decompressLzf(Buffer.from(bytes), 0, bytes.length, target, size);
        expect(target.subarray(size)).toEqual(Buffer.alloc(10, 0xee));
      }),
    );
  });
});
