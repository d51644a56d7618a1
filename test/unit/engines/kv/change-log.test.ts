import { describe, expect, test } from "vitest";
import { silentLogger } from "../../../../src/base/logger.ts";
import { changeLogRewind, readChangeLogEnd } from "../../../../src/engines/kv/change-log.ts";
import { MemoryKvStore } from "../../../support/memory-kv-store.ts";

const signal = new AbortController().signal;

/** `XLOG`, a shard where there are shards, and the number. */
function logKey(version: bigint, shard?: number): Buffer {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(version);
  return Buffer.concat([Buffer.from("XLOG"), Buffer.from(shard === undefined ? [] : [shard]), number]);
}

async function endOf(keys: readonly Buffer[], sharded: boolean, rewind: bigint, withLines = true) {
  const store = new MemoryKvStore();
  const changes = keys.map((key) => ({ key, value: key.subarray(-8) }));
  await store.transact({ conditions: [], changes }, signal);
  const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
  return readChangeLogEnd(snapshot, { sharded, rewind }, withLines);
}

describe("the end of a change log", () => {
  test("has the lines that are at most so much below the last one, ascending, also of a log of many shards", async () => {
    const versions = Array.from({ length: 45_000 }, (_, i) => BigInt(i + 1));
    // One shard after the other ascends, so that most lines are recent when they are met.
    for (const shards of [undefined, 64]) {
      const keys = versions.map((version) => logKey(version, shards && Number(version) % shards));
      const { last, lines } = await endOf(keys, shards !== undefined, 20_000n);
      expect(last).toBe(45_000n);
      expect(lines.map(({ version }) => version)).toEqual(versions.filter((version) => version >= 25_000n));
      expect(lines.every(({ version, entry }) => entry.readBigUInt64BE() === version)).toBe(true);
    }
  });

  test("is 0 and no lines where there are none, and no lines where nobody wants them", async () => {
    expect(await endOf([], true, 10n)).toEqual({ last: 0n, lines: [] });
    expect(await endOf([logKey(7n)], false, 10n, false)).toEqual({ last: 7n, lines: [] });
    // a key of another length is none of a line
    expect(await endOf([logKey(7n), logKey(9n, 3)], false, 10n)).toMatchObject({ last: 7n });
  });

  test("reaches as far back as the environment says, when that is a number", () => {
    expect(changeLogRewind({ JFS_TKV_REWIND: "700" }, 5n)).toBe(700n);
    for (const text of ["", "0", "-3", "1e5", "many"]) expect(changeLogRewind({ JFS_TKV_REWIND: text }, 5n)).toBe(5n);
    expect(changeLogRewind({}, 5n)).toBe(5n);
  });
});
