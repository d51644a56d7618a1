import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange, KvSnapshot } from "../../src/engines/kv/kv-store.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { requireTikv } from "../support/tikv-server.ts";

const server = await requireTikv({ stores: 2 });
const signal = new AbortController().signal;
const key = (text: string): Buffer => Buffer.from(text);

async function open(prefix: string): Promise<TikvStore> {
  return TikvStore.open(parseTikvAddress(server!.url(prefix)), { signal, env: {} });
}

async function all(snapshot: KvSnapshot, range: KvRange): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const page of snapshot.scan(range)) {
    for (const [k, value] of pairsOf(page)) found.push([k.toString("latin1"), value.toString("latin1")]);
  }
  return found;
}

const everything = { start: Buffer.alloc(0), end: Buffer.alloc(0) };

describe.skipIf(server === undefined)("TiKV as a key-value store", () => {
  let store: TikvStore;
  beforeAll(async () => {
    store = await open("one");
  });
  afterAll(async () => {
    await store?.close();
    await server?.end();
  });

  test("what one transaction wrote is read, and nothing of another prefix", async () => {
    const other = await open("on");
    const changes = [
      { key: key("b"), value: key("2") },
      { key: Buffer.of(0), value: key("1") },
    ];
    expect(await store.transact({ conditions: [], changes }, signal)).toBe(true);
    expect(await store.get([key("b"), key("missing"), Buffer.of(0)], signal)).toEqual([key("2"), undefined, key("1")]);
    expect(await other.get([key("b")], signal)).toEqual([undefined]);
    const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
    expect(await all(snapshot, everything)).toEqual([
      ["\0", "1"],
      ["b", "2"],
    ]);
    await snapshot.close();
    await other.close();
  });

  test("a transaction whose conditions do not hold changes nothing", async () => {
    const wrong = { conditions: [{ key: key("b"), value: key("3") }], changes: [{ key: key("c"), value: key("x") }] };
    expect(await store.transact(wrong, signal)).toBe(false);
    const absent = { conditions: [{ key: key("b"), value: undefined }], changes: [{ key: key("c"), value: key("x") }] };
    expect(await store.transact(absent, signal)).toBe(false);
    expect(await store.get([key("c")], signal)).toEqual([undefined]);
    const right = { conditions: [{ key: key("b"), value: key("2") }], changes: [{ key: key("b"), value: undefined }] };
    expect(await store.transact(right, signal)).toBe(true);
    expect(await store.get([key("b")], signal)).toEqual([undefined]);
  });

  test("a snapshot does not see what was written after it", async () => {
    const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
    await store.transact({ conditions: [], changes: [{ key: key("later"), value: key("x") }] }, signal);
    expect(await snapshot.get([key("later"), Buffer.of(0)])).toEqual([undefined, key("1")]);
    expect((await all(snapshot, everything)).map(([k]) => k)).toEqual(["\0"]);
    await snapshot.close();
  });
});
