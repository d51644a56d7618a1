import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { realClient } from "../support/real-client.ts";
import { readRedisJsonl, restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisOptions, startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer, requireServer } from "../support/require-server.ts";
import { runCommand } from "../support/run-command.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";

const redis = await requireServer("redis");
const ownRedis = await requireRedisServer();
const client = await realClient();

describe.skipIf(redis === undefined)("a Redis fixture", () => {
  test.each(["golden/native/awkward.redis.jsonl", "legacy/ancient.redis.jsonl"])(
    "%s is restored as it was",
    async (name) => {
      await restoreRedisJsonl(redis!.url(3), fixture(name));
      expect(await readRedisJsonl(redis!.url(3))).toEqual(readFileSync(fixture(name), "utf8").trimEnd().split("\n"));
    },
  );
});

describe.skipIf(!ownRedis)("a private Redis", () => {
  const modes: RedisOptions[] = [
    {},
    { password: "p@ss word" },
    { tls: true },
    { mode: "cluster" },
    { mode: "sentinel" },
  ];
  test.each(modes)("%o answers at its address", async (options) => {
    const server = await startRedis(options);
    const db = options.mode === "cluster" ? 0 : 5;
    const connection = server.client(db);
    expect(await connection.call("PING")).toBe("PONG");
    connection.disconnect();
    if (client !== undefined) {
      const answer = await runCommand(client, ["status", server.url(db)], { timeoutMs: 30_000 });
      expect(answer.err).toContain("database is not formatted");
    }
    await server.stop();
    expect(() => process.kill(server.pid, 0)).toThrow();
  });

  test("listens at a Unix socket", async () => {
    const server = await startRedis();
    const connection = new Redis(`${server.directory}/redis.sock`);
    expect(await connection.call("PING")).toBe("PONG");
    connection.disconnect();
    expect(server.socketUrl(1)).toBe(`unix://${server.directory}/redis.sock?db=1`);
  });
});

describe.skipIf(client === undefined)("the reference client", () => {
  test("has the version that fixtures were made with", async () => {
    expect((await runCommand(client!, ["version"])).out).toContain("1.4.2");
  });

  test("dumps a copied SQLite fixture", async () => {
    const { url } = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    const dumped = await runCommand(client!, ["dump", "--fast", url]);
    expect(dumped.code).toBe(0);
    expect(dumped.out).toContain('"FSTree": {');
  });
});
