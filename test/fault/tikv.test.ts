import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { isAbortError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { BULK_OPTIONS, failure, fill, PAIRS, page, pair, scan, TEXTS } from "../support/tikv-pairs.ts";
import { requireTikv } from "../support/tikv-server.ts";

const server = await requireTikv({ stores: 2, drivers: 2 });
const never = new AbortController().signal;
/** Short enough for what never gets better. */
const IMPATIENT = { callMs: 300, patienceMs: 1200 };

const REGION_ERRORS = [
  "not_leader",
  "no_leader",
  "epoch_not_match",
  "region_not_found",
  "key_not_in_region",
  "store_not_match",
  "server_is_busy",
  "stale_command",
  "max_timestamp_not_synced",
  "read_index_not_ready",
  "proposal_in_merging_mode",
  "region_not_initialized",
  "data_is_not_ready",
  "recovery_in_progress",
  "is_witness",
  "mismatch_peer_id",
  "bucket_version_not_match",
  "unknown_region_error",
];

let count = 0;

describe.skipIf(server === undefined)("TiKV", () => {
  let prefix = "";
  const keyOf = (key: string): Buffer => Buffer.from(`${prefix}\xfd${key}`, "latin1");

  beforeEach(async () => {
    prefix = `fault-${count++}`;
    await server!.reset();
    for (const key of ["key 11000", "key 12000"]) await server!.split(keyOf(key));
    await server!.moveLeader(keyOf("key 11000"), 1);
  });

  afterAll(() => server?.end());

  async function open(timing?: { callMs: number; patienceMs: number }): Promise<TikvStore> {
    return tikvStoreAt(server!.url(prefix), timing);
  }

  test.each(REGION_ERRORS)("takes %s of a region for a reason to ask again, in every call", async (kind) => {
    const methods = ["KvBatchGet", "KvScan", "KvPrewrite", "KvCommit"];
    for (const method of methods) {
      await server!.fault({ method, kind, times: 2 });
      await server!.fault({ method, kind, times: 1, skip: 1 });
    }
    const store = await open();
    await fill(store, PAIRS.slice(0, 1200));
    const change = { conditions: [pair("key 10000", TEXTS[0]![1])], changes: [pair("key 10000", "x")] };
    expect(await store.transact(change, never)).toBe(true);
    const found = await scan(store);
    expect(found).toEqual([["key 10000", "x"], ...TEXTS.slice(1, 1200)]);
    for (const method of methods) expect((await server!.state()).calls[method]).toBeGreaterThan(3);
    await store.close();
  });

  test.each([
    ["disk_full", "DECANT_E_TIKV_FULL"],
    ["raft_entry_too_large", "DECANT_E_TIKV_TOO_LARGE"],
    ["flashback_in_progress", "DECANT_E_TIKV_UNAVAILABLE"],
  ])("does not ask again after %s, and leaves no lock", async (kind, code) => {
    const store = await open();
    await store.transact({ conditions: [], changes: [pair("a", "1"), pair("key 11500", "1")] }, never);
    await server!.fault({ method: "KvPrewrite", kind, skip: 1 });
    const changes = [pair("a", "2"), pair("key 11500", "2")];
    expect((await failure(store.transact({ conditions: [], changes }, never))).code).toBe(code);
    await server!.reset();
    expect(await scan(store)).toEqual([
      ["a", "1"],
      ["key 11500", "1"],
    ]);
    expect((await server!.state()).calls.KvCheckTxnStatus).toBeUndefined();
    await store.close();
  });

  test("scans every key once while regions split, merge and move", async () => {
    const store = await open();
    await fill(store, PAIRS);
    const found = await scan(store, async (pages) => {
      const key = keyOf(`key ${10_000 + ((pages * 617) % 3000)}`);
      if (pages % 3 === 2) await server!.merge(keyOf("key 10500"));
      else await server!.split(key);
      await server!.moveLeader(key, pages % 2);
    });
    expect(found).toEqual(TEXTS);
    await store.close();
  });

  test("loads every key while regions split, merge and move", async () => {
    const store = await open();
    await fill(store, PAIRS, async (i) => {
      await server!.split(keyOf(`key ${10_000 + i * 321}`));
      await server!.moveLeader(keyOf(`key ${10_000 + i * 321}`), i % 2);
      if (i === 4) await server!.merge(keyOf("key 10000"));
    });
    expect(await scan(store)).toEqual(TEXTS);
    await store.close();
  });

  test.each(["lost_answer", "stalled_answer", "stale_command_answer", "unavailable", "stall"])(
    "counts once when the call of a commit ends in %s",
    async (kind) => {
      const store = await open({ callMs: 400, patienceMs: 10_000 });
      await store.transact({ conditions: [], changes: [pair("count", "0")] }, never);
      for (const method of ["KvCommit", "KvPrewrite", "KvBatchGet"]) {
        await server!.fault({ method, kind });
        const [value] = await store.get([Buffer.from("count")], never);
        const next = String(Number(value!.toString()) + 1);
        const change = {
          conditions: [pair("count", value!.toString())],
          changes: [pair("count", next), pair("z", next)],
        };
        expect([method, await store.transact(change, never)]).toEqual([method, true]);
      }
      expect(await scan(store)).toEqual([
        ["count", "3"],
        ["z", "3"],
      ]);
      await store.close();
    },
  );

  test("says that it does not know what came of a commit that nobody answers", async () => {
    const store = await open(IMPATIENT);
    await server!.fault({ method: "KvCommit", kind: "lost_answer", times: 1000 });
    const error = await failure(store.transact({ conditions: [], changes: [pair("a", "1")] }, never));
    expect(error.code).toBe("DECANT_E_OUTCOME_UNKNOWN");
    await server!.reset();
    expect(await store.get([Buffer.from("a")], never)).toEqual([Buffer.from("1")]);
    await store.close();
  });

  test("ends with a reason when a store answers nothing for too long", async () => {
    const store = await open(IMPATIENT);
    await server!.fault({ method: "KvScan", kind: "stall", times: 1000 });
    const error = await failure(scan(store));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_TIKV_UNAVAILABLE",
      expect.stringMatching(/^TiKV does not answer as it should for 1 s: 127\.0\.0\.1:\d+: no answer within 0\.3 s$/),
    ]);
    await store.close();
  });

  test.each(["KvScan", "KvBatchGet", "Tso", "GetRegion", "UpdateServiceGCSafePoint"])(
    "ends at once when it is told to while %s hangs",
    async (method) => {
      const store = await open();
      await server!.fault({ method, kind: "stall", times: 1000 });
      const controller = new AbortController();
      const work = async (): Promise<void> => {
        const snapshot = await store.openSnapshot({ signal: controller.signal, logger: silentLogger });
        await snapshot.get([Buffer.from("a")]);
        for await (const _ of snapshot.scan({ start: Buffer.alloc(0), end: Buffer.alloc(0) })) void 0;
      };
      const failed = failure(work());
      for (let i = 0; i < 200 && ((await server!.state()).calls[method] ?? 0) === 0; i++) await sleep(10);
      controller.abort();
      expect(await failed).toSatisfy(isAbortError);
      await store.close();
      await server!.reset();
    },
  );

  test.each(["pd0", "store0", "store1"])(
    "goes on when %s was away in the middle of a scan and of a load",
    async (name) => {
      const store = await open();
      const restart = async (): Promise<void> => {
        await server!.stop(name);
        setTimeout(() => void server!.start(name), 300);
      };
      await fill(store, PAIRS, async (i) => (i === 2 ? restart() : undefined));
      await sleep(400);
      expect(await scan(store, async (pages) => (pages === 1 ? restart() : undefined))).toEqual(TEXTS);
      await sleep(400);
      await store.close();
    },
  );

  test("finds the leader of the placement drivers behind another one, and without the first address", async () => {
    const [leader, follower] = server!.drivers;
    for (const hosts of [`${follower},${leader}`, `127.0.0.1:1,${follower}`]) {
      const address = parseTikvAddress(`tikv://${hosts}/${prefix}`);
      const store = await TikvStore.open(address, { signal: never, logger: silentLogger, env: {} });
      expect(await store.get([Buffer.from("a")], never)).toEqual([undefined]);
      await store.close();
    }
  });

  test("says which addresses do not answer, and why", async () => {
    const address = parseTikvAddress("tikv://127.0.0.1:1,127.0.0.1:2/x");
    const error = await failure(TikvStore.open(address, { signal: never, logger: silentLogger, env: {} }));
    expect([error.code, error.message]).toEqual([
      "DECANT_E_TIKV_CONNECT",
      expect.stringMatching(
        /^Cannot reach the placement drivers of TiKV: 127\.0\.0\.1:1: .*ECONNREFUSED.*; 127\.0\.0\.1:2: /,
      ),
    ]);
  });

  test("ends writing at once when it is told to while a store hangs, and removes what was written", async () => {
    const store = await open({ callMs: 1500, patienceMs: 10_000 });
    const controller = new AbortController();
    const writer = (await store.openBulkWriter({ ...BULK_OPTIONS, signal: controller.signal }))!;
    await writer.write(page(PAIRS.slice(0, 500)));
    await server!.fault({ method: "KvPrewrite", kind: "stalled_answer", times: 1000 });
    const reading = failure(writer.get([Buffer.from("a")]));
    for (let i = 0; i < 200 && ((await server!.state()).calls.KvPrewrite ?? 0) < 2; i++) await sleep(10);
    controller.abort();
    expect(await reading).toSatisfy(isAbortError);
    await server!.reset();
    await writer.abort();
    expect(await scan(store)).toEqual([]);
    await store.close();
  });

  test("goes on when calls fail side by side with timestamps that are waited for", async () => {
    const store = await open();
    await store.transact({ conditions: [], changes: [pair("a", "1")] }, never);
    for (let i = 0; i < 5; i++) {
      await server!.fault({ method: "GetGCSafePoint", kind: "unavailable", skip: i });
      await server!.fault({ method: "Tso", kind: "unavailable", skip: 2 * i });
    }
    const results = await Promise.all(Array.from({ length: 20 }, () => scan(store)));
    for (const found of results) expect(found).toEqual([["a", "1"]]);
    await store.close();
  });

  test("has never more calls of stores under way than it may", async () => {
    const store = await open();
    await fill(store, PAIRS);
    await server!.reset();
    await server!.fault({ method: "KvScan", kind: "stall", times: 1000 });
    const controller = new AbortController();
    const snapshot = await store.openSnapshot({ signal: controller.signal, logger: silentLogger });
    const range = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
    const scans = Array.from({ length: 40 }, () => failure(snapshot.scan(range)[Symbol.asyncIterator]().next()));
    for (let i = 0; i < 500 && ((await server!.state()).calls.KvScan ?? 0) < 32; i++) await sleep(10);
    controller.abort();
    for (const error of await Promise.all(scans)) expect(error).toSatisfy(isAbortError);
    const { calls, maxInFlight } = await server!.state();
    expect([calls.KvScan, maxInFlight]).toEqual([32, 32]);
    await store.close();
  });
});
