import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { Consistency } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { createContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { RedisGate } from "../support/redis-gate.ts";
import { attributeOf, contradictions } from "../support/redis-model.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { RedisWriters } from "../support/redis-writers.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const isAvailable = await requireRedisServer();
const never = new AbortController().signal;
const REPLICA = { snapshot: "replica" } as const;
const GOLDEN = "golden/engines/golden.redis.jsonl";

const AT_ONCE = ["--repl-diskless-sync-delay", "0"];
/** As servers send their data: through the socket with a mark at its end, or from a file whose size they say. */
const WAYS: readonly (readonly [string, readonly string[]])[] = [
  ["through the socket", ["--repl-diskless-sync", "yes", ...AT_ONCE]],
  ["from a file", ["--repl-diskless-sync", "no"]],
];

const servers: RedisServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.stop())));

async function start(...options: Parameters<typeof startRedis>): Promise<RedisServer> {
  const server = await startRedis(...options);
  servers.push(server);
  return server;
}

async function read(
  url: string,
): Promise<{ records: Map<FlatKind, RecordTypes[FlatKind][]>; consistency: Consistency; setting: string }> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
  const snapshot = await store.openSnapshot({ logger: silentLogger, signal: never, method: "replica" });
  try {
    const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
    return { records, consistency: snapshot.consistency, setting: snapshot.setting.toString() };
  } finally {
    await snapshot.close();
  }
}

/** Attribute record. */
function directory(): Buffer {
  const attribute = attributeOf(4096);
  attribute.writeUInt16BE((2 << 12) | 0o755, 1);
  return attribute;
}

/** Replicas that the server knows, when it has noticed who went away. */
async function replicasLeft(server: RedisServer): Promise<string> {
  const client = server.client();
  try {
    for (let i = 0; ; i++) {
      const [line = ""] = /connected_slaves:[0-9]+/.exec(await client.info("replication")) ?? [];
      if (line === "connected_slaves:0" || i === 100) return line;
      await sleep(20);
    }
  } finally {
    client.disconnect();
  }
}

/** Read key by key, and of a full resync. */
async function expectSameDumps(url: string): Promise<void> {
  for (const form of [
    { keepSecretKey: true },
    { keepSecretKey: true, format: "binary" },
    { skipTrash: true, format: "binary" },
  ] as const) {
    const key = await dumpVolume(url, { ...form, snapshot: "none" });
    const resync = await dumpVolume(url, { ...form, ...REPLICA });
    expectSameBytes(resync.bytes, key.bytes);
    expect(resync.report.counts).toEqual(key.report.counts);
    expect(resync.report.consistency).toMatchObject({
      pointInTime: true,
      method: "A full resync (PSYNC) gave all data as of the fork of the server",
    });
    expect(Math.abs(Date.now() - Date.parse(resync.report.consistency.asOf))).toBeLessThan(600_000);
  }
}

