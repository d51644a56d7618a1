import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { DecantError } from "../../src/base/errors.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { preparePackage } from "../../src/engines/foundationdb/foundationdb-package.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { KvMetadataStore } from "../../src/engines/kv/kv-metadata-store.ts";
import { PageBuilder, pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvGuard, KvPair, KvRange, KvSnapshot } from "../../src/engines/kv/kv-store.ts";
import { NEW_VOLUME } from "../conformance/engine-harness.ts";
import { type Call, type StandInCluster, StandInPackage } from "../support/foundationdb-stand-in.ts";

/**
 * What FoundationDB does when time runs out, when others write and when answers are lost. There is no server to be had, so these
 * tests, and no others of decant, run over an imitation of one: test/support/foundationdb-stand-in.ts.
 */
const never = new AbortController().signal;
const ALL: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
const FAMILY: KvRange = { start: Buffer.from("A"), end: Buffer.from("B") };

let fdb: StandInPackage;
let cluster: StandInCluster;
let store: FoundationdbStore;

beforeEach(() => {
  fdb = new StandInPackage();
  preparePackage(fdb);
  cluster = fdb.cluster("/c");
  store = open();
});

function open(): FoundationdbStore {
  return new FoundationdbStore(fdb, parseFoundationdbAddress("fdb:///c?prefix=p"), cluster.clock);
}

function pair(key: string, value: string | undefined): KvPair {
  return { key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) };
}

async function put(...pairs: readonly KvPair[]): Promise<void> {
  expect(await open().transact({ conditions: [], changes: pairs }, never)).toBe(true);
}

/** Enough for twenty replies of the cluster. */
async function fill(count = 2000): Promise<void> {
  const value = "v".repeat(800);
  const pairs = Array.from({ length: count }, (_, i) => pair(`A${10_000 + i}`, value));
  for (let i = 0; i < count; i += 500) await put(...pairs.slice(i, i + 500));
}

async function keysOf(snapshot: KvSnapshot, range: KvRange = FAMILY): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of snapshot.scan(range)) for (const [key] of pairsOf(page)) keys.push(key.toString());
  return keys;
}

async function pairsNow(): Promise<Record<string, string>> {
  const snapshot = await open().openSnapshot({ signal: never, logger: silentLogger });
  const found: Record<string, string> = {};
  for await (const page of snapshot.scan(ALL)) {
    for (const [key, value] of pairsOf(page)) found[key.toString("latin1")] = value.toString();
  }
  await snapshot.close();
  return found;
}

async function failure(attempt: Promise<unknown>): Promise<DecantError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(DecantError);
  return error as DecantError;
}

/** From now on every range read takes that long; other things happen at the n-th of them. */
function slowly(ms: number, at: Record<number, () => void | Promise<void>> = {}): void {
  let count = 0;
  cluster.onCall = async (call) => {
    if (call !== "range") return;
    cluster.clock.advance(ms);
    const { onCall } = cluster;
    cluster.onCall = () => undefined; // what happens in between takes no time
    await at[++count]?.();
    cluster.onCall = onCall;
  };
}

async function slowScan(ms: number, at: Record<number, () => void | Promise<void>> = {}) {
  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (text) => warnings.push(text) };
  const snapshot = await store.openSnapshot({ signal: never, logger });
  slowly(ms, at);
  const keys = await keysOf(snapshot);
  cluster.onCall = () => undefined;
  const { pointInTime, method } = snapshot;
  await snapshot.close();
  expect(cluster.clock.waiting).toBe(0);
  return { keys, pointInTime, method, warnings };
}

