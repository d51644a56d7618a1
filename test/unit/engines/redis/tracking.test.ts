import { afterEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../../../src/base/logger.ts";
import { encodeCommand } from "../../../../src/engines/redis/command-writer.ts";
import {
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_NODE,
  FAMILY_SYMLINK,
} from "../../../../src/engines/redis/redis-keys.ts";
import {
  decodeReply,
  type Reply,
  type ReplyBlock,
  ReplyFailure,
  RespParser,
  TOKEN_STRIDE,
  TokenCursor,
} from "../../../../src/engines/redis/resp-parser.ts";
import { DirtyKeys } from "../../../../src/engines/redis/tracking/dirty-keys.ts";
import { HeldAnswers } from "../../../../src/engines/redis/tracking/held-answers.ts";
import { behind } from "../../../../src/engines/redis/tracking/invalidations.ts";
import { KeyFilter } from "../../../../src/engines/redis/tracking/key-filter.ts";
import { KeyLists } from "../../../../src/engines/redis/tracking/key-lists.ts";
import { RecordSpool } from "../../../../src/engines/redis/tracking/record-spool.ts";
import { RepeatedNotes } from "../../../../src/engines/redis/tracking/repeated-notes.ts";
import { withoutSuperseded } from "../../../../src/engines/redis/tracking/superseded.ts";
import { packBatch, type RecordKind, unpackBatch } from "../../../../src/volume/records.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

/** Inodes at the borders of 32 and 64 bits. */
const INODES = [0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 0x7fff_ffff_1000_0000n, 0xffff_ffff_ffff_ffffn];

function keyOf(inode: bigint, index = 0): { hi: number; lo: number; index: number } {
  return { hi: Number(inode >> 32n), lo: Number(inode & 0xffff_ffffn), index };
}

function inodesIn(keys: DirtyKeys, family: number): string[] {
  const found: string[] = [];
  const visit = (hi: number, lo: number, index: number): void => {
    found.push(`${(BigInt(hi) << 32n) | BigInt(lo)}_${index}`);
  };
  for (const _ of keys.inodes(family, visit));
  return found.sort();
}

function parsed(text: string): ReplyBlock {
  const parser = new RespParser();
  parser.push(Buffer.from(text, "latin1"));
  parser.begin();
  return parser.parse(1, 0)!;
}

describe("changed keys", () => {
  test("count each key once, and each family, chunk index and name for itself", () => {
    const keys = new DirtyKeys();
    for (let again = 0; again < 2; again++) {
      for (const inode of INODES) {
        keys.addInode(FAMILY_NODE, keyOf(inode));
        keys.addInode(FAMILY_CHUNK, keyOf(inode));
        keys.addInode(FAMILY_CHUNK, keyOf(inode, 7));
      }
      keys.addOther("usedSpace");
    }
    expect(keys.count).toBe(3 * INODES.length + 1);
    expect(inodesIn(keys, FAMILY_NODE)).toEqual(INODES.map((inode) => `${inode}_0`).sort());
    expect(inodesIn(keys, FAMILY_CHUNK)).toEqual(INODES.flatMap((inode) => [`${inode}_0`, `${inode}_7`]).sort());
    expect([...keys.others]).toEqual(["usedSpace"]);
    expect(inodesIn(keys, FAMILY_DIRECTORY)).toEqual([]);
  });

  test("know a key by its family and index, and a family of chunks that has later ones only", () => {
    const keys = new DirtyKeys();
    keys.addInode(FAMILY_CHUNK, keyOf(5n, 1));
    expect(keys.hasInode(FAMILY_CHUNK, 0, 5, 1)).toBe(true);
    expect(keys.hasInode(FAMILY_CHUNK, 0, 5, 0)).toBe(false);
    expect(keys.hasInode(FAMILY_CHUNK, 0, 5, 2)).toBe(false);
    expect(keys.hasInode(FAMILY_NODE, 0, 5, 0)).toBe(false);
    expect([FAMILY_CHUNK, FAMILY_NODE].map((family) => keys.hasFamily(family))).toEqual([true, false]);
  });

  test.each([
    ["a node", (keys: DirtyKeys) => keys.addInode(FAMILY_NODE, keyOf(9n))],
    ["the same node of another family", (keys: DirtyKeys) => keys.addInode(FAMILY_SYMLINK, keyOf(1n))],
    ["a node of the same lower half", (keys: DirtyKeys) => keys.addInode(FAMILY_NODE, keyOf(0x1_0000_0001n))],
    ["a first chunk", (keys: DirtyKeys) => keys.addInode(FAMILY_CHUNK, keyOf(1n))],
    ["a later chunk", (keys: DirtyKeys) => keys.addInode(FAMILY_CHUNK, keyOf(1n, 4))],
    ["a name", (keys: DirtyKeys) => keys.addOther("delfiles")],
  ])("are not within others that miss %s, and are when they get it", (_, add) => {
    const fill = (): DirtyKeys => {
      const keys = new DirtyKeys();
      keys.addInode(FAMILY_NODE, keyOf(1n));
      keys.addInode(FAMILY_CHUNK, keyOf(1n, 3));
      keys.addOther("usedSpace");
      return keys;
    };
    const [less, more] = [fill(), fill()];
    expect(more.isWithin(less)).toBe(true);
    add(more);
    expect([more.isWithin(less), less.isWithin(more)]).toEqual([false, true]);
    less.addAll(more);
    expect([more.isWithin(less), less.count]).toEqual([true, more.count]);
  });

  test("are all taken over from others, later chunks too where there is no first one", () => {
    const [keys, others] = [new DirtyKeys(), new DirtyKeys()];
    others.addInode(FAMILY_CHUNK, keyOf(3n, 2));
    others.addInode(FAMILY_NODE, keyOf(3n));
    others.addOther("acl");
    keys.addAll(others);
    expect([inodesIn(keys, FAMILY_CHUNK), inodesIn(keys, FAMILY_NODE), [...keys.others]]).toEqual([
      ["3_2"],
      ["3_0"],
      ["acl"],
    ]);
  });

  test("are written as the names of their keys, a list at a time", () => {
    const keys = new DirtyKeys();
    for (const inode of INODES) keys.addInode(FAMILY_CHUNK, keyOf(inode, 12));
    keys.addInode(FAMILY_CHUNK, keyOf(4n));
    const names: string[] = [];
    let lists = 0;
    for (const list of new KeyLists(Buffer.from("{3}")).lists(keys, FAMILY_CHUNK, 2)) {
      lists++;
      const text = list.args.buffer.toString("latin1", 0, list.args.length);
      names.push(...[...text.matchAll(/\$[0-9]+\r\n([^\r]+)\r\n/g)].map(([, name]) => name!));
    }
    expect(names.sort()).toEqual([...INODES.map((inode) => `{3}c${inode}_12`), "{3}c4_0"].sort());
    expect(lists).toBeGreaterThan(1);
  });
});

describe("a filter of keys", () => {
  function collected(names: readonly string[], inodes?: { has(hi: number, lo: number): boolean }): string[] {
    const kinds = new Set<RecordKind>(["node", "counter", "sustained", "dirStat", "quota"]);
    const filter = new KeyFilter(3, new Set([FAMILY_NODE, FAMILY_CHUNK]), kinds, false, inodes);
    const keys = new DirtyKeys();
    for (const name of names) {
      const bytes = Buffer.from(`--{3}${name}--`, "latin1");
      filter.collect(bytes, 2, bytes.length - 2, keys);
    }
    const nodes = inodesIn(keys, FAMILY_NODE).map((text) => `i${text.slice(0, -2)}`);
    return [...nodes, ...inodesIn(keys, FAMILY_CHUNK).map((text) => `c${text}`), ...keys.others];
  }

  test("keeps what the wanted records are made of, behind the prefix, and nothing else", () => {
    const wanted = [
      "i18446744073709551615",
      "c7_3",
      "usedSpace",
      "session12",
      "allSessions",
      "dirUsedSpace",
      "dirQuota",
    ];
    const other = ["d7", "x7", "i007", "i", "acl", "sliceRef", "txnLog", "sessions", "session", "delfiles", "foreign"];
    expect(collected([...wanted, ...other])).toEqual(wanted);
  });

  test("keeps of inodes only those of the part of the tree that is read, and names all the same", () => {
    expect(collected(["i7", "i8", "usedSpace"], { has: (_, lo) => lo === 8 })).toEqual(["i8", "usedSpace"]);
  });
});

describe("records that were read again later", () => {
  const node = (inode: bigint): { inode: bigint; attribute: Buffer } => ({
    inode,
    attribute: Buffer.alloc(72 + Number(inode % 3n), 1),
  });

  test.each([
    ["none", []],
    ["the first", [0]],
    ["the last", [5]],
    ["some in a row and one for itself", [1, 2, 4]],
    ["all but the first", [1, 2, 3, 4, 5]],
    ["all", [0, 1, 2, 3, 4, 5]],
  ])("are left out: %s", (_, places) => {
    const later = new DirtyKeys();
    later.addInode(FAMILY_NODE, keyOf(77n));
    for (const place of places) later.addInode(FAMILY_NODE, keyOf(INODES[place]!));
    const kept = withoutSuperseded(packBatch("node", INODES.map(node)), FAMILY_NODE, later);
    const expected = INODES.filter((_inode, i) => !places.includes(i)).map(node);
    expect(kept === undefined ? [] : [...unpackBatch("node", kept)]).toEqual(expected);
    expect(kept?.count ?? 0).toBe(expected.length);
  });

  test("are told apart by the index of a chunk, and by the family", () => {
    const chunk = (index: number): { inode: bigint; index: number; slices: Buffer } => {
      return { inode: 5n, index, slices: Buffer.alloc(24, index) };
    };
    const later = new DirtyKeys();
    later.addInode(FAMILY_CHUNK, keyOf(5n, 1));
    const kept = withoutSuperseded(packBatch("chunk", [0, 1, 2].map(chunk)), FAMILY_CHUNK, later);
    expect([...unpackBatch("chunk", kept!)]).toEqual([0, 2].map(chunk));
    const batch = packBatch("node", [node(5n)]);
    expect(withoutSuperseded(batch, FAMILY_NODE, later)).toBe(batch);
  });
});

describe("a spool of records", () => {
  let spool: RecordSpool;
  afterEach(() => spool.close());

  /** Batches of many sizes, of two kinds by turns. */
  function fill(maxBytes: number): Buffer[] {
    spool = new RecordSpool(maxBytes, temporaryDirectory());
    return Array.from({ length: 40 }, (_, i) => {
      const bytes = Buffer.alloc(1 + ((i * 7919) % 90_000), i);
      spool.add({ kind: i % 2 === 0 ? "node" : "edge", count: i, bytes: Buffer.from(bytes) });
      return bytes;
    });
  }

  test.each([
    ["memory alone", 1 << 30],
    ["a file alone", 0],
    ["both", 500_000],
  ])("gives back what it got, in order, from %s", (_, maxBytes) => {
    const batches = fill(maxBytes);
    expect(spool.length).toBe(40);
    let place = 0;
    for (const { kind, count, bytes } of spool.take(0, 40, () => true)) {
      expect([kind, count]).toEqual([place % 2 === 0 ? "node" : "edge", place]);
      expect(bytes.equals(batches[place]!)).toBe(true);
      place++;
    }
    expect(place).toBe(40);
  });

  test("gives the later part first, of the wanted kinds, and nothing twice", () => {
    fill(500_000);
    const counts = (from: number, end: number, kind?: RecordKind): number[] =>
      [...spool.take(from, end, (known) => kind === undefined || known === kind)].map(({ count }) => count);
    expect(counts(36, 40, "edge")).toEqual([37, 39]);
    expect(counts(32, 36)).toEqual([32, 33, 34, 35]);
    expect(counts(32, 40)).toEqual([]);
    expect(counts(0, 3)).toEqual([0, 1, 2]);
  });
});

describe("answers that are held", () => {
  const reply =
    "*4\r\n$2\r\n17\r\n*4\r\n$1\r\na\r\n$5\r\nfirst\r\n$1\r\nb\r\n$0\r\n\r\n*2\r\n$1\r\n8\r\n$2\r\n10\r\n-WRONGTYPE no\r\n";

  function held(): HeldAnswers {
    const block = parsed(reply);
    const answers = new HeldAnswers("redis://test", block);
    let at = TOKEN_STRIDE;
    for (const key of ["usedSpace", "acl", "session8", "wrong"]) {
      answers.hold(Buffer.from(key), at);
      at = behind(block.tokens, at);
    }
    return answers;
  }

  const plain = (value: Reply): unknown => {
    if (value instanceof ReplyFailure) return value.text;
    if (Array.isArray(value)) return value.map(plain);
    return Buffer.isBuffer(value) ? value.toString() : typeof value === "bigint" ? Number(value) : value;
  };

  test.each([
    [["GET", "usedSpace"], "17"],
    [["GET", "absent"], null],
    [
      ["MGET", "usedSpace", "absent", "acl"],
      ["17", null, null],
    ],
    [
      ["HGETALL", "acl"],
      ["a", "first", "b", ""],
    ],
    [["HGETALL", "absent"], []],
    [
      ["SMEMBERS", "session8"],
      ["8", "10"],
    ],
    [["HLEN", "acl"], 1],
    [["HLEN", "absent"], 0],
    [["ZCARD", "absent"], 0],
    [
      ["HMGET", "acl", "b", "none", "a"],
      ["", null, "first"],
    ],
    [["HMGET", "absent", "a"], [null]],
  ])("say to %j what the server would have said: %j", async (command, expected) => {
    expect(plain(await held().call(command))).toEqual(expected);
  });

  test.each([[["HLEN", "wrong"]], [["HGETALL", "wrong"]], [["HMGET", "wrong", "a"]]])(
    "give the error of a value of the wrong type to %j",
    async (command) => {
      await expect(held().call(command)).rejects.toMatchObject({ code: "DECANT_E_REDIS_TYPE" });
    },
  );

  test("come in the order of the commands when several are sent at once", async () => {
    const answers = held();
    answers.send(Buffer.concat([encodeCommand(["GET", "usedSpace"]), encodeCommand(["HLEN", "acl"])]));
    const first = plain(decodeReply(new TokenCursor(await answers.read())));
    expect([first, plain(decodeReply(new TokenCursor(await answers.read())))]).toEqual(["17", 1]);
  });

  test("end with an error for a command that no reader sends", async () => {
    await expect(held().call(["SCAN", "0"])).rejects.toThrow("No held value answers SCAN");
  });
});

test("the reply behind another one is found over nested and empty arrays and nulls", () => {
  const { tokens } = parsed("*5\r\n*2\r\n*1\r\n:1\r\n:2\r\n*0\r\n*-1\r\n$-1\r\n+end\r\n");
  let at = TOKEN_STRIDE;
  const places = Array.from({ length: 5 }, () => {
    const place = at / TOKEN_STRIDE;
    at = behind(tokens, at);
    return place;
  });
  expect(places).toEqual([1, 5, 6, 7, 8]);
});

const LOST = { kind: "node", message: "a loss" } as const;

test("notes about values that are read again count once, and new ones count", () => {
  const notes = new RepeatedNotes(silentLogger);
  notes.loss("Damaged", "i1", LOST);
  notes.loss("Damaged", "i1", LOST); // two keys that look alike in a first pass are two
  notes.isAgain = true;
  notes.loss("Damaged", "i1", LOST);
  notes.loss("Damaged", "i2", LOST);
  notes.remark("Odd", "i1");
  expect(notes.list.map(({ text, count }) => [text, count])).toEqual([
    ["Damaged", 3],
    ["Odd", 1],
  ]);
});
