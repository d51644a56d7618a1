import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { Consistency, SnapshotMethod } from "../../src/engines/engine.ts";
import { crc16 } from "../../src/engines/redis/redis-server.ts";
import { openStore } from "../../src/engines/registry.ts";
import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { attributeOf, contradictions } from "../support/redis-model.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { RedisWriters } from "../support/redis-writers.ts";
import { requireRedisServer } from "../support/require-server.ts";

const isAvailable = await requireRedisServer();
const never = new AbortController().signal;
const AT_ONCE = ["--repl-diskless-sync-delay", "0"];
const METHODS: readonly SnapshotMethod[] = ["auto", "tracking", "replica", "none"];
const FILES = 2000;

interface Picture {
  readonly records: Map<FlatKind, RecordTypes[FlatKind][]>;
  readonly consistency: Consistency;
}

/** `onOpen` is done when the snapshot is open: the setting was read and, for a full resync, the server has forked. */
async function read(url: string, method: SnapshotMethod, onOpen?: () => Promise<void>): Promise<Picture> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
  const snapshot = await store.openSnapshot({ logger: silentLogger, signal: never, method });
  try {
    await onOpen?.();
    return {
      records: await collectRecords(snapshot.records({ kinds: ENGINE_KINDS })),
      consistency: snapshot.consistency,
    };
  } finally {
    await snapshot.close();
  }
}

/** How many of the nodes that `fill` has written. */
function restIn(records: Picture["records"]): number {
  const nodes = (records.get("node") ?? []) as RecordTypes["node"][];
  return nodes.filter(({ inode }) => inode >= 900_000_000n).length;
}

async function failure(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing failed");
}

async function fill(client: Redis, prefix: string): Promise<void> {
  const pipeline = client.pipeline().set(`${prefix}setting`, "{}");
  for (let i = 0; i < FILES; i++) pipeline.set(`${prefix}i${900_000_000 + i}`, attributeOf(i));
  await pipeline.exec();
}

