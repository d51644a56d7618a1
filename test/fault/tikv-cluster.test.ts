import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { isAbortError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import type { TikvTiming } from "../../src/engines/tikv/tikv-errors.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { BULK_OPTIONS, failure, fill, PAIRS, page, pair, scan, TEXTS } from "../support/tikv-pairs.ts";
import { requireTikv } from "../support/tikv-server.ts";

const server = await requireTikv({ stores: 3, drivers: 3 });
const never = new AbortController().signal;
const ALL = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
/** Short calls, for servers that do not answer; time enough for a busy machine to try again. */
const SHORT_CALLS: TikvTiming = { callMs: 600, patienceMs: 30_000 };
const IMPATIENT: TikvTiming = { callMs: 300, patienceMs: 1200 };
const MEBIBYTE = 1024 * 1024;
/** Where regions begin. */
const SPLITS = ["key 11000", "key 12000"];

/** To be called after the first page of a scan. */
const first = (work: () => Promise<void>) => (pages: number) => (pages === 1 ? work() : undefined);

let count = 0;

describe.skipIf(server === undefined)("TiKV: a cluster in trouble", () => {
  let prefix = "";
  const keyOf = (key: string): Buffer => Buffer.from(`${prefix}\xfd${key}`, "latin1");
  const calls = async (method: string): Promise<number> => (await server!.state()).calls[method] ?? 0;
  const open = (timing?: TikvTiming): Promise<TikvStore> => tikvStoreAt(server!.url(prefix), timing);

  /** Each region of this test is led by the store of that number. */
  async function lead(...stores: [number, number, number]): Promise<void> {
    for (const [i, key] of ["", ...SPLITS].entries()) await server!.moveLeader(keyOf(key), stores[i]!);
  }

  beforeEach(async () => {
    prefix = `cluster-${count++}`;
    await server!.reset();
    for (const key of ["", ...SPLITS]) await server!.split(keyOf(key));
    await lead(0, 1, 2);
  });

  afterAll(() => server?.end());

  test("a store that stands still is left for those that lead its regions then", async () => {
    const store = await open(SHORT_CALLS);
    const stall = async (): Promise<void> => {
      await server!.freeze("store1");
      await lead(0, 2, 2);
    };
    await fill(store, PAIRS, async (i) => (i === 2 ? stall() : undefined));
    await server!.thaw("store1");
    await lead(0, 1, 2);
    expect(await scan(store, first(stall))).toEqual(TEXTS);
    await server!.thaw("store1");
    await store.close();
  });

  test("a store that stands still for a while, and nobody else leads its regions, is waited for", async () => {
    const store = await open(SHORT_CALLS);
    await store.transact({ conditions: [], changes: [pair("key 11500", "1")] }, never);
    await server!.freeze("store1");
    const read = store.get([Buffer.from("key 11500")], never);
    await sleep(1000);
    await server!.thaw("store1");
    expect(await read).toEqual([Buffer.from("1")]);
    await store.close();
  });

  test("one line tells that a store is away, and one that it is back, however many calls wait for it", async () => {
    const lines: string[] = [];
    const logger = {
      ...silentLogger,
      warn: (line: string) => lines.push(line),
      info: (line: string) => lines.push(line),
    };
    const store = await tikvStoreAt(server!.url(prefix), SHORT_CALLS, logger);
    const keys = ["key 11100", "key 11500", "key 11900"].map((key) => Buffer.from(key));
    for (let outage = 0; outage < 2; outage++) {
      lines.length = 0;
      await server!.stop("store1");
      const reads = keys.map((key) => store.get([key], never));
      while ((await calls("GetStore")) < 12 * (outage + 1)) await sleep(5);
      expect(lines).toEqual([
        expect.stringMatching(
          new RegExp(`^TiKV: store \\d+ does not answer, trying again for 30 s: ${server!.stores[1]}: .*ECONNREFUSED`),
        ),
      ]);
      await server!.start("store1");
      expect(await Promise.all(reads)).toEqual([[undefined], [undefined], [undefined]]);
      expect(lines.slice(1)).toEqual([
        expect.stringMatching(new RegExp(`^TiKV: store \\d+ answers again at ${server!.stores[1]}$`)),
      ]);
    }
    await store.close();
  });

  test("one line tells that no placement driver leads, and one that one does", async () => {
    const lines: string[] = [];
    const logger = {
      ...silentLogger,
      warn: (line: string) => lines.push(line),
      info: (line: string) => lines.push(line),
    };
    const store = await tikvStoreAt(server!.url(prefix), SHORT_CALLS, logger);
    for (const driver of ["pd0", "pd1", "pd2"]) await server!.stop(driver);
    const time = store.serverTime(never);
    while (lines.length === 0) await sleep(5);
    for (const driver of ["pd0", "pd1", "pd2"]) await server!.start(driver);
    expect(await time).toBeInstanceOf(Date);
    expect(lines).toEqual([
      expect.stringMatching(
        /^TiKV: the leader of the placement drivers does not answer, trying again for 30 s: .*ECONNREFUSED/,
      ),
      `TiKV: the leader of the placement drivers answers again at ${server!.drivers[0]}`,
    ]);
    await store.close();
  });

  test("another placement driver leads, with or without a word of the one before", async () => {
    const store = await open(SHORT_CALLS);
    await fill(store, PAIRS, async (i) => (i === 2 ? server!.elect(1) : undefined));
    const freeze = async (): Promise<void> => {
      await server!.freeze("pd1");
      await server!.elect(2);
    };
    expect(await scan(store, first(freeze))).toEqual(TEXTS);
    expect(await store.get([Buffer.from("key 10000")], never)).toEqual([Buffer.from(TEXTS[0]![1]!)]);
    await server!.thaw("pd1");
    await server!.elect(0);
    await store.close();
  });

  test("a leader of the placement drivers that cannot be reached from here is named, with who named it", async () => {
    await server!.elect(2);
    await server!.stop("pd2");
    const url = server!.url(prefix).replace(/\/\/[^/]+/, `//${server!.drivers[1]}`);
    const error = await failure(tikvStoreAt(url));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_TIKV_CONNECT",
      expect.stringMatching(
        /drivers of TiKV: 127\.0\.0\.1:(\d+): it names a leader that cannot be reached from here, 127\.0\.0\.1:(?!\1)\d+: .*ECONNREFUSED/,
      ),
    ]);
    await server!.start("pd2");
    await server!.elect(0);
  });

  test("stores that have taken each other's address are found again", async () => {
    const store = await open();
    await fill(store, PAIRS);
    expect(
      await scan(
        store,
        first(() => server!.swapAddresses()),
      ),
    ).toEqual(TEXTS);
    await store.transact({ conditions: [], changes: [pair("key 10000", "x")] }, never);
    await server!.swapAddresses();
    expect(await store.get([Buffer.from("key 10000")], never)).toEqual([Buffer.from("x")]);
    await store.close();
  });

  test("a split that a store tells of is not asked for at the placement driver", async () => {
    const store = await open();
    const keys = ["key 11100", "key 11900"].map((key) => Buffer.from(key));
    await store.get(keys, never);
    const asked = await calls("GetRegion");
    await server!.split(keyOf("key 11500"));
    expect(await store.get(keys, never)).toEqual([undefined, undefined]);
    expect(await calls("GetRegion")).toBe(asked);
    await store.close();
  });

  test("a page or an answer that is larger than a store may send is asked for in parts", async () => {
    const store = await open();
    // 15 MiB, and a store sends 10
    const large = Array.from({ length: 15 }, (_, i) => pair(`large ${10 + i}`, Buffer.alloc(MEBIBYTE, i + 1)));
    for (const change of large) await store.transact({ conditions: [], changes: [change] }, never);
    const values = await store.get(
      large.map(({ key }) => key),
      never,
    );
    expect(values.every((value, i) => value?.equals(large[i]!.value!))).toBe(true);
    const found = await scan(store);
    expect(found.map(([key, value]) => [key, value!.length, value!.charCodeAt(0)])).toEqual(
      large.map(({ key }, i) => [key.toString(), MEBIBYTE, i + 1]),
    );
    await store.close();
  });

  test("others wait for a transaction that takes longer than its locks were given at first", async () => {
    const [slow, other] = [await open({ callMs: 2500, patienceMs: 30_000, lockMs: 900 }), await open()];
    await server!.fault({ method: "KvCommit", kind: "stall" });
    const both = [pair("key 10500", "first"), pair("key 11500", "first")];
    const first = slow.transact({ conditions: [], changes: both }, never);
    while ((await calls("KvCommit")) === 0) await sleep(5);
    const second = other.transact({ conditions: [], changes: [pair("key 10500", "second")] }, never);
    expect([await first, await second]).toEqual([true, true]);
    expect(await calls("KvBatchRollback")).toBe(0); // the first one was not begun again
    expect(await calls("KvTxnHeartBeat")).toBeGreaterThan(1);
    expect(await scan(other)).toEqual([
      ["key 10500", "second"],
      ["key 11500", "first"],
    ]);
    await Promise.all([slow.close(), other.close()]);
  });

  test.each(["stale_command", "region_not_found", "unknown_region_error"])(
    "a commit to which only %s is answered is neither done nor not done",
    async (kind) => {
      const store = await open(IMPATIENT);
      await server!.fault({ method: "KvCommit", kind: `${kind}_answer`, times: 1000 });
      const error = await failure(store.transact({ conditions: [], changes: [pair("a", "1")] }, never));
      expect(error.code).toBe("DECANT_E_OUTCOME_UNKNOWN");
      await server!.reset();
      expect(await store.get([Buffer.from("a")], never)).toEqual([Buffer.from("1")]);
      await store.close();
    },
  );

  test("a commit that every store has refused before it was done is not done", async () => {
    const store = await open(IMPATIENT);
    await server!.fault({ method: "KvCommit", kind: "not_leader", times: 1000 });
    const error = await failure(store.transact({ conditions: [], changes: [pair("a", "1")] }, never));
    expect(error.code).toBe("DECANT_E_TIKV_UNAVAILABLE");
    await server!.reset();
    expect(await scan(store)).toEqual([]);
    expect(await calls("KvCheckTxnStatus")).toBe(0); // no lock was left
    await store.close();
  });

  test("one scan has as many pages on their way as there are workers", async () => {
    await fill(await open(), PAIRS);
    for (const workers of [1, 3]) {
      const env = { DECANT_TIKV_WORKERS: String(workers) };
      const store = await TikvStore.open(parseTikvAddress(server!.url(prefix)), {
        signal: never,
        logger: silentLogger,
        env,
      });
      await server!.reset();
      await server!.fault({ method: "KvScan", kind: "stall", skip: 1, times: 1000 });
      const controller = new AbortController();
      const snapshot = await store.openSnapshot({ signal: controller.signal, logger: silentLogger });
      const pages = snapshot.scan(ALL)[Symbol.asyncIterator]();
      expect((await pages.next()).done).toBe(false);
      const second = failure(pages.next());
      while ((await calls("KvScan")) < 1 + workers) await sleep(5);
      controller.abort();
      expect(await second).toSatisfy(isAbortError);
      expect(await calls("KvScan")).toBe(1 + workers);
      await server!.reset();
      await snapshot.close();
      await store.close();
    }
  });

  test.each(["0", "17", "2.5", "many"])("%s workers are refused", async (workers) => {
    const env = { DECANT_TIKV_WORKERS: workers };
    const error = await failure(
      TikvStore.open(parseTikvAddress(server!.url(prefix)), { signal: never, logger: silentLogger, env }),
    );
    expect([error.code, error.message]).toEqual([
      "DECANT_E_OPTION_VALUE",
      `DECANT_TIKV_WORKERS must be a whole number from 1 to 16, not "${workers}"`,
    ]);
  });

  test("a load that ends early removes what is in its ranges, and nothing else", async () => {
    const store = await open();
    await store.transact({ conditions: [], changes: [pair("somebody else's", "1")] }, never);
    const ranges = [{ start: Buffer.from("key "), end: Buffer.from("key!") }];
    const writer = (await store.openBulkWriter({ ...BULK_OPTIONS, ranges }))!;
    for (let i = 0; i < 6; i++) await writer.write(page(PAIRS.slice(500 * i, 500 * (i + 1))));
    expect(await writer.get([PAIRS[0]!.key])).toEqual([PAIRS[0]!.value]);
    await writer.abort();
    expect(await scan(store)).toEqual([["somebody else's", "1"]]);
    await store.close();
  });

  // the last one: the store is gone then
  test("a store that was removed is forgotten, also while the placement driver still names it as leader", async () => {
    const store = await open();
    await store.transact({ conditions: [], changes: [pair("key 12500", "1")] }, never);
    const fresh = await open();
    await server!.removeStore(2);
    const reads = [store, fresh].map((each) => each.get([Buffer.from("key 12500")], never));
    while ((await calls("GetStore")) < 8) await sleep(5);
    await lead(0, 1, 1);
    expect(await Promise.all(reads)).toEqual([[Buffer.from("1")], [Buffer.from("1")]]);
    await Promise.all([store.close(), fresh.close()]);
  });
});
