import { describe, expect, test } from "vitest";
import { keyAfter } from "../../../../src/engines/kv/prefixed-keys.ts";
import { type PartResult, RangeParts } from "../../../../src/engines/kv/range-parts.ts";

const LIMIT = 100;
const START = Buffer.from("volume\xfdA", "latin1");
const END = Buffer.from("volume\xfdB", "latin1");

interface Walk {
  readonly found: Buffer[];
  readonly requests: number;
  /** Of all requests, those that were out while the first one was waited for. */
  readonly widest: number;
}

/** Reads sorted keys as a store would, by parts of `LIMIT`. */
function walk(keys: readonly Buffer[], workers: number): Walk {
  const parts = new RangeParts<PartResult & { keys: Buffer[] }>({ start: START, end: END });
  const found: Buffer[] = [];
  let requests = 0;
  let widest = 0;
  const ask = (): void =>
    parts.ask({ atOnce: workers }, ({ start, end }) => {
      requests++;
      const within = keys.filter((key) => key.compare(start) >= 0 && key.compare(end) < 0).slice(0, LIMIT);
      const isFull = within.length === LIMIT;
      return {
        keys: within,
        count: within.length,
        firstKey: within[0],
        lastKey: within.at(-1),
        resumeAt: isFull ? keyAfter(within.at(-1)!) : undefined,
      };
    });
  ask();
  for (let part = parts.first; part !== undefined; part = parts.first) {
    widest = Math.max(widest, parts.asked.length);
    const answer = part.answer!;
    found.push(...answer.keys);
    parts.received(answer, LIMIT);
    ask();
  }
  return { found, requests, widest };
}

function inodeKey(inode: number, rest: string): Buffer {
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(BigInt(inode));
  return Buffer.concat([START, key, Buffer.from(rest, "latin1")]);
}

const sorted = (keys: Buffer[]): Buffer[] => keys.sort((a, b) => a.compare(b));
const name = (i: number): string => `D${"a name that all have in common ".repeat(3)}${100_000 + i}`;

const VOLUMES: Readonly<Record<string, Buffer[]>> = {
  "no key": [],
  "one key": [inodeKey(1, "I")],
  "exactly one page": sorted(Array.from({ length: LIMIT }, (_, i) => inodeKey(i, "I"))),
  inodes: sorted(Array.from({ length: 10_000 }, (_, i) => inodeKey(i, "I"))),
  "inodes with entries, chunks and trash": sorted(
    Array.from({ length: 2000 }, (_, i) => [
      inodeKey(i, "I"),
      inodeKey(i % 37, `D${i}`),
      inodeKey(i, "C\0\0\0\0"),
    ]).flat(),
  ),
  "one huge directory": sorted(Array.from({ length: 5000 }, (_, i) => inodeKey(1, `D${i}`))),
  "one huge directory of long names": sorted(Array.from({ length: 3000 }, (_, i) => inodeKey(1, name(i)))),
  "two clusters far from each other": sorted(
    Array.from({ length: 1500 }, (_, i) => [inodeKey(0x01, `D${i}`), inodeKey(0xfe, `D${i}`)]).flat(),
  ),
};

describe("parts of a range that are read side by side", () => {
  for (const [what, keys] of Object.entries(VOLUMES)) {
    test.each([1, 4, 16])(`${what}: every key comes once and in order with %i workers`, (workers) => {
      const { found, requests, widest } = walk(keys, workers);
      expect(found.map((key) => key.toString("hex"))).toEqual(keys.map((key) => key.toString("hex")));
      expect(widest).toBeLessThanOrEqual(workers);
      // a page each would be the fewest; gaps and clusters cost some more
      expect(requests).toBeLessThanOrEqual(3 * Math.ceil(keys.length / LIMIT) + 10 * workers + 20);
    });
  }

  test("as many as there are workers are out at one time where there is enough to read", () => {
    expect([1, 4, 16].map((workers) => walk(VOLUMES.inodes!, workers).widest)).toEqual([1, 4, 16]);
  });

  test("a range without a key between its ends is not asked for", () => {
    const parts = new RangeParts<number>({ start: END, end: END });
    parts.ask({ atOnce: 4 }, () => 1);
    expect(parts.first).toBeUndefined();
  });
});