describe("a volume that is read for longer than FoundationDB keeps a version", () => {
  beforeEach(() => fill());

  test("is one point in time where it needs one version only", async () => {
    const { keys, pointInTime, method, warnings } = await slowScan(100, { 5: () => put(pair("A10000", "changed")) });
    expect([keys.length, pointInTime, warnings]).toEqual([2000, true, []]);
    expect(method).toMatch(/^all keys were read at version \d+ of FoundationDB$/);
  });

  test("is one point in time when nobody changes it, which is confirmed", async () => {
    const before = await pairsNow();
    const { keys, pointInTime, method, warnings } = await slowScan(1000);
    expect([keys.length, new Set(keys).size, pointInTime, warnings]).toEqual([2000, 2000, true, []]);
    expect(method).toMatch(
      /^keys were read at \d versions of FoundationDB, which keeps one for five seconds, and it confirmed each time that what had been read was still the same: all is as of version \d+$/,
    );
    expect(await pairsNow()).toEqual(before); // the checks have stored nothing
  });

  test.each([
    ["changed", pair("A10000", "changed")],
    ["removed", pair("A10001", undefined)],
    ["added between what was there", pair("A10002x", "new")],
    ["added before all of it", pair("A0", "new")],
  ])("is none when what was read has been %s", async (_, change) => {
    const { keys, pointInTime, method, warnings } = await slowScan(1000, { 3: () => put(change) });
    expect([keys.length, pointInTime]).toEqual([2000, false]);
    expect(method).toMatch(
      /^keys were read at \d versions .*, and what had been read was changed meanwhile or could not/,
    );
    expect(warnings).toHaveLength(1);
  });

  test("is as of the last version when only that was changed which had not been read yet", async () => {
    const { keys, pointInTime } = await slowScan(1000, {
      2: () => put(pair("A11998", undefined), pair("A11999x", "new")),
    });
    expect([keys.length, keys.at(-1), keys.includes("A11998"), pointInTime]).toEqual([2000, "A11999x", false, true]);
  });

  test("is one point in time while sessions of clients go on beside it", async () => {
    const beats = Array.from({ length: 20 }, (_, i) => [i + 1, () => put(pair("SE1", `${i}`))] as const);
    expect(await slowScan(1000, Object.fromEntries(beats))).toMatchObject({ pointInTime: true });
  });

  test("is exact when it ends within the version of which a later part would not have been confirmed", async () => {
    // twenty replies in 4.6 s: the check at 4 s is refused, and the version still lasts
    const { keys, pointInTime, method } = await slowScan(230, { 3: () => put(pair("A10000", "changed")) });
    expect([keys.length, pointInTime]).toEqual([2000, true]);
    expect(method).toMatch(/^all keys were read at version/);
  });

  test.each([
    ["was lost, and it was taken", 1021, true, true],
    ["was lost, and it was not taken", 1021, false, true],
    ["never came", 1031, true, false],
    ["is that the database is locked", 1038, false, false],
  ])("is confirmed again where the answer to a check %s", async (_, code, done, pointInTime) => {
    cluster.fail("commit", code, { done });
    expect(await slowScan(1000)).toMatchObject({ pointInTime });
  });

  test("stays one point in time while nobody reads on, and is none after a standstill", async () => {
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    const pages = snapshot.scan(FAMILY)[Symbol.asyncIterator]();
    expect((await pages.next()).done).toBe(false);
    for (let second = 0; second < 30; second++) {
      cluster.clock.advance(1000);
      for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await pages.next()).done).toBe(false);
    expect(snapshot.pointInTime).toBe(true);
    cluster.clock.advance(6000); // as a process does that was stopped
    while (!(await pages.next()).done);
    expect(snapshot.pointInTime).toBe(false);
    await snapshot.close();
    expect(cluster.clock.waiting).toBe(0);
  });

  test("counts no version before anything was read", async () => {
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    await put(pair("A10000", "changed"));
    cluster.clock.advance(60_000);
    const [value] = await snapshot.get([Buffer.from("A10000")]);
    expect([value?.toString(), snapshot.pointInTime]).toEqual(["changed", true]);
    expect(snapshot.method).toMatch(/^all keys were read at version/);
    await snapshot.close();
  });

  test("is what it says by several scans and look-ups at one time", async () => {
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    slowly(500);
    const single = (async () => {
      for (let i = 0; i < 100; i++) expect(await snapshot.get([Buffer.from(`A${10_000 + i}`)])).toHaveLength(1);
    })();
    const scans = await Promise.all([keysOf(snapshot), keysOf(snapshot), keysOf(snapshot, ALL), single]);
    expect(scans.slice(0, 3).map((keys) => keys?.length)).toEqual([2000, 2000, 2000]);
    expect(snapshot.pointInTime).toBe(true);
    await snapshot.close();
  });

  test("is told of in the consistency of a snapshot, also to those who asked for it before", async () => {
    const metadata = new KvMetadataStore(open());
    await metadata.createVolume(NEW_VOLUME, never);
    const snapshot = await metadata.openSnapshot({ signal: never, logger: silentLogger });
    const { consistency } = snapshot;
    expect(consistency.pointInTime).toBe(true);
    slowly(1000, { 3: () => put(pair("A10000", "changed")) });
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
    at: fc.integer({ min: 1, max: 40 }),
    key: fc.integer({ min: 0, max: 399 }),
    isRemoved: fc.boolean(),
  });
  let exact = 0;
  let inexact = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 4 }),
      fc.integer({ min: 50, max: 1400 }),
      fc.integer({ min: 1, max: 3 }),
      async (changes, ms, scans) => {
        fdb = new StandInPackage();
        preparePackage(fdb);
        cluster = fdb.cluster("/c");
        store = open();
        const state = new Map<string, string>();
        const value = "v".repeat(4000);
        for (let i = 0; i < 400; i += 2) state.set(`A${1000 + i}`, value);
        await put(...Array.from(state, ([key, text]) => pair(key, text)));
        /** All states that there were, by version. */
        const states: { version: bigint; content: Map<string, string> }[] = [
          { version: cluster.version, content: new Map(state) },
        ];
        const at: Record<number, () => Promise<void>> = {};
        for (const { at: when, key, isRemoved } of changes) {
          at[when] = async () => {
            const name = `A${1000 + key}`;
            if (isRemoved) state.delete(name);
            else state.set(name, `changed at ${when}`);
            await put(pair(name, state.get(name)));
            states.push({ version: cluster.version, content: new Map(state) });
          };
        }
        const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
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
        cluster.onCall = () => undefined;
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
  expect([exact > 20, inexact > 20]).toEqual([true, true]); // both were seen
});

