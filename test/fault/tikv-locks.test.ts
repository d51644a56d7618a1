import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvStore } from "../../src/engines/kv/kv-store.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { leaveLocks } from "../support/tikv-locks.ts";
import { requireTikv } from "../support/tikv-server.ts";

const server = await requireTikv({ stores: 2, asyncCommit: true });
const never = new AbortController().signal;
const ALL = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
/** In three regions. */
const KEYS = ["k1", "k2", "m1", "m2", "x1"];
const HOUR_MS = 3_600_000;

async function scan(store: KvStore): Promise<Record<string, string>> {
  const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
  const found: [string, string][] = [];
  for await (const page of snapshot.scan(ALL)) {
    for (const [key, value] of pairsOf(page)) found.push([key.toString(), value.toString()]);
  }
  await snapshot.close();
  return Object.fromEntries(found);
}

const all = (value: string): Record<string, string> => Object.fromEntries(KEYS.map((key) => [key, value]));

async function failure(work: Promise<unknown>): Promise<DecantError> {
  return (await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )) as DecantError;
}

let count = 0;

describe.skipIf(server === undefined)("TiKV: what others left behind", () => {
  let url = "";
  let store: TikvStore;

  beforeEach(async () => {
    const prefix = `locks-${count++}`;
    url = server!.url(prefix);
    await server!.reset();
    for (const key of ["m", "x"]) await server!.split(Buffer.from(`${prefix}\xfd${key}`, "latin1"));
    store = await tikvStoreAt(url);
    const changes = KEYS.map((key) => ({ key: Buffer.from(key), value: Buffer.from("old") }));
    await store.transact({ conditions: [], changes }, never);
    return () => store.close();
  });

  afterAll(() => server?.end());

  /** What everybody sees from then on, by both ways of reading and in a transaction. */
  async function expectAll(value: string): Promise<void> {
    expect(await scan(store)).toEqual(all(value));
    const values = await store.get(
      KEYS.map((key) => Buffer.from(key)),
      never,
    );
    expect(values.map(String)).toEqual(KEYS.map(() => value));
    const changes = KEYS.map((key) => ({ key: Buffer.from(key), value: Buffer.from("newer") }));
    const conditions = KEYS.map((key) => ({ key: Buffer.from(key), value: Buffer.from(value) }));
    expect(await store.transact({ conditions, changes }, never)).toBe(true);
    expect(await scan(store)).toEqual(all("newer"));
  }

  test("a transaction whose first key is committed is committed", async () => {
    await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "committed" });
    await expectAll("new");
  });

  test("and one whose first key is rolled back is not", async () => {
    await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "rolled-back" });
    await expectAll("old");
  });

  test("one whose time is over is rolled back", async () => {
    const { commitPrimary } = await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: 1, primary: "locked" });
    await sleep(5);
    await expectAll("old");
    await commitPrimary(); // comes too late
    expect(await scan(store)).toEqual(all("newer"));
  });

  test("and so is one that never locked its first key", async () => {
    await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: 1, primary: "absent" });
    await sleep(5);
    await expectAll("old");
  });

  test("one that is alive is passed over by readers, and commits behind them", async () => {
    const { commitPrimary } = await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "locked" });
    expect(await scan(store)).toEqual(all("old"));
    expect(await store.get([Buffer.from("m1")], never)).toEqual([Buffer.from("old")]);
    expect((await server!.state()).calls.KvResolveLock).toBeUndefined();
    await commitPrimary();
    await expectAll("new");
  });

  test("one that is alive and has not locked its first key yet is waited for, not rolled back", async () => {
    const impatient = await tikvStoreAt(url, { callMs: 1000, patienceMs: 300 });
    await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "absent" });
    const error = await failure(scan(impatient));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_TIKV_LOCKED",
      expect.stringMatching(
        /^TiKV is still locked after 0 s: key [0-9a-f]+ is locked by transaction \d+, which is alive$/,
      ),
    ]);
    await impatient.close();
  });

  test("a writer waits for one that is alive, until it is committed", async () => {
    const { commitPrimary } = await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "locked" });
    const change = { conditions: [], changes: [{ key: Buffer.from("m1"), value: Buffer.from("mine") }] };
    const written = store.transact(change, never);
    for (let i = 0; i < 200 && ((await server!.state()).calls.KvCheckTxnStatus ?? 0) < 2; i++) await sleep(10);
    await commitPrimary();
    expect(await written).toBe(true);
    expect(await scan(store)).toEqual({ ...all("new"), m1: "mine" });
  });

  test("a snapshot of before a commit does not see it, whatever is cleaned up", async () => {
    const { commitPrimary } = await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "locked" });
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    expect(await snapshot.get([Buffer.from("k2")])).toEqual([Buffer.from("old")]); // pushes the commit behind
    await expect(commitPrimary()).resolves.toBeUndefined();
    expect(await snapshot.get([Buffer.from("x1"), Buffer.from("k1")])).toEqual([
      Buffer.from("old"),
      Buffer.from("old"),
    ]);
    await snapshot.close();
  });

  describe("with asynchronous commit", () => {
    test("all locks are there: it is committed", async () => {
      await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: 1, primary: "locked", asyncCommit: true });
      await sleep(5);
      await expectAll("new");
      expect((await server!.state()).calls.KvCheckSecondaryLocks).toBeGreaterThan(0);
    });

    test("a lock is missing: it is rolled back", async () => {
      const left = { keys: KEYS, value: "new", ttlMs: 1, primary: "locked", asyncCommit: true, missing: 1 } as const;
      await leaveLocks(url, left);
      await sleep(5);
      await expectAll("old");
    });
  });

  test("region errors on the way of cleaning up are survived", async () => {
    await leaveLocks(url, { keys: KEYS, value: "new", ttlMs: HOUR_MS, primary: "committed" });
    for (const method of ["KvCheckTxnStatus", "KvResolveLock"]) {
      await server!.fault({ method, kind: "epoch_not_match" });
      await server!.fault({ method, kind: "unavailable" });
      await server!.fault({ method, kind: "lost_answer" });
    }
    await expectAll("new");
  });
});