describe.skipIf(!isAvailable)("a volume in Redis as a replica gets it", () => {
  describe.each(WAYS)("%s", (_, args) => {
    test("is exact each time while writers do as much as the server can", async () => {
      const server = await start({ args });
      const client = server.client();
      await client.set("setting", "{}");
      const rest = client.pipeline();
      for (let i = 0; i < 20_000; i++) rest.set(`i${900_000_000 + i}`, attributeOf(i));
      await rest.exec();
      const writers = await RedisWriters.start(server.port, 2);
      let transactions = 0;
      try {
        for (let i = 0; i < 15; i++) {
          const { records, consistency } = await read(server.url());
          expect([i, contradictions(records, writers.count)]).toEqual([i, []]);
          expect(consistency.pointInTime).toBe(true);
        }
      } finally {
        transactions = await writers.stop();
      }
      expect(transactions).toBeGreaterThan(2000);
      expect(await replicasLeft(server)).toBe("connected_slaves:0");
      client.disconnect();
    });

    test("has the bytes of a dump key by key when nobody writes, in every database, and leaves no replica behind", async () => {
      const server = await start({ args });
      await restoreRedisJsonl(server.url(5), fixture(GOLDEN));
      await restoreRedisJsonl(server.url(0), fixture("golden/native/awkward.redis.jsonl"));
      await expectSameDumps(server.url(5));
      await expectSameDumps(server.socketUrl(0));
      expect(await replicasLeft(server)).toBe("connected_slaves:0");
    });

    test("that is interrupted leaves no dump and no replica behind", async () => {
      const server = await start({ args: [...args, "--rdb-key-save-delay", "300"] });
      await restoreRedisJsonl(server.url(), fixture(GOLDEN));
      const file = join(temporaryDirectory(), "dump.json");
      const controller = new AbortController();
      const running = dump(
        { source: server.url(), target: { file }, ...REPLICA },
        createContext({ env: {}, signal: controller.signal }),
      );
      const client = server.client();
      while (!(await client.info("replication")).includes("connected_slaves:1")) await sleep(5);
      controller.abort();
      await expect(running).rejects.toMatchObject({ name: "AbortError" });
      expect(existsSync(file)).toBe(false);
      expect(await replicasLeft(server)).toBe("connected_slaves:0");
      client.disconnect();
    });
  });

  test("comes through TLS, with the password and the rights that a replica needs", async () => {
    const server = await start({ args: AT_ONCE, tls: true, password: "p@ss" });
    const client = server.client();
    await client.mset("setting", '{"Name":"v","UUID":"u"}', "i1", directory());
    await client.set(`i${TRASH_INODE}`, directory());
    await client.call(
      "ACL",
      "SETUSER",
      "backup",
      "on",
      ">s3cret",
      "~*",
      "+@read",
      "+info",
      "+select",
      "+cluster",
      "+psync",
      "+replconf",
    );
    client.disconnect();
    await expectSameDumps(server.url());
    await expectSameDumps(server.url().replace(/\/\/:[^@]*@/, "//backup:s3cret@"));
  });

  test("comes from a node of a cluster, from the master that Sentinel names, and from a replica", async () => {
    const cluster = await start({ mode: "cluster", nodes: 1, args: AT_ONCE });
    const client = cluster.client();
    await client.mset("{3}setting", '{"Name":"v","UUID":"u"}', "{3}i1", directory());
    await client.set(`{3}i${TRASH_INODE}`, directory());
    await client.set("i1", "another application");
    await expectSameDumps(cluster.url(3));
    client.disconnect();

    const watched = await start({ mode: "sentinel", args: AT_ONCE });
    const master = watched.client();
    await master.mset("setting", '{"Name":"v","UUID":"u"}', "i1", directory());
    await master.set(`i${TRASH_INODE}`, directory());
    await expectSameDumps(watched.url());

    const replica = await start({ args: [...AT_ONCE, "--replicaof", "127.0.0.1", String(watched.port)] });
    const link = replica.client();
    while (!(await link.info("replication")).includes("master_link_status:up")) await sleep(20);
    await expectSameDumps(replica.url());
    expect(await replicasLeft(replica)).toBe("connected_slaves:0");
    link.disconnect();
    master.disconnect();
  });

  test("makes no Sentinel take decant for a replica, which it would never forget", async () => {
    const watched = await start({ mode: "sentinel", args: ["--repl-diskless-sync-delay", "60"] });
    const master = watched.client();
    await master.mset("setting", '{"Name":"v","UUID":"u"}', "i1", directory());
    const sentinel = new Redis(Number(/:([0-9]+)\/[0-9]*$/.exec(watched.url())![1]), "127.0.0.1");
    const sinceInfo = async (): Promise<number> => {
      const facts = (await sentinel.call("SENTINEL", "MASTER", "mymaster")) as Record<string, string> | string[];
      const value = Array.isArray(facts) ? facts[facts.indexOf("info-refresh") + 1] : facts["info-refresh"];
      return Number(value);
    };
    const controller = new AbortController();
    const file = join(temporaryDirectory(), "dump.json");
    const running = dump(
      { source: watched.url(), target: { file }, ...REPLICA },
      createContext({ env: {}, signal: controller.signal }),
    ).catch((error) => error);
    while (!(await master.info("replication")).includes("connected_slaves:1")) await sleep(20);
    // until Sentinel has asked the master once more, which says that it has a replica
    for (let last = await sinceInfo(), now = last; now >= last; last = now, now = await sinceInfo()) await sleep(200);
    expect(await master.info("replication")).toMatch(/slave0:ip=decant.invalid,port=0,/);
    expect(await sentinel.call("SENTINEL", "REPLICAS", "mymaster")).toEqual([]);
    controller.abort();
    expect(await running).toMatchObject({ name: "AbortError" });
    sentinel.disconnect();
    master.disconnect();
  });

  test("comes with a setting that is changed while the server is asked", async () => {
    const server = await start({ args: AT_ONCE });
    const client = server.client();
    await client.set("setting", '{"TrashDays":1}');
    const action = async (): Promise<void> => void (await client.set("setting", '{"TrashDays":2}'));
    const gate = await RedisGate.start(server.port, [{ before: "PSYNC", action }]);
    try {
      expect((await read(gate.url())).setting).toBe('{"TrashDays":2}');
      expect(gate.isPassed).toBe(true);
    } finally {
      gate.close();
      client.disconnect();
    }
  });
});