describe("a change in FoundationDB", () => {
  const increment = { conditions: [pair("n", "1")], changes: [pair("n", "2")] };
  beforeEach(() => put(pair("n", "1")));

  test("whose answer was lost is made again when it was not made", async () => {
    cluster.fail("commit", 1021);
    expect(await store.transact(increment, never)).toBe(true);
    expect(await pairsNow()).toEqual({ n: "2" });
  });

  test("whose answer was lost is not taken for refused when it was made", async () => {
    cluster.fail("commit", 1021, { done: true });
    expect(await failure(store.transact(increment, never))).toMatchObject({
      code: "DECANT_E_OUTCOME_UNKNOWN",
      message:
        "Cannot tell whether a change of fdb:///c?prefix=p is stored: FoundationDB at fdb:///c?prefix=p refused a request: Transaction may or may not have committed (1021)",
    });
    expect(await pairsNow()).toEqual({ n: "2" });
  });

  test("whose answer was lost is known by its lines in the change log", async () => {
    cluster.fail("commit", 1021, { done: true });
    expect(await store.transact({ ...increment, logEntries: ["a line", "another"] }, never)).toBe(true);
    const { n, ...lines } = await pairsNow();
    expect([n, Object.values(lines)]).toEqual(["2", ["a line", "another"]]);
  });

  test("that may still be under way is not made again", async () => {
    for (const code of [1031, 1039]) {
      cluster.fail("commit", code);
      expect((await failure(store.transact(increment, never))).code).toBe("DECANT_E_OUTCOME_UNKNOWN");
      expect(await pairsNow()).toEqual({ n: "1" });
    }
  });

  test("stays unknown when nobody answers after its answer was lost", async () => {
    cluster.fail("commit", 1021, { done: true });
    cluster.fail("get", 1031, { skip: 1 });
    expect((await failure(store.transact(increment, never))).code).toBe("DECANT_E_OUTCOME_UNKNOWN");
  });

  test("of many who increment at once none is lost, and none is counted twice", async () => {
    let [made, unknown] = [0, 0];
    for (const [skip, done] of [5, 9, 20, 31].map((at, i) => [at, i % 2 === 0] as const)) {
      cluster.fail("commit", 1021, { skip, done });
    }
    const one = async (own: FoundationdbStore): Promise<void> => {
      for (let count = 0; count < 10; count++) {
        for (let isMade = false; !isMade; ) {
          const [value] = await own.get([Buffer.from("n")], never);
          const next = pair("n", String(Number(value!.toString()) + 1));
          try {
            isMade = await own.transact({ conditions: [pair("n", value!.toString())], changes: [next] }, never);
            if (isMade) made++;
          } catch (error) {
            expect(error).toMatchObject({ code: "DECANT_E_OUTCOME_UNKNOWN" });
            unknown++;
            isMade = true;
          }
        }
      }
    };
    await Promise.all([one(open()), one(open()), one(open())]);
    const total = Number((await pairsNow()).n) - 1;
    expect(made + unknown).toBe(30);
    expect(total).toBeGreaterThanOrEqual(made);
    expect(total).toBeLessThanOrEqual(made + unknown);
    expect(unknown).toBeGreaterThan(0);
  });

  test("is tried again after a conflict, and refused when its condition does not hold any more", async () => {
    let isDone = false;
    cluster.onCall = async (call) => {
      if (call !== "commit" || isDone) return;
      isDone = true;
      await put(pair("n", "3"));
    };
    expect(await store.transact(increment, never)).toBe(false);
    expect(await pairsNow()).toEqual({ n: "3" });
  });

  test("stops when it is told to, whatever the cluster does", async () => {
    const controller = new AbortController();
    cluster.onCall = () => {
      controller.abort();
      return new Promise(() => undefined);
    };
    await expect(store.transact(increment, controller.signal)).rejects.toThrow(/abort/i);
  });
});

