import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { freePort } from "../support/guarded-process.ts";
import { type RedisOptions, type RedisServer, startRedis, TLS_DIRECTORY } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";

const signal = new AbortController().signal;
const isAvailable = await requireRedisServer();

/** A reasonable time for an answer, also a bad one. */
const PATIENCE_MS = 10_000;

async function readSetting(url: string, env: Record<string, string> = {}): Promise<string | undefined> {
  const store = await openStore(url, { logger: silentLogger, signal, env });
  return (await store.readSetting(signal))?.toString();
}

async function failure(url: string, env: Record<string, string> = {}): Promise<DecantError> {
  const started = Date.now();
  const error = await readSetting(url, env).then(
    () => expect.unreachable(`${url} should not work`),
    (reason: unknown) => reason as DecantError,
  );
  expect(Date.now() - started).toBeLessThan(PATIENCE_MS);
  return error;
}

describe.skipIf(!isAvailable)("connecting to Redis", () => {
  const servers: RedisServer[] = [];
  let plain: RedisServer;
  let secret: RedisServer;
  let tls: RedisServer;
  const PASSWORD = "s3:cr@t/";

  async function start(options: RedisOptions): Promise<RedisServer> {
    const server = await startRedis(options);
    servers.push(server);
    return server;
  }
  async function store(server: RedisServer, db: number, key = "setting"): Promise<void> {
    const client = server.client(db);
    await client.set(key, `in ${db}`);
    client.disconnect();
  }

  beforeAll(async () => {
    plain = await start({});
    secret = await start({ password: PASSWORD });
    tls = await start({ tls: true, password: PASSWORD });
    for (const server of [plain, secret, tls]) for (const db of [0, 3]) await store(server, db);
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop()));
  });

  test("works by every form of address", async () => {
    expect(await readSetting(plain.url(3))).toBe("in 3");
    expect(await readSetting(plain.socketUrl(3))).toBe("in 3");
    expect(await readSetting(`127.0.0.1:${plain.port}/3`)).toBe("in 3");
    expect(await readSetting(`redis://127.0.0.1:${plain.port}?db=3`)).toBe("in 3");
    expect(await readSetting(`redis://localhost:${plain.port}`)).toBe("in 0");
    expect(await readSetting(`redis://user-without-password@127.0.0.1:${plain.port}/3`)).toBe("in 3");
  });

  test("takes the password from the address or the environment", async () => {
    const bare = `redis://127.0.0.1:${secret.port}/3`;
    expect(await readSetting(secret.url(3))).toBe("in 3");
    expect(await readSetting(bare, { REDIS_PASSWORD: PASSWORD, META_PASSWORD: "wrong" })).toBe("in 3");
    expect(await readSetting(bare, { META_PASSWORD: PASSWORD })).toBe("in 3");
    expect(await readSetting(`redis://default@127.0.0.1:${secret.port}/3`, { META_PASSWORD: PASSWORD })).toBe("in 3");
  });

  test("speaks TLS, with and without verification, and with a client certificate", async () => {
    const file = (name: string): string => join(TLS_DIRECTORY, name);
    expect(await readSetting(tls.url(3))).toBe("in 3");
    expect(
      await readSetting(`rediss://127.0.0.1:${tls.port}/3?insecure-skip-verify=1`, { REDIS_PASSWORD: PASSWORD }),
    ).toBe("in 3");
    expect(await readSetting(`${tls.url(3)}&tls-server-name=localhost`)).toBe("in 3");
    const certified = await start({ tls: true });
    const client = certified.client();
    await client.config("SET", "tls-auth-clients", "yes");
    client.disconnect();
    await failure(certified.url());
    const query = `&tls-cert-file=${file("client.crt")}&tls-key-file=${file("client.key")}`;
    expect(await readSetting(certified.url() + query)).toBeUndefined();
  });

  test("finds the master through Sentinel", async () => {
    const sentinel = await start({ mode: "sentinel", password: PASSWORD });
    await store(sentinel, 3);
    expect(await readSetting(sentinel.url(3))).toBe("in 3");
    const unknown = await failure(sentinel.url(3).replace("mymaster", "nobody"));
    expect(unknown.message).toBe('No master named "nobody" is known to Sentinel');
  });

  test("finds the node of a cluster that holds the volume, from any node", async () => {
    const cluster = await start({ mode: "cluster" });
    for (const db of [0, 1, 2, 7]) {
      expect(await readSetting(cluster.url(db))).toBeUndefined();
      expect(await readSetting(`redis://127.0.0.1:${cluster.port}/${db}`)).toBeUndefined();
    }
    const opened = await openStore(cluster.url(7), { logger: silentLogger, signal, env: {} });
    expect(await opened.listSessions(signal)).toEqual([]);
    expect(await opened.readUsage({ more: true, signal })).toMatchObject({ totalInodes: 0n });
  });

  test("asks the next Sentinel or cluster node where one cannot be reached, and keeps the answer that says most", async () => {
    const dead = `127.0.0.1:${await freePort()}`;
    const sentinel = await start({ mode: "sentinel", password: PASSWORD });
    await store(sentinel, 3);
    expect(await readSetting(sentinel.url(3).replace("mymaster,", `mymaster,${dead},`))).toBe("in 3");
    for (const sentinels of [`${dead},$1`, `$1,${dead}`]) {
      const unknown = await failure(sentinel.url(3).replace(/mymaster,([^/]+)/, `nobody,${sentinels}`));
      expect(unknown.message).toBe('No master named "nobody" is known to Sentinel');
    }
    const cluster = await start({ mode: "cluster", nodes: 1 });
    const alive = `127.0.0.1:${cluster.port}`;
    expect(await readSetting(`redis://${dead},${alive}/0`)).toBeUndefined();
    for (const nodes of [`${dead},${alive}`, `${alive},${dead}`]) {
      expect(await failure(`redis://:wr0ng@${nodes}/0`)).toMatchObject({ code: "DECANT_E_REDIS_AUTH" });
    }
    expect(await failure(`redis://${dead},${dead}/0`)).toMatchObject({ code: "DECANT_E_REDIS_CONNECT" });
  });

  test("says in time what is wrong, without the password", async () => {
    const refused = await failure(`redis://u:${encodeURIComponent(PASSWORD)}@127.0.0.1:${await freePort()}/0`);
    expect(refused).toMatchObject({ code: "DECANT_E_REDIS_CONNECT", message: expect.stringContaining("ECONNREFUSED") });
    expect(refused.message).toMatch(/^Meta redis:\/\/u:\*\*\*\*@/);
    const unknown = await failure("redis://no-such-host.invalid/0");
    expect(unknown).toMatchObject({
      code: "DECANT_E_REDIS_CONNECT",
      message: expect.stringMatching(/ENOTFOUND|EAI_AGAIN/),
    });
    expect(await failure(plain.url(99))).toMatchObject({ code: "DECANT_E_REDIS_DATABASE" });
    const missing = await failure(`redis://127.0.0.1:${secret.port}/0`);
    expect(missing).toMatchObject({ code: "DECANT_E_REDIS_AUTH", message: expect.stringContaining("NOAUTH") });
    const wrong = await failure(`redis://:wr0ng@127.0.0.1:${secret.port}/0`);
    expect(wrong).toMatchObject({ code: "DECANT_E_REDIS_AUTH", message: expect.stringContaining("WRONGPASS") });
    for (const error of [refused, missing, wrong]) {
      expect(`${error.message} ${error.hint}`).not.toMatch(/wr0ng|s3:cr@t|s3%3A/);
    }
  });

  test("says in time what is wrong with TLS", async () => {
    const untrusted = await failure(`rediss://127.0.0.1:${tls.port}/0`, { REDIS_PASSWORD: PASSWORD });
    expect(untrusted).toMatchObject({
      code: "DECANT_E_REDIS_CONNECT",
      message: expect.stringContaining("self-signed"),
    });
    const misnamed = await failure(`${tls.url()}&tls-server-name=other.example`);
    expect(misnamed.message).toContain("does not match certificate's altnames");
    expect(await failure(`redis://127.0.0.1:${tls.port}/0`)).toMatchObject({
      hint: expect.stringContaining("rediss://"),
    });
    expect(await failure(`rediss://127.0.0.1:${plain.port}/0?dial_timeout=1s`)).toMatchObject({
      message: expect.stringContaining("no TLS handshake within 1 s"),
    });
    const noFile = await failure(`${tls.url()}&tls-cert-file=/does/not/exist`);
    expect(noFile.message).toContain("Cannot read the certificate file /does/not/exist");
  });

  test("waits a moment for a server that is loading its data, then says so", async () => {
    const args = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
    const loading = await start({ args });
    const client = loading.client();
    client.on("error", () => undefined);
    const many = client.pipeline();
    for (let i = 0; i < 3000; i++) many.set(`k${i}`, "v".repeat(100));
    await many.exec();
    await client.config("SET", "key-load-delay", "3000");
    client.call("DEBUG", "RELOAD").catch(() => undefined);
    await sleep(200);
    expect(await failure(loading.url())).toMatchObject({ code: "DECANT_E_REDIS_LOADING" });
    client.disconnect();
  });
});
