import { describe, expect, test } from "vitest";
import { PairSorter } from "../../../../src/engines/badger/pair-sorter.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

function pair(key: string, value: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(Buffer.byteLength(key, "latin1"), 0);
  head.writeUInt32BE(Buffer.byteLength(value, "latin1"), 4);
  return Buffer.concat([head, Buffer.from(key, "latin1"), Buffer.from(value, "latin1")]);
}

function sorter(maxBytes: number, rankBytes = 0): PairSorter {
  return new PairSorter({ maxBytes, tmpDir: temporaryDirectory(), rankBytes });
}

function drain(sorted: PairSorter): [string, string][] {
  const found: [string, string][] = [];
  while (sorted.next()) {
    const { bytes, keyStart, valueStart, valueEnd } = sorted;
    found.push([bytes.toString("latin1", keyStart, valueStart), bytes.toString("latin1", valueStart, valueEnd)]);
  }
  sorted.close();
  return found;
}

/** Keys as they are in volumes and worse: long common beginnings, keys that others begin with, zero bytes, many in one directory. */
function keyOf(i: number): string {
  const n = (i * 2_654_435_761) % 100_003;
  switch (n % 5) {
    case 0:
      return `A${String.fromCharCode(n & 0xff, (n >> 8) & 0xff)}\0\0\0\0\0\0I`;
    case 1:
      return `A\x07\0\0\0\0\0\0\0Dfile with a long name ${n % 3000}`;
    case 2:
      return "a".repeat(n % 40);
    case 3:
      return "z\0".repeat(n % 30) + (n % 2 === 0 ? "\0" : "");
    default:
      return `C${n}`;
  }
}

function wanted(pairs: readonly (readonly [string, string])[]): [string, string][] {
  return [...new Map(pairs)].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

describe.each([
  ["in memory", 256 * 1024 * 1024],
  ["through a file", 1],
])("pairs are sorted by the bytes of their keys %s", (_, maxBytes) => {
  const pairs = Array.from({ length: 60_000 }, (_, i) => [keyOf(i), `${i} ${"v".repeat(i % 100)}`] as const);

  test("and of each key the pair that came last is kept", () => {
    const sorted = sorter(maxBytes);
    for (let i = 0; i < pairs.length; i += 500) {
      sorted.add(Buffer.concat(pairs.slice(i, i + 500).map(([key, value]) => pair(key, value))));
    }
    expect(drain(sorted)).toEqual(wanted(pairs));
  });

  test("and can be found before that", () => {
    const sorted = sorter(maxBytes);
    const now = new Map<string, string>();
    for (const [i, [key, value]] of pairs.entries()) {
      sorted.add(pair(key, value));
      now.set(key, value);
      if (i % 9973 !== 0) continue;
      const asked = [key, pairs[i >> 1]![0], "not there", pairs[0]![0]];
      const found = sorted.find(asked.map((name) => Buffer.from(name, "latin1")));
      expect(found.map((bytes) => bytes?.toString("latin1"))).toEqual(asked.map((name) => now.get(name)));
    }
    expect(drain(sorted)).toEqual(wanted(pairs));
  });

  test("and of each key the pair with the smallest rank is kept, when there are ranks", () => {
    const sorted = sorter(maxBytes, 8);
    const best = new Map<string, string>();
    for (const [i, [key, value]] of pairs.entries()) {
      const ranked = String((i * 7919) % 1000).padStart(8, "0") + value;
      sorted.add(pair(key, ranked));
      const before = best.get(key);
      if (before === undefined || ranked.slice(0, 8) <= before.slice(0, 8)) best.set(key, ranked);
    }
    expect(drain(sorted)).toEqual(wanted([...best]));
  });
});

test("a page, and a pair, larger than the memory is taken too", () => {
  const sorted = sorter(1);
  const large = "x".repeat(3 * 1024 * 1024);
  sorted.add(Buffer.concat([pair("b", large), pair("a", "1"), pair("c", large)]));
  sorted.add(pair("a", "2"));
  expect(drain(sorted).map(([key, value]) => [key, value.length])).toEqual([
    ["a", 1],
    ["b", large.length],
    ["c", large.length],
  ]);
});

test("more runs than are merged at one time give the same", () => {
  const sorted = sorter(1);
  const value = "v".repeat(10_000);
  const pairs = Array.from({ length: 9000 }, (_, i) => [`key ${(i * 7919) % 4001}`, `${i} ${value}`] as const);
  for (const [key, text] of pairs) sorted.add(pair(key, text));
  expect(drain(sorted)).toEqual(wanted(pairs));
});
