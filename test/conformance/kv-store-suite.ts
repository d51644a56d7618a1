import { describe, expect, test } from "vitest";
import { isAbortError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { PageBuilder, pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvBulkWriter, KvGuard, KvPage, KvPair, KvRange, KvStore } from "../../src/engines/kv/kv-store.ts";
import { failureOf, never } from "./engine-harness.ts";

/** What the suite needs to know of a store. */
export interface KvStoreHarness {
  /** A store without a key. Each call gives another one; who asks closes it. */
  open(): Promise<KvStore>;
  /** The same keys once more, as another process sees them; undefined where only one may open them. */
  openAgain?(store: KvStore): Promise<KvStore>;
}

const ALL: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
const LOST = "Somebody else has taken it";

function guardOf(value: string): KvGuard {
  return {
    key: Buffer.from("guard"),
    value: Buffer.from(value),
    absent: Buffer.from("absent"),
    lost: () => new Error(LOST),
  };
}

function pair(key: string | Buffer, value: string | Buffer | undefined): KvPair {
  return { key: Buffer.from(key), value: value === undefined ? undefined : Buffer.from(value) };
}

function page(pairs: readonly KvPair[]): KvPage {
  const pages = new PageBuilder(1024);
  for (const { key, value } of pairs) pages.put(key, value!);
  return pages.take()!;
}

async function scanAll(store: KvStore, range: KvRange = ALL): Promise<[string, string][]> {
  const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
  try {
    const found: [string, string][] = [];
    for await (const some of snapshot.scan(range)) {
      for (const [key, value] of pairsOf(some)) found.push([key.toString("latin1"), value.toString("latin1")]);
    }
    return found;
  } finally {
    await snapshot.close();
  }
}

async function put(store: KvStore, pairs: readonly KvPair[]): Promise<void> {
  for (let i = 0; i < pairs.length; i += 100) {
    expect(await store.transact({ conditions: [], changes: pairs.slice(i, i + 100) }, never)).toBe(true);
  }
}

function bulk(store: KvStore, guard: KvGuard = guardOf("token"), signal: AbortSignal = never) {
  const options = { signal, logger: silentLogger, maxBytes: 64 * 1024 * 1024, guard };
  return store.openBulkWriter(options);
}

/** The largest value that stores of a limit are asked to keep here. */
const LARGE_VALUE_BYTES = 200_000;

/** Keys of all bytes, one the beginning of another, and the values at their edges. */
const oddPairs = ({ limits }: KvStore): KvPair[] => [
  ...Array.from({ length: 256 }, (_, i) => pair(Buffer.of(0x41, i, 0xff), `value ${i}`)),
  pair(Buffer.of(0), "zero"),
  pair(Buffer.of(0, 0), "two zeros"),
  pair(Buffer.of(0xff, 0xff), "last"),
  pair("B", Buffer.of(0, 255, 10, 13, 128)),
  pair("BB", Buffer.alloc(Math.min(LARGE_VALUE_BYTES, limits.maxValueBytes ?? LARGE_VALUE_BYTES), 0xfe)),
  pair(Buffer.concat([Buffer.from("B"), Buffer.alloc(265, 0x7f)]), "long key"),
];

const byKey = (a: readonly [string, string], b: readonly [string, string]): number => (a[0] < b[0] ? -1 : 1);

function asText(pairs: readonly KvPair[]): [string, string][] {
  const entries = pairs.map(({ key, value }): [string, string] => {
    return [Buffer.from(key).toString("latin1"), Buffer.from(value!).toString("latin1")];
  });
  return entries.sort(byKey);
}

/** The contract of src/engines/kv/kv-store.ts as tests. `harness` is undefined where the store's server had to be skipped. */
export function describeKvStore(name: string, harness: KvStoreHarness | undefined): void {
  describe.skipIf(harness === undefined)(`${name}: a store of keys and values`, () => {
    const it = (title: string, run: (store: KvStore) => Promise<void>): void =>
      test(title, async () => {
        const store = await harness!.open();
        try {
          await run(store);
        } finally {
          await store.close();
        }
      });
    describe("reads and changes", () => transactionCases(it));
    describe("scans", () => scanCases(it));
    describe("is filled", () => bulkCases(it));
    // A store that only one process may open has no such cases.
    if (harness?.openAgain !== undefined) describe("is used by several", () => sharedCases(it, harness));
  });
}

type StoreTest = (title: string, run: (store: KvStore) => Promise<void>) => void;

function transactionCases(it: StoreTest): void {
  it("nothing is there at first", async (store) => {
    expect(await store.get([Buffer.from("a"), Buffer.from("setting")], never)).toEqual([undefined, undefined]);
    expect(await scanAll(store)).toEqual([]);
  });

  it("values are bytes, in the order in which they are asked for", async (store) => {
    const pairs = oddPairs(store);
    await put(store, pairs);
    const asked = [...pairs].reverse();
    expect(await store.get([...asked.map(({ key }) => key), Buffer.from("BBB")], never)).toEqual([
      ...asked.map(({ value }) => value),
      undefined,
    ]);
  });

  it("an empty value is a value, where the store can have one", async (store) => {
    if (!store.limits.emptyValues) return void expect(store.limits.emptyValues).toBe(false);
    await put(store, [pair("empty", "")]);
    expect(await store.get([Buffer.from("empty")], never)).toEqual([Buffer.alloc(0)]);
    expect(await scanAll(store)).toEqual([["empty", ""]]);
    expect(await store.transact({ conditions: [pair("empty", undefined)], changes: [pair("x", "1")] }, never)).toBe(
      false,
    );
    expect(await store.transact({ conditions: [pair("empty", "")], changes: [pair("x", "1")] }, never)).toBe(true);
  });

  it("changes are made together when every condition holds, else none", async (store) => {
    await put(store, [pair("a", "1"), pair("b", "2")]);
    const changes = [pair("a", "new"), pair("b", undefined), pair("c", "3")];
    for (const wrong of [pair("a", "2"), pair("a", "1 "), pair("a", undefined), pair("nothing", ""), pair("b", "")]) {
      expect([wrong, await store.transact({ conditions: [pair("b", "2"), wrong], changes }, never)]).toEqual([
        wrong,
        false,
      ]);
    }
    const before = [
      ["a", "1"],
      ["b", "2"],
    ] as const;
    expect(await scanAll(store)).toEqual(before);
    const right = [pair("a", "1"), pair("nothing", undefined)];
    expect(await store.transact({ conditions: right, changes: [] }, never)).toBe(true);
    expect(await scanAll(store)).toEqual(before);
    expect(await store.transact({ conditions: right, changes }, never)).toBe(true);
    expect(await scanAll(store)).toEqual([
      ["a", "new"],
      ["c", "3"],
    ]);
  });

  it("lines of the change log come in their order, where the store keeps one", async (store) => {
    await store.transact({ conditions: [], changes: [pair("a", "1")], logEntries: ["first", "second"] }, never);
    await store.transact({ conditions: [pair("a", "2")], changes: [], logEntries: ["refused"] }, never);
    await store.transact({ conditions: [], changes: [pair("a", "2")], logEntries: ["third"] }, never);
    const lines = (await scanAll(store)).filter(([key]) => key.startsWith("XLOG"));
    const idAt = store.changeLog?.sharded ? 5 : 4;
    for (const [key] of lines) expect(key).toHaveLength(idAt + 8);
    const ordered = lines.sort(([a], [b]) => (a.slice(idAt) < b.slice(idAt) ? -1 : 1)).map(([, value]) => value);
    expect(ordered).toEqual(store.changeLog === undefined ? [] : ["first", "second", "third"]);
  });

  it("a range is removed up to its end, and nothing beside it", async (store) => {
    await put(
      store,
      ["a", "b", "b1", "c", "cc", "d"].map((key) => pair(key, key)),
    );
    await store.deleteRange({ start: Buffer.from("b"), end: Buffer.from("c") }, { signal: never });
    expect((await scanAll(store)).map(([key]) => key)).toEqual(["a", "c", "cc", "d"]);
    await store.deleteRange(ALL, { signal: never });
    expect(await scanAll(store)).toEqual([]);
  });

  it("what has been aborted already does nothing", async (store) => {
    await put(store, [pair("a", "1")]);
    const aborted = AbortSignal.abort();
    const attempts = [
      () => store.get([Buffer.from("a")], aborted),
      () => store.transact({ conditions: [], changes: [pair("a", "2")] }, aborted),
      () => store.deleteRange(ALL, { signal: aborted }),
    ];
    for (const attempt of attempts) expect(await failureOf(attempt)).toSatisfy(isAbortError);
    expect(await scanAll(store)).toEqual([["a", "1"]]);
  });
}

function scanCases(it: StoreTest): void {
  it("all keys by their bytes, each once", async (store) => {
    await put(store, oddPairs(store));
    expect(await scanAll(store)).toEqual(asText(oddPairs(store)));
  });

  it("from the start of a range, without its end", async (store) => {
    await put(store, oddPairs(store));
    const range = { start: Buffer.of(0x41, 5, 0xff), end: Buffer.of(0x41, 200, 0xff) };
    const expected = asText(oddPairs(store)).filter(([key]) => key >= "\x41\x05\xff" && key < "\x41\xc8\xff");
    expect(expected).toHaveLength(195);
    expect(await scanAll(store, range)).toEqual(expected);
    expect(await scanAll(store, { start: Buffer.from("C"), end: Buffer.from("D") })).toEqual([]);
  });

  it("as of one instant, whatever is changed meanwhile", async (store) => {
    const pairs = Array.from({ length: 5000 }, (_, i) => pair(`key ${String(i).padStart(5, "0")}`, `value ${i}`));
    await put(store, pairs);
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    await put(store, [pair("key 00000", "changed"), pair("key 04999", undefined), pair("later", "1")]);
    const found: [string, string][] = [];
    for await (const some of snapshot.scan(ALL)) {
      for (const [key, value] of pairsOf(some)) found.push([key.toString(), value.toString()]);
    }
    expect(found).toEqual(asText(pairs));
    expect(await snapshot.get([Buffer.from("key 00000"), Buffer.from("later")])).toEqual([
      Buffer.from("value 0"),
      undefined,
    ]);
    expect(snapshot.pointInTime).toBe(true);
    await snapshot.close();
    await snapshot.close();
  });

  it("several at one time, and leaves one in the middle", async (store) => {
    const pairs = Array.from({ length: 5000 }, (_, i) =>
      pair(`${i % 2 === 0 ? "a" : "b"}${i}`, Buffer.alloc(300, "v")),
    );
    await put(store, pairs);
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    const count = async (start: string, end: string): Promise<number> => {
      let total = 0;
      for await (const some of snapshot.scan({ start: Buffer.from(start), end: Buffer.from(end) })) total += some.count;
      return total;
    };
    for await (const some of snapshot.scan(ALL)) {
      expect(some.count).toBeGreaterThan(0);
      break;
    }
    expect(await Promise.all([count("a", "b"), count("b", "c"), count("a", "c")])).toEqual([2500, 2500, 5000]);
    await snapshot.close();
  });

  it("large values in the middle of many small ones", async (store) => {
    const large = Math.min(1_000_000, store.limits.maxValueBytes ?? 1_000_000);
    const pairs = Array.from({ length: 3000 }, (_, i) =>
      pair(`${10_000 + i}`, i % 100 === 99 ? Buffer.alloc(large, i) : "v"),
    );
    for (const some of pairs) if (some.value!.length > 1) await put(store, [some]);
    await put(
      store,
      pairs.filter(({ value }) => value!.length === 1),
    );
    const sizes = (await scanAll(store)).map(([key, value]) => [key, value.length]);
    expect(sizes).toEqual(pairs.map(({ key, value }) => [Buffer.from(key).toString(), value!.length]));
  });
}

function bulkCases(it: StoreTest): void {
  const many = Array.from({ length: 20_000 }, (_, i) => pair(`key ${(i * 7919) % 20_000}`, `value ${i}`));
  const inPages = async (writer: KvBulkWriter, pairs: readonly KvPair[], perPage = 1000): Promise<void> => {
    for (let i = 0; i < pairs.length; i += perPage) await writer.write(page(pairs.slice(i, i + perPage)));
  };

  it("with pairs in any order, and what comes last", async (store) => {
    const writer = (await bulk(store))!;
    await inPages(writer, [...many, ...oddPairs(store)]);
    await writer.finish([pair("setting", "1")]);
    await writer.abort(); // comes too late
    expect(await scanAll(store)).toEqual(asText([...many, ...oddPairs(store), pair("setting", "1")]));
  });

  it("and a key that comes again replaces the value before", async (store) => {
    const writer = (await bulk(store))!;
    await writer.write(page([pair("a", "1"), pair("b", "1"), pair("a", "2")]));
    await writer.write(page([pair("b", "2")]));
    expect(await writer.get([Buffer.from("a"), Buffer.from("b"), Buffer.from("c")])).toEqual([
      Buffer.from("2"),
      Buffer.from("2"),
      undefined,
    ]);
    await writer.write(page([pair("a", "3")]));
    await writer.finish([pair("c", "1")]);
    expect(await scanAll(store)).toEqual([
      ["a", "3"],
      ["b", "2"],
      ["c", "1"],
    ]);
  });

  it("with every key ten times over, and the last one wins", async (store) => {
    const writer = (await bulk(store))!;
    for (let round = 0; round < 10; round++) {
      await inPages(
        writer,
        Array.from({ length: 400 }, (_, i) => pair(`key ${i}`, `round ${round}`)),
        100,
      );
    }
    await writer.finish([]);
    const found = await scanAll(store);
    expect(found).toHaveLength(400);
    expect(new Set(found.map(([, value]) => value))).toEqual(new Set(["round 9"]));
  });

  it("or not: an abort leaves nothing", async (store) => {
    const writer = (await bulk(store))!;
    await inPages(writer, many);
    await writer.abort();
    await writer.abort();
    expect(await scanAll(store)).toEqual([]);
    const again = (await bulk(store))!;
    await again.write(page([pair("a", "1")]));
    await again.finish([]);
    expect(await scanAll(store)).toEqual([["a", "1"]]);
  });

  it("and stops when it is told to, and leaves nothing", async (store) => {
    const controller = new AbortController();
    const writer = (await bulk(store, guardOf("token"), controller.signal))!;
    await writer.write(page(many.slice(0, 5000)));
    controller.abort();
    expect(await failureOf(() => writer.write(page(many.slice(5000, 6000))))).toSatisfy(isAbortError);
    expect(await failureOf(() => writer.finish([]))).toSatisfy(isAbortError);
    await writer.abort();
    expect(await scanAll(store)).toEqual([]);
  });
}

/** What only stores need that others may write to at the same time. */
function sharedCases(it: StoreTest, harness: KvStoreHarness): void {
  it("a second one is not let in while the first one fills it", async (store) => {
    const other = await harness.openAgain!(store);
    const writer = (await bulk(store, guardOf("first")))!;
    expect(await bulk(other, guardOf("second"))).toBeUndefined();
    await writer.finish([pair("absent", "1")]);
    expect(await bulk(other, guardOf("second"))).toBeUndefined();
    expect(await scanAll(other)).toEqual([["absent", "1"]]);
    await other.close();
  });

  it("whose guard is gone stops, and leaves alone what is there", async (store) => {
    const other = await harness.openAgain!(store);
    for (const change of [pair("guard", undefined), pair("guard", "another"), pair("absent", "1")]) {
      await other.deleteRange(ALL, { signal: never });
      const writer = (await bulk(store))!;
      await writer.write(page([pair("a", "1")]));
      expect(await other.transact({ conditions: [pair("guard", "token")], changes: [change] }, never)).toBe(true);
      await expect(writer.finish([pair("b", "1")])).rejects.toThrow(LOST);
      const before = await scanAll(other);
      await writer.abort();
      expect(await scanAll(other)).toEqual(before);
      expect(before.map(([key]) => key)).not.toContain("b");
    }
    await other.close();
  });

  it("a guarded range is removed but for the guard, and not at all when it does not hold", async (store) => {
    await put(store, [pair("guard", "token"), pair("a", "1"), pair("z", "1")]);
    const wrong = store.deleteRange(ALL, { signal: never, guard: guardOf("another") });
    await expect(wrong).rejects.toThrow(LOST);
    expect(await scanAll(store)).toHaveLength(3);
    await store.deleteRange(ALL, { signal: never, guard: guardOf("token") });
    expect(await scanAll(store)).toEqual([["guard", "token"]]);
  });

  it("of many who increment at once no one is lost", async (store) => {
    const others = await Promise.all(Array.from({ length: 4 }, () => harness.openAgain!(store)));
    await put(store, [pair("count", "0")]);
    const increment = async (one: KvStore): Promise<void> => {
      for (let done = 0; done < 10; ) {
        const [value] = await one.get([Buffer.from("count")], never);
        const next = pair("count", String(Number(value!.toString()) + 1));
        if (await one.transact({ conditions: [pair("count", value)], changes: [next] }, never)) done++;
      }
    };
    await Promise.all(others.map(increment));
    expect(await scanAll(store)).toEqual([["count", "40"]]);
    for (const other of others) await other.close();
  });
}
