import { describe, expect, test } from "vitest";
import type { PdClient } from "../../../../src/engines/tikv/pd-client.ts";
import { RegionCache } from "../../../../src/engines/tikv/region-cache.ts";
import { Patience } from "../../../../src/engines/tikv/tikv-errors.ts";
import type { Region } from "../../../../src/engines/tikv/tikv-messages.ts";

const STORES = [1n, 2n];

function region(id: bigint, start: string, end: string, parts: Partial<Region> = {}): Region {
  const peers = STORES.map((storeId) => ({ id: id * 10n + storeId, storeId }));
  return {
    ...{ id, start: Buffer.from(start), end: Buffer.from(end), confVer: 1n, version: 1n, peers },
    leader: peers[0],
    ...parts,
  };
}

/** What the placement driver answers, each time that it is asked. */
function cacheOf(...answers: Region[]): { cache: RegionCache; asked: string[] } {
  const asked: string[] = [];
  const pd = {
    region: (key: Uint8Array) => {
      asked.push(Buffer.from(key).toString());
      return Promise.resolve(answers.shift());
    },
  };
  return { cache: new RegionCache(pd as unknown as PdClient), asked };
}

const patience = new Patience({ callMs: 100, patienceMs: 100 }, new AbortController().signal);
const find = async (cache: RegionCache, key: string): Promise<bigint> =>
  (await cache.locate(Buffer.from(key), patience)).id;

describe("where keys are", () => {
  test("a split that a store tells of is known without the placement driver", async () => {
    const whole = region(1n, "", "", { leader: { id: 12n, storeId: 2n } });
    const { cache, asked } = cacheOf(whole);
    expect(await find(cache, "a")).toBe(1n);
    cache.replace(whole, [region(1n, "m", "", { version: 2n }), region(9n, "", "m", { version: 2n })]);
    expect([await find(cache, "a"), await find(cache, "m")]).toEqual([9n, 1n]);
    // the store that answered leads them, as it seems
    expect((await cache.locate(Buffer.from("a"), patience)).leader).toEqual({ id: 92n, storeId: 2n });
    expect(asked).toEqual(["a"]);
  });

  test("a store that is behind is not believed", async () => {
    const now = region(1n, "", "m", { version: 5n });
    const { cache, asked } = cacheOf(now, region(1n, "", "m", { version: 6n }));
    expect(await find(cache, "a")).toBe(1n);
    cache.replace(now, [region(1n, "", "", { version: 4n })]);
    expect((await cache.locate(Buffer.from("a"), patience)).version).toBe(6n);
    expect(asked).toEqual(["a", "a"]);
  });

  test("a region that the store has no part in is asked for", async () => {
    const whole = region(1n, "", "");
    const { cache, asked } = cacheOf(whole, region(9n, "", "m"));
    expect(await find(cache, "a")).toBe(1n);
    cache.replace(whole, [region(9n, "", "m", { peers: [{ id: 92n, storeId: 2n }] })]);
    expect(await find(cache, "a")).toBe(9n);
    expect(asked).toEqual(["a", "a"]);
  });
});
