import { beforeEach, describe, expect, test } from "vitest";
import { DecantError } from "../../src/base/errors.ts";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { PageBuilder } from "../../src/engines/kv/kv-page.ts";
import type { KvGuard, KvPair } from "../../src/engines/kv/kv-store.ts";
import { ALL_KEYS, FoundationdbBench, pair } from "../support/foundationdb-bench.ts";
import type { Call } from "../support/foundationdb-stand-in.ts";

/**
 * What becomes of changes and loads when answers are lost and others write. There is no server to be had, so the
 * tests of FoundationDB, and no others of decant, run over an imitation of one: test/support/foundationdb-stand-in.ts.
 */
const never = new AbortController().signal;

let bench: FoundationdbBench;
beforeEach(() => {
  bench = new FoundationdbBench();
});

async function failure(attempt: Promise<unknown>): Promise<DecantError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(DecantError);
  return error as DecantError;
}

describe("a change in FoundationDB", () => {
  const increment = { conditions: [pair("n", "1")], changes: [pair("n", "2")] };
  beforeEach(() => bench.put(pair("n", "1")));

  test("whose answer was lost is made again when it was not made", async () => {
    bench.cluster.fail("commit", 1021);
    expect(await bench.store.transact(increment, never)).toBe(true);
    expect(await bench.pairsNow()).toEqual({ n: "2" });
  });

  test("whose answer was lost is not taken for refused when it was made", async () => {
    bench.cluster.fail("commit", 1021, { done: true });
    expect(await failure(bench.store.transact(increment, never))).toMatchObject({
      code: "DECANT_E_OUTCOME_UNKNOWN",
      message:
        "Cannot tell whether a change of fdb:///c?prefix=p is stored: FoundationDB at fdb:///c?prefix=p refused a request: Transaction may or may not have committed (1021)",
    });
    expect(await bench.pairsNow()).toEqual({ n: "2" });
  });

  test("whose answer was lost is known by its lines in the change log", async () => {
    bench.cluster.fail("commit", 1021, { done: true });
    expect(await bench.store.transact({ ...increment, logEntries: ["a line", "another"] }, never)).toBe(true);
    const { n, ...lines } = await bench.pairsNow();
    expect([n, Object.values(lines)]).toEqual(["2", ["a line", "another"]]);
  });

  test("that may still be under way is not made again", async () => {
    for (const code of [1031, 1039]) {
      bench.cluster.fail("commit", code);
      expect((await failure(bench.store.transact(increment, never))).code).toBe("DECANT_E_OUTCOME_UNKNOWN");
      expect(await bench.pairsNow()).toEqual({ n: "1" });
    }
  });

  test("stays unknown when nobody answers after its answer was lost", async () => {
    bench.cluster.fail("commit", 1021, { done: true });
    bench.cluster.fail("get", 1031, { skip: 1 });
    expect((await failure(bench.store.transact(increment, never))).code).toBe("DECANT_E_OUTCOME_UNKNOWN");
  });

  test("of many who increment at once none is lost, and none is counted twice", async () => {
    let [made, unknown] = [0, 0];
    for (const [skip, done] of [5, 9, 20, 31].map((at, i) => [at, i % 2 === 0] as const)) {
      bench.cluster.fail("commit", 1021, { skip, done });
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
    await Promise.all([one(bench.open()), one(bench.open()), one(bench.open())]);
    const total = Number((await bench.pairsNow()).n) - 1;
    expect(made + unknown).toBe(30);
    expect(total).toBeGreaterThanOrEqual(made);
    expect(total).toBeLessThanOrEqual(made + unknown);
    expect(unknown).toBeGreaterThan(0);
  });

  test("is tried again after a conflict, and refused when its condition does not hold any more", async () => {
    let isDone = false;
    bench.cluster.onCall = async (call) => {
      if (call !== "commit" || isDone) return;
      isDone = true;
      await bench.put(pair("n", "3"));
    };
    expect(await bench.store.transact(increment, never)).toBe(false);
    expect(await bench.pairsNow()).toEqual({ n: "3" });
  });

  test("stops when it is told to, whatever the cluster does", async () => {
    const controller = new AbortController();
    bench.cluster.onCall = () => {
      controller.abort();
      return new Promise(() => undefined);
    };
    await expect(bench.store.transact(increment, controller.signal)).rejects.toThrow(/abort/i);
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
    bench.cluster.fail("get", number);
    expect(await failure(bench.store.get([Buffer.from("a")], never))).toMatchObject({ code, message });
  });

  test("that stays behind is waited for a minute, and then it is said why", async () => {
    bench.cluster.fail("get", 1037, { times: Number.POSITIVE_INFINITY });
    bench.cluster.onCall = () => bench.cluster.clock.advance(2500);
    expect(await failure(bench.store.get([Buffer.from("a")], never))).toMatchObject({
      code: "DECANT_E_FOUNDATIONDB_UNAVAILABLE",
      message:
        "FoundationDB at fdb:///c?prefix=p is not available: Storage process does not have recent mutations (1037)",
    });
    expect(bench.cluster.clock.now()).toBeGreaterThanOrEqual(60_000);
    expect(bench.cluster.clock.now()).toBeLessThan(70_000);
  });

  test("without a cluster file is reported with its name", () => {
    const address = parseFoundationdbAddress("fdb:///missing");
    expect(() => new FoundationdbStore(bench.fdb, address)).toThrow(
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
    const writer = await bench.store.openBulkWriter({ signal: never, logger, maxBytes: 1, guard: guardOf("token") });
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
    bench.cluster.onCall = (call) => void counts[call]++;
    await load(many);
    bench.cluster.onCall = () => undefined;
    expect(counts).toEqual(COUNTS);
    expect(await bench.pairsNow()).toEqual(wanted);
  });

  const each = (calls: readonly Call[]): (readonly [Call, number])[] =>
    calls.flatMap((call) => Array.from({ length: COUNTS[call] }, (_, skip) => [call, skip] as const));

  test.each(each(CALLS))("goes on when %s number %i fails and can be tried again", async (call, skip) => {
    bench.cluster.fail(call, call === "commit" ? 1020 : 1037, { skip });
    await load(many);
    expect(await bench.pairsNow()).toEqual(wanted);
  });

  test.each(each(["commit"]))("goes on when the answer to %s number %i is lost", async (call, skip) => {
    for (const done of [true, false]) {
      bench.cluster.fail(call, 1021, { skip, done });
      await load(many);
      expect(await bench.pairsNow()).toEqual(wanted);
      await bench.store.deleteRange(ALL_KEYS, { signal: never });
    }
  });

  test.each(each(CALLS))("leaves nothing when %s number %i fails for good", async (call, skip) => {
    bench.cluster.fail(call, 4100, { skip });
    const warnings: string[] = [];
    const error: unknown = await load(many, warnings).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Error);
    expect([await bench.pairsNow(), warnings]).toEqual([{}, []]);
  });

  test("keeps the last value of a key when what came before it takes longer", async () => {
    bench.cluster.fail("commit", 1020, { skip: 1, times: 5 }); // the first batch is not taken at once
    const fillers = Array.from({ length: 5000 }, (_, i) => pair(`B${i}`, "v"));
    await load([pair("A", "first"), ...fillers, pair("A", "last")]);
    expect((await bench.pairsNow()).A).toBe("last");
  });

  test("stays well below the limits of a transaction", async () => {
    const large = Array.from({ length: 300 }, (_, i) => pair(`A${i}`, "v".repeat(100_000)));
    const small = Array.from({ length: 20_000 }, (_, i) => pair(`B${i}`, ""));
    await load([...large, ...small]);
    expect(Math.max(...bench.cluster.committedBytes)).toBeLessThan(1_000_000);
    expect(Object.keys(await bench.pairsNow())).toHaveLength(20_301);
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
    expect(await bench.pairsNow()).toEqual({});
  });

  test("ends when somebody takes the range, and leaves alone what is there", async () => {
    let commits = 0;
    bench.cluster.onCall = async (call) => {
      if (call !== "commit" || ++commits !== 4) return;
      await bench.open().transact({ conditions: [], changes: [pair("setting", "theirs")] }, never);
    };
    const error = await failure(load(many));
    expect(error.code).toBe("LOST");
    const { setting, guard, ...ours } = await bench.pairsNow();
    expect([setting, guard]).toEqual(["theirs", "token"]);
    expect(Object.keys(ours).length).toBeLessThan(many.length); // what was not there yet did not come after it
  });
});