describe("FoundationDB", () => {
  test.each([
    [1038, "DECANT_E_FOUNDATIONDB_LOCKED", "FoundationDB at fdb:///c?prefix=p is locked: Database is locked (1038)"],
    [
      1031,
      "DECANT_E_FOUNDATIONDB_UNAVAILABLE",
      "FoundationDB at fdb:///c?prefix=p is not available: Operation aborted because the transaction timed out (1031)",
    ],
    [4100, "DECANT_E_FOUNDATIONDB", "FoundationDB at fdb:///c?prefix=p refused a request: Error 4100 (4100)"],
  ])("that answers with %i is reported at once", async (number, code, message) => {
    cluster.fail("get", number);
    expect(await failure(store.get([Buffer.from("a")], never))).toMatchObject({ code, message });
  });

  test("that stays behind is waited for a minute, and then it is said why", async () => {
    cluster.fail("get", 1037, { times: Number.POSITIVE_INFINITY });
    cluster.onCall = () => cluster.clock.advance(2500);
    expect(await failure(store.get([Buffer.from("a")], never))).toMatchObject({
      code: "DECANT_E_FOUNDATIONDB_UNAVAILABLE",
      message:
        "FoundationDB at fdb:///c?prefix=p is not available: Storage process does not have recent mutations (1037)",
    });
    expect(cluster.clock.now()).toBeGreaterThanOrEqual(60_000);
    expect(cluster.clock.now()).toBeLessThan(70_000);
  });

  test("without a cluster file is reported with its name", () => {
    const address = parseFoundationdbAddress("fdb:///missing");
    expect(() => new FoundationdbStore(fdb, address)).toThrow(
      "FoundationDB at fdb:///missing has no cluster file that can be used: No cluster file found in current directory or default location (1515)",
    );
  });
});