describe.skipIf(!isAvailable)("a volume in the slot of a cluster of three nodes", () => {
  let cluster: RedisServer;
  let owner: Redis;
  let other: Redis;
  let ids: { owner: string; other: string };
  let ownerPort = 0;
  let otherPort = 0;
  const slot = String(crc16(Buffer.from("3")) & 0x3fff);
  const prefix = "{3}";

  beforeAll(async () => {
    cluster = await startRedis({ mode: "cluster", args: AT_ONCE });
    const first = cluster.client();
    const ranges = (await first.call("CLUSTER", "SLOTS")) as [number, number, [string, number, string]][];
    const isOwner = ([from, to]: [number, number, unknown]): boolean => from <= Number(slot) && Number(slot) <= to;
    const [, , [, port, id]] = ranges.find(isOwner)!;
    const [, , [, target, targetId]] = ranges.find((range) => !isOwner(range))!;
    [ownerPort, otherPort, ids] = [port, target, { owner: id, other: targetId }];
    owner = first.duplicate({ port });
    other = first.duplicate({ port: target });
    first.disconnect();
  });
  afterAll(async () => {
    owner.disconnect();
    other.disconnect();
    await cluster.stop();
  });

  async function beginMove(from: Redis, to: Redis): Promise<void> {
    const [source, target] = from === owner ? [ids.owner, ids.other] : [ids.other, ids.owner];
    await to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source);
    await from.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target);
  }

  async function moveKeys(from: Redis, count: number): Promise<void> {
    const port = from === owner ? otherPort : ownerPort;
    const keys = ((await from.call("CLUSTER", "GETKEYSINSLOT", slot, String(count + 1))) as string[])
      .filter((key) => key !== `${prefix}setting` || count > FILES)
      .slice(0, count);
    await from.call("MIGRATE", "127.0.0.1", String(port), "", "0", "5000", "KEYS", ...keys);
  }

  async function endMove(to: Redis): Promise<void> {
    const id = to === owner ? ids.owner : ids.other;
    for (const client of to === owner ? [owner, other] : [other, owner]) {
      await client.call("CLUSTER", "SETSLOT", slot, "NODE", id);
    }
    const asked = cluster.client();
    const port = to === owner ? ownerPort : otherPort;
    const isKnown = async (): Promise<boolean> =>
      ((await asked.call("CLUSTER", "SLOTS")) as [number, number, [string, number]][]).some(
        ([from, last, [, at]]) => from <= Number(slot) && Number(slot) <= last && at === port,
      );
    while (!(await isKnown())) await sleep(20);
    asked.disconnect();
  }

  test("is read as of one instant by tracking and by a full resync, whichever node is named", async () => {
    await fill(owner, prefix);
    const writers = await RedisWriters.start(ownerPort, 1, { depth: 1, pauseMs: 2, prefix });
    try {
      for (const method of ["tracking", "replica"] as const) {
        for (let i = 0; i < 5; i++) {
          const { records, consistency } = await read(cluster.url(3), method);
          expect([method, i, contradictions(records, 1)]).toEqual([method, i, []]);
          expect(consistency.pointInTime).toBe(true);
        }
      }
    } finally {
      await writers.stop();
    }
  });

  test.each(METHODS)("is refused with %s while a part of its keys is on another node already", async (method) => {
    await fill(owner, prefix);
    await beginMove(owner, other);
    await moveKeys(owner, 500);
    try {
      const error = await failure(() => read(cluster.url(3), method));
      expect(error).toMatchObject({ code: "DECANT_E_REDIS_CLUSTER", retryable: true });
      expect(String(error)).toContain("is not responsible for the volume at the moment");
    } finally {
      await beginMoveBack();
    }
  });

  test.each(["auto", "tracking", "none"] as const)(
    "is refused with %s when its keys begin to move while they are read",
    async (method) => {
      await fill(owner, prefix);
      const error = await failure(() =>
        read(cluster.url(3), method, async () => {
          await beginMove(owner, other);
          await moveKeys(owner, 500);
        }),
      );
      await beginMoveBack();
      expect(error).toMatchObject({ code: "DECANT_E_REDIS_CLUSTER", retryable: true });
    },
  );

  test.each(["auto", "tracking", "none"] as const)(
    "is refused with %s when the whole slot is moved while it is read, and read from its new place after that",
    async (method) => {
      await fill(owner, prefix);
      const error = await failure(() =>
        read(cluster.url(3), method, async () => {
          await beginMove(owner, other);
          await moveKeys(owner, FILES * 2);
          await endMove(other);
        }),
      );
      expect(error).toMatchObject({ code: "DECANT_E_REDIS_CLUSTER", retryable: true });
      const { records } = await read(cluster.url(3), method);
      expect(restIn(records)).toBe(FILES);
      await beginMove(other, owner);
      await moveKeys(other, FILES * 2);
      await endMove(owner);
    },
  );

  test("is read by a full resync as it was when its keys begin to move behind the fork", async () => {
    await fill(owner, prefix);
    const { records, consistency } = await read(cluster.url(3), "replica", async () => {
      await beginMove(owner, other);
      await moveKeys(owner, 500);
    });
    await beginMoveBack();
    expect(consistency.pointInTime).toBe(true);
    expect(restIn(records)).toBe(FILES);
  });

  test.each(["tracking", "none"] as const)(
    "is an error with %s or whole when its master fails over while it is read, and is read from the new master after that",
    async (method) => {
      await fill(owner, prefix);
      const asked = cluster.client();
      const masters = async (): Promise<number[]> =>
        ((await asked.call("CLUSTER", "SLOTS")) as [number, number, [string, number]][]).map(([, , [, at]]) => at);
      const owning = ((await asked.call("CLUSTER", "SLOTS")) as [number, number, [string, number, string]][]).find(
        ([from, to]) => from <= Number(slot) && Number(slot) <= to,
      )!;
      const [, port, id] = owning[2];
      const replica = await startRedis({ args: ["--cluster-enabled", "yes", ...AT_ONCE] });
      const second = replica.client();
      try {
        await second.call("CLUSTER", "MEET", "127.0.0.1", String(port));
        for (const node of [owner, other, asked, second]) await until(() => knows(node, replica.port));
        await until(async () => (await second.call("CLUSTER", "REPLICATE", id).catch(() => "")) === "OK");
        await until(async () => String(await second.info("replication")).includes("master_link_status:up"));
        const outcome = await read(cluster.url(3), method, async () => {
          await until(async () => (await second.call("CLUSTER", "FAILOVER", "TAKEOVER").catch(() => "")) === "OK");
          await until(async () => (await masters()).includes(replica.port));
        }).catch((error: unknown) => error);
        if (outcome instanceof Error) expect(outcome).toMatchObject({ name: "EngineError", retryable: true });
        else expect(restIn((outcome as Picture).records)).toBe(FILES);
        const { records, consistency } = await read(cluster.url(3), method);
        expect([restIn(records), consistency.pointInTime]).toEqual([FILES, method !== "none"]);
        // and back, for whoever comes after
        const first = new Redis({ port });
        await until(async () => (await first.call("CLUSTER", "FAILOVER", "TAKEOVER").catch(() => "")) === "OK");
        await until(async () => (await masters()).includes(port));
        first.disconnect();
      } finally {
        second.disconnect();
        asked.disconnect();
        await replica.stop();
      }
    },
    60_000,
  );

  async function knows(client: Redis, port: number): Promise<boolean> {
    const info = String(await client.call("CLUSTER", "INFO"));
    return info.includes("cluster_state:ok") && String(await client.call("CLUSTER", "NODES")).includes(`:${port}@`);
  }

  /** Ends a move that was begun: what has gone is taken from the target and written anew by the next test. */
  async function beginMoveBack(): Promise<void> {
    await owner.call("CLUSTER", "SETSLOT", slot, "STABLE");
    for (;;) {
      const keys = (await other.call("CLUSTER", "GETKEYSINSLOT", slot, "1000")) as string[];
      if (keys.length === 0) break;
      await other.call("MIGRATE", "127.0.0.1", String(ownerPort), "", "0", "5000", "REPLACE", "KEYS", ...keys);
    }
    await other.call("CLUSTER", "SETSLOT", slot, "STABLE");
  }
});