const other = await requireTikv();

describe.skipIf(other === undefined)("TiKV: garbage collection", () => {
  const future = (ms: number): bigint => BigInt(Date.now() + ms) << 18n;
  let url = "";
  let store: TikvStore;

  beforeEach(async () => {
    url = other!.url(`gc-${count++}`);
    await other!.reset();
    store = await TikvStore.open(parseTikvAddress(url), { signal: never, logger: silentLogger, env: {}, renewMs: 20 });
    await store.transact({ conditions: [], changes: [{ key: Buffer.from("a"), value: Buffer.from("1") }] }, never);
    return () => store.close();
  });

  afterAll(() => other?.end());

  const held = async (): Promise<string[]> => {
    return Object.keys((await other!.state()).servicePoints).filter((name) => name.startsWith("decant-"));
  };

  test("is held back while a snapshot is open, which is told again and again, and let go after it", async () => {
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    expect(await held()).toHaveLength(1);
    const { servicePoints } = await other!.state();
    const point = BigInt(servicePoints[(await held())[0]!]!);
    expect(snapshot.asOf.getTime()).toBe(Number(point >> 18n));
    const renewals = async (): Promise<number> => (await other!.state()).calls.UpdateServiceGCSafePoint ?? 0;
    for (let i = 0; i < 500 && (await renewals()) < 4; i++) await sleep(10);
    expect(await renewals()).toBeGreaterThanOrEqual(4);
    await snapshot.close();
    expect(await held()).toEqual([]);
  });

  test("is held on to when the placement driver does not hear of it for a while, and a loss is found at the end", async () => {
    const timing = { callMs: 1000, patienceMs: 20 };
    const impatient = await TikvStore.open(parseTikvAddress(url), {
      signal: never,
      logger: silentLogger,
      env: {},
      renewMs: 10,
      timing,
    });
    const warnings: string[] = [];
    const logger = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
    const snapshot = await impatient.openSnapshot({ signal: never, logger });
    await other!.fault({ method: "UpdateServiceGCSafePoint", kind: "unavailable", times: 100_000 });
    for (let i = 0; i < 1000 && warnings.length === 0; i++) await sleep(10);
    expect(warnings[0]).toMatch(
      /^The service safe point could not be renewed, which is tried again: TiKV does not answer/,
    );
    expect(await snapshot.get([Buffer.from("a")])).toEqual([Buffer.from("1")]);
    await other!.setSafePoint("gc", future(0));
    expect((await failure(snapshot.get([Buffer.from("a")]))).code).toBe("DECANT_E_TIKV_GC");
    await other!.reset();
    await snapshot.close();
    await impatient.close();
  });

  test("that comes in between is found before anything is taken for complete", async () => {
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    expect(await snapshot.get([Buffer.from("a")])).toEqual([Buffer.from("1")]);
    await other!.setSafePoint("gc", future(60_000));
    const read = async (): Promise<void> => {
      for await (const _ of snapshot.scan(ALL)) void 0;
    };
    for (const work of [read, () => snapshot.get([Buffer.from("a")])]) {
      const error = await failure(work());
      expect([error.code, error.message, error.hint]).toEqual([
        "DECANT_E_TIKV_GC",
        expect.stringMatching(
          /^Garbage collection of TiKV has passed the snapshot of 20\S+Z: its safe point is 20\S+Z$/,
        ),
        expect.stringContaining("gc-interval"),
      ]);
    }
    await snapshot.close();
  });

  test("that is ahead already makes a snapshot impossible, before anything is read", async () => {
    await other!.setSafePoint("worker", future(3_600_000));
    const error = await failure(store.openSnapshot({ signal: never, logger: silentLogger }));
    expect([error.code, error.hint]).toEqual(["DECANT_E_TIKV_GC", expect.stringContaining("tidb_gc_life_time")]);
    expect((await other!.state()).calls.KvScan).toBeUndefined();
    await other!.setSafePoint("worker", 0n);
    await other!.setSafePoint("gc", future(3_600_000));
    expect((await failure(store.openSnapshot({ signal: never, logger: silentLogger }))).code).toBe("DECANT_E_TIKV_GC");
    expect(await held()).toEqual([]);
  });
});
