import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { KvMetadataStore } from "../../src/engines/kv/kv-metadata-store.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange, KvSnapshot } from "../../src/engines/kv/kv-store.ts";
import { NEW_VOLUME } from "../conformance/engine-harness.ts";
import { ALL_KEYS, FoundationdbBench, pair } from "../support/foundationdb-bench.ts";

/**
 * What is read of FoundationDB when time runs out and others write. There is no server to be had, so the
 * tests of FoundationDB, and no others of decant, run over an imitation of one: test/support/foundationdb-stand-in.ts.
 */
const never = new AbortController().signal;
const FAMILY: KvRange = { start: Buffer.from("A"), end: Buffer.from("B") };

let bench: FoundationdbBench;
beforeEach(() => {
  bench = new FoundationdbBench();
});

/** Enough for twenty replies of the bench.cluster. */
async function fill(count = 2000): Promise<void> {
  const value = "v".repeat(800);
  const pairs = Array.from({ length: count }, (_, i) => pair(`A${10_000 + i}`, value));
  for (let i = 0; i < count; i += 500) await bench.put(...pairs.slice(i, i + 500));
}

async function keysOf(snapshot: KvSnapshot, range: KvRange = FAMILY): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of snapshot.scan(range)) for (const [key] of pairsOf(page)) keys.push(key.toString());
  return keys;
}

/** From now on every range read takes that long; other things happen at the n-th of them. */
function slowly(ms: number, at: Record<number, () => void | Promise<void>> = {}): void {
  let count = 0;
  bench.cluster.onCall = async (call) => {
    if (call !== "range") return;
    bench.cluster.clock.advance(ms);
    const { onCall } = bench.cluster;
    bench.cluster.onCall = () => undefined; // what happens in between takes no time
    await at[++count]?.();
    bench.cluster.onCall = onCall;
  };
}

async function slowScan(ms: number, at: Record<number, () => void | Promise<void>> = {}) {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (text) => warnings.push(text) };
  const snapshot = await bench.store.openSnapshot({ signal: never, logger });
  slowly(ms, at);
  const keys = await keysOf(snapshot);
  bench.cluster.onCall = () => undefined;
  const { pointInTime, method } = snapshot;
  await snapshot.close();
  expect(bench.cluster.clock.waiting).toBe(0);
  return { keys, pointInTime, method, warnings };
}

describe("a volume that is read for longer than FoundationDB keeps a version", () => {
  beforeEach(() => fill());

  test("is one point in time where it needs one version only", async () => {
    const { keys, pointInTime, method, warnings } = await slowScan(100, {
      5: () => bench.put(pair("A10000", "changed")),
    });
    expect([keys.length, pointInTime, warnings]).toEqual([2000, true, []]);
    expect(method).toMatch(/^all keys were read at version \d+ of FoundationDB$/);
  });

  test("is one point in time when nobody changes it, which is confirmed", async () => {
    const before = await bench.pairsNow();
    const { keys, pointInTime, method, warnings } = await slowScan(1000);
    expect([keys.length, new Set(keys).size, pointInTime, warnings]).toEqual([2000, 2000, true, []]);
    expect(method).toMatch(
      /^keys were read at \d+ versions of FoundationDB, which keeps one for five seconds, and it confirmed each time that what had been read was still the same: all is as of version \d+$/,
    );
    expect(await bench.pairsNow()).toEqual(before); // the checks have stored nothing
  });

  test.each([
    ["changed", pair("A10000", "changed")],
    ["removed", pair("A10001", undefined)],
    ["added between what was there", pair("A10002x", "new")],
    ["added before all of it", pair("A0", "new")],
  ])("is none when what was read has been %s", async (_, change) => {
    const { keys, pointInTime, method, warnings } = await slowScan(1000, { 3: () => bench.put(change) });
    expect([keys.length, pointInTime]).toEqual([2000, false]);
    expect(method).toMatch(
      /^keys were read at \d+ versions .*, and what had been read was changed meanwhile or could not/,
    );
    expect(warnings).toHaveLength(1);
  });

  test("is as of the last version when only that was changed which had not been read yet", async () => {
    const { keys, pointInTime } = await slowScan(1000, {
      2: () => bench.put(pair("A11998", undefined), pair("A11999x", "new")),
    });
    expect([keys.length, keys.at(-1), keys.includes("A11998"), pointInTime]).toEqual([2000, "A11999x", false, true]);
  });

  test("is one point in time while sessions of clients go on beside it", async () => {
    const beats = Array.from({ length: 20 }, (_, i) => [i + 1, () => bench.put(pair("SE1", `${i}`))] as const);
    expect(await slowScan(1000, Object.fromEntries(beats))).toMatchObject({ pointInTime: true });
  });

  test("is exact when it ends within the version of which a later part would not have been confirmed", async () => {
    // twenty replies in 4.6 s: the check after two is refused, and the version still lasts
    const { keys, pointInTime, method } = await slowScan(230, { 3: () => bench.put(pair("A10000", "changed")) });
    expect([keys.length, pointInTime]).toEqual([2000, true]);
    expect(method).toMatch(/^all keys were read at version/);
  });

  test.each([
    ["was lost, and it was taken", 1021, true, true],
    ["was lost, and it was not taken", 1021, false, true],
    ["never came", 1031, true, false],
    ["is that the database is locked", 1038, false, false],
  ])("is confirmed again where the answer to a check %s", async (_, code, done, pointInTime) => {
    bench.cluster.fail("commit", code, { done });
    expect(await slowScan(1000)).toMatchObject({ pointInTime });
  });

  test("stays one point in time while nobody reads on, and is none after a standstill", async () => {
    const snapshot = await bench.store.openSnapshot({ signal: never, logger: silentLogger });
    const pages = snapshot.scan(FAMILY)[Symbol.asyncIterator]();
    expect((await pages.next()).done).toBe(false);
    for (let second = 0; second < 30; second++) {
      bench.cluster.clock.advance(1000);
      for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await pages.next()).done).toBe(false);
    expect(snapshot.pointInTime).toBe(true);
    bench.cluster.clock.advance(6000); // as a process does that was stopped
    while (!(await pages.next()).done);
    expect(snapshot.pointInTime).toBe(false);
    await snapshot.close();
    expect(bench.cluster.clock.waiting).toBe(0);
  });

  test("counts no version before anything was read", async () => {
    const snapshot = await bench.store.openSnapshot({ signal: never, logger: silentLogger });
    await bench.put(pair("A10000", "changed"));
    bench.cluster.clock.advance(60_000);
    const [value] = await snapshot.get([Buffer.from("A10000")]);
    expect([value?.toString(), snapshot.pointInTime]).toEqual(["changed", true]);
    expect(snapshot.method).toMatch(/^all keys were read at version/);
    await snapshot.close();
  });

  test("is what it says by several scans and look-ups at one time", async () => {
    const snapshot = await bench.store.openSnapshot({ signal: never, logger: silentLogger });
    slowly(500);
    const single = (async () => {
      for (let i = 0; i < 100; i++) expect(await snapshot.get([Buffer.from(`A${10_000 + i}`)])).toHaveLength(1);
    })();
    const scans = await Promise.all([keysOf(snapshot), keysOf(snapshot), keysOf(snapshot, ALL_KEYS), single]);
    expect(scans.slice(0, 3).map((keys) => keys?.length)).toEqual([2000, 2000, 2000]);
    expect(snapshot.pointInTime).toBe(true);
    await snapshot.close();
  });

  test("is told of in the consistency of a snapshot, also to those who asked for it before", async () => {
    const metadata = new KvMetadataStore(bench.open());
    await metadata.createVolume(NEW_VOLUME, never);
    const snapshot = await metadata.openSnapshot({ signal: never, logger: silentLogger });
    const { consistency } = snapshot;
    expect(consistency.pointInTime).toBe(true);
    slowly(1000, { 3: () => bench.put(pair("A10000", "changed")) });
    for await (const batch of snapshot.records({ kinds: new Set(["node"]) })) expect(batch.kind).toBe("node");
    expect({ ...consistency }).toMatchObject({
      pointInTime: false,
      method: expect.stringMatching(/changed meanwhile/),
    });
    await snapshot.close();
  });
});

