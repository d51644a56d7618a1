import { join } from "node:path";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ConflictError, EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { packBatch, type RecordBatch } from "../../src/volume/records.ts";
import { ENGINE_KINDS } from "../support/collect-records.ts";
import { realClient } from "../support/real-client.ts";
import { readRedisJsonl, restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { runCommand } from "../support/run-command.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");
const SETTING = Buffer.from('{"Name": "x", "UUID": "11111111-2222-4333-8444-555555555555"}');
const signal = new AbortController().signal;
const isAvailable = await requireRedisServer();
const program = isAvailable ? await realClient() : undefined;

const openAt = (url: string): Promise<MetadataStore> => openStore(url, { logger: silentLogger, signal, env: {} });

async function loaderAt(url: string): Promise<Loader> {
  return (await openAt(url)).openLoader({ signal, logger: silentLogger, sliceRefs: "exceptions" });
}

/** Copies everything that records carry. */
async function copyVolume(from: string, to: string): Promise<void> {
  const snapshot = await (await openAt(from)).openSnapshot({ signal, logger: silentLogger });
  const loader = await loaderAt(to);
  for await (const batch of snapshot.records({ kinds: ENGINE_KINDS })) await loader.write(batch);
  await loader.finish(snapshot.setting);
  await snapshot.close();
}

const keyOf = (line: string): string => Buffer.from(JSON.parse(line).key_b64, "base64").toString();

function someNodes(first: number, count: number): RecordBatch {
  return packBatch(
    "node",
    Array.from({ length: count }, (_, i) => ({ inode: BigInt(first + i), attribute: Buffer.alloc(72, 1) })),
  );
}

