import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { SnapshotMethod } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { otherRedisServers } from "../support/other-redis.ts";
import { contradictions } from "../support/redis-model.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { RedisWriters } from "../support/redis-writers.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const DUMP = fixture("golden/dumps/golden.keep.json");
const METHODS: readonly SnapshotMethod[] = ["tracking", "replica", "none"];
const never = new AbortController().signal;

describe.each(await otherRedisServers())("a volume in $name", ({ program }) => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis({ program });
    await load({ target: server.url(1), source: { file: DUMP }, verify: true }, quietContext());
  });
  afterAll(() => server.stop());

  async function dumped(source: string, snapshot?: SnapshotMethod): Promise<{ text: string; isInstant: boolean }> {
    const file = join(temporaryDirectory(), "dump.json");
    const report = await dump({ source, target: { file }, keepSecretKey: true, snapshot }, quietContext());
    return { text: readFileSync(file, "latin1"), isInstant: report.consistency.pointInTime };
  }

  test("is the same by each method, and in the file that its server saves", async () => {
    const dumps = [];
    for (const method of METHODS) dumps.push(await dumped(server.url(1), method));
    const [first, ...others] = dumps;
    expect([first!.isInstant, ...others.map(({ isInstant }) => isInstant)]).toEqual([true, true, false]);
    expect(JSON.parse(first!.text)).toMatchObject({ FSTree: { attr: { inode: 1 } } });
    const client = server.client();
    await client.save();
    client.disconnect();
    const saved = await dumped(`rdb://${join(server.directory, "dump.rdb")}?db=1`);
    expect(saved.isInstant).toBe(true);
    for (const other of [...others, saved]) expect(other.text).toBe(first!.text);
  });

  test.each(["tracking", "replica"] as const)("is one instant by %s while writers change it", async (method) => {
    const client = server.client();
    await client.flushdb();
    await client.set("setting", "{}");
    const writers = await RedisWriters.start(server.port, 2, { depth: 1, pauseMs: 1 });
    try {
      for (let i = 0; i < 5; i++) {
        const store = await openStore(server.url(), { logger: silentLogger, signal: never, env: {} });
        const snapshot = await store.openSnapshot({ logger: silentLogger, signal: never, method });
        const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
        expect(snapshot.consistency.pointInTime).toBe(true);
        await snapshot.close();
        await store.close();
        expect(contradictions(records, writers.count)).toEqual([]);
      }
    } finally {
      expect(await writers.stop()).toBeGreaterThan(0);
      client.disconnect();
    }
  });
});
