import type { Redis } from "ioredis";
import { afterAll, describe, test } from "vitest";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { Bench, type EngineHarness } from "./engine-harness.ts";
import { xattrCases } from "./engine-xattr-cases.ts";

const isAvailable = await requireRedisServer();

/** A volume in the only database of a cluster, or in the first one behind Sentinel; `prefix` is that of its keys. */
function harness(server: RedisServer, client: Redis, prefix: string): EngineHarness {
  const keys = async (): Promise<string[]> => (await client.keys("*")).sort();
  return {
    createsDatabase: false,
    pointInTime: false,
    emptyAddress: async () => {
      await client.flushall();
      return server.url(0);
    },
    fingerprint: async () => Promise.all((await keys()).map(async (key) => [key, await client.dumpBuffer(key)])),
    changeLog: () => client.lrange(`${prefix}txnLog`, 0, -1),
    occupy: async () => void (await client.set("something else", "1")),
  };
}

describe.skipIf(!isAvailable).each(["sentinel", "cluster"] as const)("attributes of the root behind a %s", (mode) => {
  let server: RedisServer | undefined;
  let client: Redis | undefined;
  afterAll(async () => {
    client?.disconnect();
    await server?.stop();
  });

  const fresh = async (): Promise<Bench> => {
    // One node: then all keys of the volume are where the test looks for them.
    server ??= await startRedis({ mode, nodes: 1 });
    client ??= server.client();
    const used = harness(server, client, mode === "cluster" ? "{0}" : "");
    return new Bench(used, await used.emptyAddress());
  };
  xattrCases((title, run) => test(title, run), fresh);
});
