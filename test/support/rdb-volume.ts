import { readFileSync } from "node:fs";
import {
  double,
  intset,
  listpack,
  rdbCounted,
  rdbEntry,
  rdbLength,
  rdbString,
  textDouble,
  ziplist,
  zipmap,
} from "./rdb-builder.ts";

/** Which form each type of value gets, and of which version of Redis that is. */
export type RdbEra = "2.4" | "3.0" | "5.0" | "7.2" | "elements";

interface Line {
  readonly key_b64: string;
  readonly type: "string" | "list" | "set" | "hash" | "zset";
  readonly value: string | string[] | [string, string][];
}

/** The keys of a .redis.jsonl file as entries of an RDB file, in the forms that a version of Redis wrote. */
export function rdbEntriesOf(file: string, era: RdbEra): Buffer[] {
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => entryOf(JSON.parse(line) as Line, era));
}

function entryOf({ key_b64, type, value }: Line, era: RdbEra): Buffer {
  const key = bytes(key_b64);
  switch (type) {
    case "string":
      return rdbEntry(0, key, rdbString(bytes(value as string)));
    case "list":
      return listEntry(key, (value as string[]).map(bytes), era);
    case "set":
      return setEntry(key, (value as string[]).map(bytes), era);
    case "hash": {
      const items = (value as [string, string][]).flatMap((pair) => pair.map(bytes));
      return hashEntry(key, items, era);
    }
    case "zset":
      return sortedEntry(
        key,
        (value as [string, string][]).map(([member, score]) => [bytes(member), score]),
        era,
      );
  }
}

function listEntry(key: Buffer, items: Buffer[], era: RdbEra): Buffer {
  const middle = items.length >> 1;
  switch (era) {
    case "2.4":
    case "elements":
      return rdbEntry(1, key, rdbCounted(items.length, items.map(rdbString)));
    case "3.0":
      return rdbEntry(10, key, rdbString(ziplist(items)));
    case "5.0": {
      const parts = [items.slice(0, middle), items.slice(middle)].filter((part) => part.length > 0);
      return rdbEntry(
        14,
        key,
        rdbCounted(
          parts.length,
          parts.map((part) => rdbString(ziplist(part))),
        ),
      );
    }
    case "7.2": {
      const [first, ...rest] = items;
      const packed = rest.length === 0 ? [] : [rdbLength(2), rdbString(listpack(rest))];
      const nodes = [rdbLength(1), rdbString(first!), ...packed];
      return rdbEntry(18, key, rdbCounted(rest.length === 0 ? 1 : 2, nodes));
    }
  }
}

function setEntry(key: Buffer, items: Buffer[], era: RdbEra): Buffer {
  const isNumbers = items.every((item) => /^[0-9]+$/.test(item.toString()));
  if (era === "elements" || !isNumbers) return rdbEntry(2, key, rdbCounted(items.length, items.map(rdbString)));
  const numbers = items.map((item) => BigInt(item.toString()));
  if (era === "7.2") return rdbEntry(20, key, rdbString(listpack(numbers.map((number) => ({ number, bits: 64 })))));
  return rdbEntry(11, key, rdbString(intset(numbers, 8)));
}

function hashEntry(key: Buffer, items: Buffer[], era: RdbEra): Buffer {
  switch (era) {
    case "2.4":
      return rdbEntry(9, key, rdbString(zipmap(items, 1)));
    case "3.0":
    case "5.0":
      return rdbEntry(13, key, rdbString(ziplist(items)));
    case "7.2":
      return rdbEntry(16, key, rdbString(listpack(items)));
    case "elements":
      return rdbEntry(4, key, rdbCounted(items.length / 2, items.map(rdbString)));
  }
}

/** Large sorted sets come with the highest score first. */
function sortedEntry(key: Buffer, items: [member: Buffer, score: string][], era: RdbEra): Buffer {
  const flat = items.flatMap(([member, score]) => [member, Buffer.from(score)]);
  switch (era) {
    case "2.4":
      return rdbEntry(
        3,
        key,
        rdbCounted(
          items.length,
          items.flatMap(([m, s]) => [rdbString(m), textDouble(s)]),
        ),
      );
    case "3.0":
    case "5.0":
      return rdbEntry(12, key, rdbString(ziplist(flat)));
    case "7.2":
      return rdbEntry(17, key, rdbString(listpack(flat)));
    case "elements": {
      const backwards = [...items].reverse().flatMap(([m, s]) => [rdbString(m), double(Number(s))]);
      return rdbEntry(5, key, rdbCounted(items.length, backwards));
    }
  }
}

function bytes(base64: string): Buffer {
  return Buffer.from(base64, "base64");
}
