import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { parseRedisUrl, type RedisAddress } from "../../../../src/engines/redis/redis-url.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const parse = (url: string, env: Record<string, string> = {}): RedisAddress => parseRedisUrl(url, env, silentLogger);

describe("a Redis address", () => {
  test("names one host, with the reference's defaults", () => {
    expect(parse("redis://example")).toMatchObject({
      topology: { kind: "single", node: { host: "example", port: 6379 } },
      db: 0,
      user: undefined,
      password: undefined,
      tls: undefined,
      readTimeoutMs: 30_000,
    });
    expect(parse("redis://[::1]:7000/3").topology).toEqual({ kind: "single", node: { host: "::1", port: 7000 } });
  });

  test("takes the database from the path, else from the query", () => {
    expect(parse("redis://h/7").db).toBe(7);
    expect(parse("redis://h?db=5").db).toBe(5);
    expect(parse("redis://h/?db=5").db).toBe(5);
    expect(parse("redis://h/4?db=5").db).toBe(4);
  });

  test("may be a Unix socket, whose database is in the query", () => {
    expect(parse("unix://u:p@/run/redis.sock?db=2")).toMatchObject({
      topology: { kind: "unix", path: "/run/redis.sock" },
      db: 2,
      user: "u",
      password: "p",
    });
  });

  test("is Sentinel when the first comma comes before the first colon", () => {
    expect(parse("redis://:pw@mymaster,a,b:26380,c/1", { SENTINEL_PASSWORD: "s" })).toMatchObject({
      topology: {
        kind: "sentinel",
        master: "mymaster",
        sentinels: [
          { host: "a", port: 26379 },
          { host: "b", port: 26380 },
          { host: "c", port: 26379 },
        ],
      },
      sentinelPassword: "s",
      password: "pw",
      db: 1,
    });
    expect(parse("redis://mymaster,a,b:7000").topology).toMatchObject({
      sentinels: [
        { host: "a", port: 7000 },
        { host: "b", port: 7000 },
      ],
    });
  });

  test("is a cluster when several hosts have ports", () => {
    expect(parse("rediss://a:1,b:2,c:3/7")).toMatchObject({
      topology: { kind: "cluster", seeds: [{ port: 1 }, { port: 2 }, { port: 3 }] },
      db: 7,
      tls: { verify: true },
    });
  });

  test("has percent-encoded user names and passwords, which are never printed", () => {
    const address = parse("redis://us%3Aer:p%40ss%2Fw@h:1/0");
    expect([address.user, address.password]).toEqual(["us:er", "p@ss/w"]);
    expect(address.printable).toBe("redis://us:****@h:1/0".replace("us", "us%3Aer"));
    expect(parse("redis://:p@h").user).toBeUndefined();
  });

  test("takes the password from the first source that has one", () => {
    const file = join(temporaryDirectory(), "password");
    writeFileSync(file, " from file \n");
    const env = { REDIS_PASSWORD: "r", META_PASSWORD: "m", META_PASSWORD_FILE: file };
    expect(parse("redis://:u@h", env).password).toBe("u");
    expect(parse("redis://h", env).password).toBe("r");
    expect(parse("redis://h", { ...env, REDIS_PASSWORD: "" }).password).toBe("m");
    expect(parse("redis://h", { META_PASSWORD_FILE: file }).password).toBe("from file");
    expect(parse("redis://h", { META_PASSWORD_FILE: "/does/not/exist" }).password).toBeUndefined();
  });

  test("sets TLS by its query", () => {
    const query = "tls-cert-file=c&tls-key-file=k&tls-ca-cert-file=a&tls-server-name=n&insecure-skip-verify=false";
    expect(parse(`rediss://h?${query}`).tls).toEqual({
      verify: false,
      certFile: "c",
      keyFile: "k",
      caFile: "a",
      serverName: "n",
    });
  });

  test("has durations in hyphen and underscore form, and bad ones are ignored", () => {
    expect(parse("redis://h?read-timeout=1m30s").readTimeoutMs).toBe(90_000);
    expect(parse("redis://h?read_timeout=300ms&dial_timeout=2").readTimeoutMs).toBe(300);
    expect(parse("redis://h?dial_timeout=2").connectTimeoutMs).toBe(2000);
    expect(parse("redis://h?read-timeout=soon").readTimeoutMs).toBe(30_000);
  });

  test.each([
    ["redis://h?foo=1", "redis: unexpected option: foo"],
    ["redis://h?zoo=1&max-retries=2", "redis: unexpected option: max-retries, zoo"],
    ["redis://h/x", 'redis: invalid database number: "x"'],
    ["redis://h/1/2", "redis: invalid URL path: /1/2"],
    ["redis://h:port/1", "Invalid host or port in the address redis://h:port/1"],
    ["redis://:pa/ss@h/1", "Invalid host or port in the address redis://:****@h/1"],
    ["redis://,a/1", "Empty host name in the address redis://,a/1"],
    ["redis://:%zz@h", "Invalid percent escape in the address redis://:****@h"],
    ["unix://?db=1", "redis: empty unix socket path in unix://?db=1"],
  ])("%s is refused", (url, message) => {
    expect(() => parse(url)).toThrow(UsageError);
    expect(() => parse(url)).toThrow(message);
  });

  test("takes every query parameter that the reference takes", () => {
    const names =
      "min-retry-backoff max-retry-backoff read-timeout write-timeout route-read client-cache client-cache-size " +
      "client-cache-expire client-cache-preload min_retry_backoff max_retries protocol client_name pool_size " +
      "pool_timeout min_idle_conns max_idle_conns max_active_conns conn_max_idle_time idle_timeout conn_max_lifetime " +
      "max_conn_age pool_fifo skip_verify write_timeout";
    for (const name of names.split(" ")) expect(() => parse(`redis://h?${name}=1`)).not.toThrow();
  });
});