describe.skipIf(!isAvailable)("a full resync that cannot be had", () => {
  async function failure(url: string): Promise<Record<string, unknown>> {
    const file = join(temporaryDirectory(), "dump.json");
    const error = await dump({ source: url, target: { file }, ...REPLICA }, createContext({ env: {} })).catch((e) => e);
    expect(existsSync(file)).toBe(false);
    return error as Record<string, unknown>;
  }

  test("for want of rights or of the command names what is missing", async () => {
    const server = await start({ args: AT_ONCE });
    const client = server.client();
    await client.set("setting", '{"Name":"v"}');
    await client.call("ACL", "SETUSER", "reader", "on", ">x", "~*", "+@read", "+info", "+select", "+replconf");
    expect(await failure(`redis://reader:x@127.0.0.1:${server.port}`)).toMatchObject({
      code: "DECANT_E_REDIS_PERMISSION",
      message: expect.stringMatching(/\(PSYNC\): NOPERM .*psync/),
    });
    client.disconnect();
    const managed = await start({ args: ["--rename-command", "PSYNC", ""] });
    const other = managed.client();
    await other.set("setting", '{"Name":"v"}');
    other.disconnect();
    expect(await failure(managed.url())).toMatchObject({
      code: "DECANT_E_REDIS_RESYNC",
      message: expect.stringMatching(/gives no full resync \(PSYNC\): ERR unknown command/),
      hint: expect.stringMatching(/without --snapshot replica/),
    });
  });

  test("from a replica without its master is said so", async () => {
    const server = await start({ args: AT_ONCE });
    const client = server.client();
    await client.set("setting", '{"Name":"v"}');
    await client.call("REPLICAOF", "127.0.0.1", "1");
    expect(await failure(server.url())).toMatchObject({
      code: "DECANT_E_REDIS_RESYNC",
      retryable: true,
      message: expect.stringMatching(/NOMASTERLINK/),
    });
    client.disconnect();
  });

  test.each(WAYS)("to its end, %s, leaves no dump behind, wherever it is cut", async (_, args) => {
    const server = await start({ args });
    await restoreRedisJsonl(server.url(), fixture(GOLDEN));
    const whole = await TcpProxy.start(server.port);
    const proxied = (proxy: TcpProxy): string => `redis://127.0.0.1:${proxy.port}/0`;
    await read(proxied(whole));
    const total = whole.passed.toClient;
    whole.close();
    // newlines and numbers before the data make a few bytes of difference from one time to the other
    for (const back of [20, 39, 41, 49, 60, 5000, 10_000]) {
      const proxy = await TcpProxy.start(server.port, {
        direction: "toClient",
        afterBytes: total - back,
        action: "cut",
      });
      const error = await failure(proxied(proxy));
      expect(proxy.isFaulted).toBe(true);
      expect([back, error]).toEqual([back, expect.objectContaining({ code: "DECANT_E_REDIS_LOST" })]);
      proxy.close();
    }
  });
});