describe("a load into FoundationDB", () => {
  const many = Array.from({ length: 12_000 }, (_, i) => pair(`A${(i * 7919) % 12_000}`, `value ${i}`));
  const wanted = Object.fromEntries([...many, pair("setting", "1")].map(({ key, value }) => [`${key}`, `${value}`]));

  function guardOf(value: string): KvGuard {
    return {
      key: Buffer.from("guard"),
      value: Buffer.from(value),
      absent: Buffer.from("setting"),
      lost: () => new DecantError("LOST", "Somebody else has taken it"),
    };
  }

  async function load(pairs: readonly KvPair[], warnings: string[] = []): Promise<void> {
    const logger: Logger = { ...silentLogger, warn: (text) => warnings.push(text) };
    const writer = await store.openBulkWriter({ signal: never, logger, maxBytes: 1, guard: guardOf("token") });
    try {
      for (let i = 0; i < pairs.length; i += 1000) {
        const pages = new PageBuilder(65_536);
        for (const { key, value } of pairs.slice(i, i + 1000)) pages.put(key, value!);
        await writer!.write(pages.take()!);
      }
      await writer!.finish([pair("setting", "1")]);
    } catch (error) {
      await writer!.abort();
      throw error;
    }
  }

  const CALLS: readonly Call[] = ["version", "get", "range", "commit"];
  const COUNTS: Record<Call, number> = { version: 5, get: 8, range: 1, commit: 5 };

  test("makes so many calls", async () => {
    const counts: Record<Call, number> = { version: 0, get: 0, range: 0, commit: 0 };
    cluster.onCall = (call) => void counts[call]++;
    await load(many);
    cluster.onCall = () => undefined;
    expect(counts).toEqual(COUNTS);
    expect(await pairsNow()).toEqual(wanted);
  });

  const each = (calls: readonly Call[]): (readonly [Call, number])[] =>
    calls.flatMap((call) => Array.from({ length: COUNTS[call] }, (_, skip) => [call, skip] as const));

  test.each(each(CALLS))("goes on when %s number %i fails and can be tried again", async (call, skip) => {
    cluster.fail(call, call === "commit" ? 1020 : 1037, { skip });
    await load(many);
    expect(await pairsNow()).toEqual(wanted);
  });

  test.each(each(["commit"]))("goes on when the answer to %s number %i is lost", async (call, skip) => {
    for (const done of [true, false]) {
      cluster.fail(call, 1021, { skip, done });
      await load(many);
      expect(await pairsNow()).toEqual(wanted);
      await store.deleteRange(ALL, { signal: never });
    }
  });

  test.each(each(CALLS))("leaves nothing when %s number %i fails for good", async (call, skip) => {
    cluster.fail(call, 4100, { skip });
    const warnings: string[] = [];
    const error: unknown = await load(many, warnings).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Error);
    expect([await pairsNow(), warnings]).toEqual([{}, []]);
  });

  test("stays well below the limits of a transaction", async () => {
    const large = Array.from({ length: 300 }, (_, i) => pair(`A${i}`, "v".repeat(100_000)));
    const small = Array.from({ length: 20_000 }, (_, i) => pair(`B${i}`, ""));
    await load([...large, ...small]);
    expect(Math.max(...cluster.committedBytes)).toBeLessThan(1_000_000);
    expect(Object.keys(await pairsNow())).toHaveLength(20_301);
  });

  test.each([
    ["value", pair("A1", "v".repeat(100_001))],
    ["key", pair(`A${"k".repeat(9999)}`, "v")],
  ])("names a %s that is too large before it is written", async (_, tooLarge) => {
    expect(await failure(load([pair("A0", "v"), tooLarge]))).toMatchObject({
      code: "DECANT_E_FOUNDATIONDB_TOO_LARGE",
      message: expect.stringMatching(
        /^FoundationDB cannot store the key A[1k]+: it has \d+ bytes and \d+ in its value/,
      ),
    });
    expect(await pairsNow()).toEqual({});
  });

  test("ends when somebody takes the range, and leaves alone what is there", async () => {
    let commits = 0;
    cluster.onCall = async (call) => {
      if (call !== "commit" || ++commits !== 4) return;
      await open().transact({ conditions: [], changes: [pair("setting", "theirs")] }, never);
    };
    const error = await failure(load(many));
    expect(error.code).toBe("LOST");
    expect((await pairsNow()).setting).toBe("theirs");
  });
});