test("what is said to be one point in time is the state of one version, whatever others do and when", async () => {
  const change = fc.record({
    at: fc.integer({ min: 1, max: 12 }),
    key: fc.integer({ min: 0, max: 399 }),
    isRemoved: fc.boolean(),
  });
  let exact = 0;
  let inexact = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 200, max: 1600 }),
      fc.integer({ min: 1, max: 3 }),
      async (changes, ms, scans) => {
        bench = new FoundationdbBench();
        const state = new Map<string, string>();
        const value = "v".repeat(4000);
        for (let i = 0; i < 400; i += 2) state.set(`A${1000 + i}`, value);
        await bench.put(...Array.from(state, ([key, text]) => pair(key, text)));
        /** All states that there were, by version. */
        const states: { version: bigint; content: Map<string, string> }[] = [
          { version: bench.cluster.version, content: new Map(state) },
        ];
        const at: Record<number, () => Promise<void>> = {};
        for (const { at: when, key, isRemoved } of changes) {
          at[when] = async () => {
            const name = `A${1000 + key}`;
            if (isRemoved) state.delete(name);
            else state.set(name, `changed at ${when}`);
            await bench.put(pair(name, state.get(name)));
            states.push({ version: bench.cluster.version, content: new Map(state) });
          };
        }
        const snapshot = await bench.store.openSnapshot({ signal: never, logger: silentLogger });
        slowly(ms, at);
        const found = new Map<string, string>();
        const parts = Array.from({ length: scans }, async (_, i) => {
          const start = Buffer.from(`A${1000 + Math.floor((i * 400) / scans)}`);
          const end = Buffer.from(`A${1000 + Math.floor(((i + 1) * 400) / scans)}`);
          for await (const page of snapshot.scan({ start, end })) {
            for (const [key, text] of pairsOf(page)) found.set(key.toString(), text.toString());
          }
        });
        await Promise.all(parts);
        bench.cluster.onCall = () => undefined;
        if (snapshot.pointInTime) {
          const version = BigInt(/version (\d+)/.exec(snapshot.method)![1]!);
          const expected = states.findLast((one) => one.version <= version)!.content;
          expect(new Map([...found].sort())).toEqual(new Map([...expected].sort()));
          exact++;
        } else inexact++;
        await snapshot.close();
      },
    ),
    { numRuns: 150 },
  );
  expect([exact > 10, inexact > 10]).toEqual([true, true]); // both were seen
});