describe.skipIf(!isAvailable)("a Redis loader", () => {
  let server: RedisServer;
  let client: Redis;
  let target: Redis;
  beforeAll(async () => {
    server = await startRedis();
    client = server.client(1);
    target = server.client(2);
  });
  beforeEach(async () => {
    await client.flushall();
  });
  afterAll(async () => {
    client.disconnect();
    target.disconnect();
    await server.stop();
  });

  test.each(["golden/engines/golden-json", "legacy/legacy-1-3-0.redis-loaded", "legacy/legacy-1-3-1.redis-loaded"])(
    "writes the keys that the reference's JSON load has written: %s",
    async (name) => {
      const file = name.startsWith("golden") ? `${name}.redis.jsonl` : `${name}.jsonl`;
      await restoreRedisJsonl(server.url(1), join(FIXTURES, file));
      await copyVolume(server.url(1), server.url(2));
      expect(await readRedisJsonl(server.url(2))).toEqual(await readRedisJsonl(server.url(1)));
    },
  );

  test.each(["golden/engines/golden", "golden/native/awkward"])(
    "writes a native volume as it was, but for what records do not carry: %s",
    async (name) => {
      await restoreRedisJsonl(server.url(1), join(FIXTURES, `${name}.redis.jsonl`));
      await client.hdel("sliceRef", ...(await negativeSlices(client)));
      await copyVolume(server.url(1), server.url(2));
      const left = /^(allSessions|delSlices|sessionInfos|lastCleanup.*|lock.*)$/;
      const carried = (await readRedisJsonl(server.url(1))).filter((line) => !left.test(keyOf(line)));
      expect(await readRedisJsonl(server.url(2))).toEqual(carried);
    },
  );

  test("is no volume and no free database until it has finished, and leaves nothing behind", async () => {
    const loader = await loaderAt(server.url(2));
    await expect(loaderAt(server.url(2))).rejects.toThrow(ConflictError);
    await loader.write(someNodes(1, 10));
    expect((await (await openAt(server.url(2))).inspectTarget(signal)).state).toBe("occupied");
    await loader.finish(SETTING);
    expect(await target.keys("*")).toHaveLength(11);
  });

  test("an abort removes what was written and keeps what others have written meanwhile", async () => {
    const loader = await loaderAt(server.url(2));
    await loader.write(someNodes(1, 30_000));
    await loader.write(packBatch("sustained", [{ sid: 5n, inode: 7n }]));
    await loader.write(packBatch("counter", [{ name: "nextInode", value: 9n }]));
    await target.set("other", "1");
    await loader.abort();
    expect(await target.keys("*")).toEqual(["other"]);
  });

  test("writing stops where the database was emptied meanwhile", async () => {
    const loader = await loaderAt(server.url(2));
    await loader.write(someNodes(1, 1000));
    await loader.readNodes([1n]);
    await target.flushdb();
    const error = await failure(async () => {
      for (let i = 0; i < 1000; i++) await loader.write(someNodes(1 + i * 1000, 1000));
    });
    expect(error).toBeInstanceOf(ConflictError);
    await loader.abort();
  });

  test("nothing is completed or removed where the database was emptied and formatted by another meanwhile", async () => {
    for (const end of ["finish", "abort"] as const) {
      const loader = await loaderAt(server.url(2));
      await loader.write(someNodes(1, 100));
      await target.flushdb();
      await (await openAt(server.url(2))).createVolume(
        { setting: SETTING, root: Buffer.alloc(72, 2), trashRoot: undefined },
        signal,
      );
      if (end === "finish") await expect(loader.finish(Buffer.from("{}"))).rejects.toThrow(ConflictError);
      else await loader.abort();
      expect((await target.keys("*")).sort()).toEqual(["i1", "setting"]);
      expect(await target.getBuffer("setting")).toEqual(SETTING);
      await target.flushdb();
    }
  });

  test("a full server is an error that names the key, and the database is empty again", async () => {
    const small = await startRedis({ args: ["--maxmemory", "8mb"] });
    const loader = await loaderAt(small.url());
    const writeMuch = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) await loader.write(someNodes(1 + i * 1000, 1000));
      await loader.finish(SETTING);
    };
    const error = await failure(writeMuch);
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({ code: "DECANT_E_REDIS_FULL", message: expect.stringMatching(/\(MSET i\d+\): OOM/) });
    await loader.abort();
    const reader = small.client();
    expect(await reader.keys("*")).toEqual([]);
    reader.disconnect();
    await small.stop();
  });

  test("a server that dies is an error, and abort does not throw", async () => {
    const mortal = await startRedis();
    const loader = await loaderAt(mortal.url());
    await loader.write(someNodes(1, 1000));
    await mortal.stop();
    const error = await failure(async () => {
      for (let i = 0; i < 100; i++) await loader.write(someNodes(1, 1000));
      await loader.finish(SETTING);
    });
    expect(error).toMatchObject({ code: "DECANT_E_REDIS_LOST" });
    await loader.abort();
  });

  test("a volume in a cluster has its prefix, and another one beside it is not touched", async () => {
    const cluster = await startRedis({ mode: "cluster" });
    await restoreRedisJsonl(server.url(1), join(FIXTURES, "golden/engines/golden-json.redis.jsonl"));
    await copyVolume(server.url(1), cluster.url(7));
    await copyVolume(cluster.url(7), cluster.url(12));
    expect(await (await openAt(cluster.url(12))).inspectTarget(signal)).toMatchObject({ state: "volume" });
    await copyVolume(cluster.url(12), server.url(2));
    expect(await readRedisJsonl(server.url(2))).toEqual(await readRedisJsonl(server.url(1)));
    const third = await loaderAt(cluster.url(13));
    await third.write(someNodes(1, 10));
    expect(await (await openAt(cluster.url(13))).inspectTarget(signal)).toEqual({
      state: "occupied",
      message: expect.stringMatching(/^found key with same prefix: \{13\}/),
      hint: expect.stringContaining("key {13}decantLoading"),
    });
    await third.abort();
    expect(await (await openAt(cluster.url(13))).inspectTarget(signal)).toEqual({ state: "empty" });
    await cluster.stop();
  });

  test.skipIf(program === undefined)("the reference dumps a loaded volume like the one it came from", async () => {
    await restoreRedisJsonl(server.url(1), join(FIXTURES, "golden/engines/golden.redis.jsonl"));
    await copyVolume(server.url(1), server.url(2));
    const cwd = temporaryDirectory();
    const dumps: string[] = [];
    for (const db of [1, 2]) {
      const { code, out } = await runCommand(program!, ["dump", server.url(db), "--keep-secret-key"], { cwd });
      expect(code).toBe(0);
      // Sustained inodes are listed by session, and a load creates no session.
      dumps.push(out.replace(/"Sustained": \[(?:\]|.*?\n {2}\])/s, '"Sustained": []'));
    }
    expect(dumps[1]).toBe(dumps[0]);
    const { err } = await runCommand(program!, ["status", server.url(2)], { cwd });
    expect(err).not.toContain("FATAL");
  });
});

async function negativeSlices(client: Redis): Promise<string[]> {
  const refs = await client.hgetall("sliceRef");
  return Object.keys(refs).filter((field) => Number(refs[field]) < 1);
}

async function failure(work: () => Promise<unknown>): Promise<unknown> {
  return work().then(
    () => undefined,
    (error: unknown) => error,
  );
}
