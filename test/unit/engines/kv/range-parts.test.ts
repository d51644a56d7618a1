import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keyAfter } from "../../../../src/engines/kv/prefixed-keys.ts";
import { RangeParts } from "../../../../src/engines/kv/range-parts.ts";

const START = Buffer.from("/v\xfdA", "latin1");
const END = Buffer.from("/v\xfdB", "latin1");
const LIMIT = 100;

interface Seen {
  readonly keys: Buffer[];
  readonly requests: number;
  /** Keys of the index that the server goes through: all up to the end of what is asked for, whatever the limit. */
  readonly steps: number;
}

function firstAtOrAbove(keys: readonly Buffer[], key: Buffer): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]!.compare(key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Reads all keys as a scan does, from a server that answers at once. */
function scan(keys: readonly Buffer[], ahead: number, limit = LIMIT, start: Buffer = START, end: Buffer = END): Seen {
  const seen: Buffer[] = [];
  let [requests, steps] = [0, 0];
  const parts = new RangeParts<Buffer[]>({ start, end });
  const ask = (part: { start: Buffer; end: Buffer }): Buffer[] => {
    requests++;
    const found = keys.slice(firstAtOrAbove(keys, part.start), firstAtOrAbove(keys, part.end));
    steps += found.length;
    return found;
  };
  for (parts.ask({ window: ahead }, ask); parts.first !== undefined; parts.ask({ window: ahead }, ask)) {
    const found = parts.first.answer!;
    const some = found.slice(0, limit);
    seen.push(...some);
    const lastKey = some.at(-1);
    const resumeAt = found.length > some.length ? keyAfter(lastKey!) : undefined;
    parts.received({ count: some.length, firstKey: some[0], lastKey, resumeAt }, limit);
    expect(requests).toBeLessThan(20 * keys.length + 1000);
  }
  return { keys: seen, requests, steps };
}

function inodeKeys(inodes: Iterable<bigint>): Buffer[] {
  const keys = [...inodes].flatMap((inode) => {
    const key = Buffer.alloc(START.length + 9);
    START.copy(key);
    key.writeBigUInt64LE(inode, START.length);
    return ["I", "C\0\0\0\0"].map((tag) => Buffer.concat([key.subarray(0, -1), Buffer.from(tag)]));
  });
  return keys.sort((a, b) => a.compare(b));
}

function numbers(count: number, of: (i: number) => bigint): bigint[] {
  return Array.from({ length: count }, (_, i) => of(i));
}

describe("a range of keys in parts", () => {
  test("gives every key once and in order, whatever the keys are", () => {
    const key = fc
      .uint8Array({ maxLength: 60 })
      .map((bytes) => Buffer.concat([START, bytes.map((byte) => (byte < 200 ? byte % 3 : byte))]));
    fc.assert(
      fc.property(
        fc.array(key),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 4 }),
        (list, limit, ahead) => {
          const keys = [...new Map(list.map((item) => [item.toString("hex"), item])).values()];
          keys.sort((a, b) => a.compare(b));
          expect(scan(keys, ahead, limit).keys).toEqual(keys);
          const [start, end] = [keys[0] ?? START, keys.at(-1) ?? START];
          expect(scan(keys, ahead, limit, keyAfter(start), end).keys).toEqual(keys.slice(1, -1));
        },
      ),
      { numRuns: 300 },
    );
  });

  const VOLUMES: readonly [what: string, keys: Buffer[]][] = [
    ["a volume whose inodes were given one after the other", inodeKeys(numbers(20_000, (i) => BigInt(i + 1)))],
    ["a volume of which most was deleted", inodeKeys(numbers(20_000, (i) => BigInt(i * 37 + 5_000_000_000)))],
    ["trash inodes beside the others", inodeKeys(numbers(20_000, (i) => BigInt(i) + (i % 2 === 0 ? 1n : 1n << 62n)))],
    [
      "numbers that begin with many zeros",
      numbers(40_000, (i) => BigInt(i) * 3n).map((number) => {
        const key = Buffer.alloc(START.length + 8);
        START.copy(key);
        key.writeBigUInt64BE(number, START.length);
        return key;
      }),
    ],
    [
      "one huge directory between small ones",
      [
        ...inodeKeys(numbers(2000, (i) => BigInt(i + 1))),
        ...numbers(36_000, BigInt).map((i) => {
          const name = `D${"a long name that all have in common ".repeat(Number(i % 2n))}${String(i).padStart(6, "0")}.jpg`;
          return Buffer.concat([START, Buffer.of(0x80, 3, 0, 0, 0, 0, 0, 0), Buffer.from(name)]);
        }),
      ].sort((a, b) => a.compare(b)),
    ],
  ];

  test.each(VOLUMES)("takes time by the number of keys, not by its square: %s", (_, keys) => {
    const { keys: seen, requests, steps } = scan(keys, 3);
    expect(seen.length).toBe(keys.length);
    // Without parts it would be half of the square, divided by the limit: 200 times the number of keys.
    expect(steps).toBeLessThan(10 * keys.length);
    expect(requests).toBeLessThan((4 * keys.length) / LIMIT);
  });

  test("passes over wide gaps in few steps", () => {
    const keys = inodeKeys([...numbers(500, (i) => BigInt(i + 1)), ...numbers(500, (i) => (1n << 63n) + BigInt(i))]);
    expect(scan(keys, 3).requests).toBeLessThan(60);
  });
});