describe.skipIf(!isAvailable)("a volume behind Sentinel", () => {
  let master: RedisServer;
  let replica: RedisServer;
  let sentinel: Redis;
  let url: string;

  beforeAll(async () => {
    master = await startRedis({ mode: "sentinel", args: AT_ONCE });
    replica = await startRedis({ args: [...AT_ONCE, "--replicaof", "127.0.0.1", String(master.port)] });
    url = master.url();
    sentinel = new Redis({ host: "127.0.0.1", port: Number(/:([0-9]+)\/0/.exec(url)![1]) });
    await sentinel.call("SENTINEL", "SET", "mymaster", "failover-timeout", "1000", "down-after-milliseconds", "500");
    await until(async () => ((await sentinel.call("SENTINEL", "REPLICAS", "mymaster")) as unknown[]).length === 1);
  });
  afterAll(async () => {
    sentinel.disconnect();
    await Promise.all([replica.stop(), master.stop()]);
  });

  async function masterPort(): Promise<number> {
    const [, port] = (await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")) as [string, string];
    return Number(port);
  }

  /** All values say `version`, changed at one instant. */
  async function write(port: number, version: number): Promise<void> {
    const client = new Redis({ port });
    const files = Array.from({ length: FILES }, (_, i) => [`i${900_000_000 + i}`, attributeOf(version)] as const);
    await client.mset("setting", "{}", ...files.flat());
    await client.wait(1, 5000);
    client.disconnect();
  }

  function versionsIn(records: Picture["records"]): number[] {
    const nodes = (records.get("node") ?? []) as RecordTypes["node"][];
    return [...new Set(nodes.map(({ attribute }) => Number(attribute.readBigUInt64BE(51))))];
  }

  test("is read as of one instant by tracking and by a full resync", async () => {
    await write(await masterPort(), 1);
    for (const method of ["tracking", "replica"] as const) {
      const { records, consistency } = await read(url, method);
      expect([method, versionsIn(records), restIn(records)]).toEqual([method, [1], FILES]);
      expect(consistency.pointInTime).toBe(true);
    }
  });

  test.each(["tracking", "replica", "none"] as const)(
    "that gets another master while it is read with %s is an error or one of its states, and read from the new master after that",
    async (method) => {
      const before = await masterPort();
      await write(before, 1);
      const change = async (): Promise<void> => {
        await until(async () => (await sentinel.call("SENTINEL", "FAILOVER", "mymaster").catch(() => "")) === "OK");
        await until(async () => (await masterPort()) !== before);
        const old = new Redis({ port: before }).on("error", () => undefined); // Sentinel ends all connections
        await until(async () => String(await old.info("replication")).includes("master_link_status:up"));
        old.disconnect();
        await write(await masterPort(), 2);
      };
      const outcome = await read(url, method, change).catch((error: unknown) => error);
      if (method === "replica") {
        expect([versionsIn((outcome as Picture).records), restIn((outcome as Picture).records)]).toEqual([[1], FILES]);
      } else expect(outcome).toMatchObject({ code: "DECANT_E_REDIS_LOST", retryable: true });
      const { records } = await read(url, method);
      expect([versionsIn(records), restIn(records)]).toEqual([[2], FILES]);
    },
  );
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 40_000; !(await isSo()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error("Waited 40 s in vain");
  }
}
