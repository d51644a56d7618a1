import { existsSync } from "node:fs";
import { ensureProgram, findProgram } from "./install-package.ts";
import { startRedis } from "./redis-server.ts";
import { reportSkip, reportUnavailable } from "./skip.ts";

/** A server that tests may write to and empty at will. */
export interface TestServer {
  /** META-URL of a database of it. */
  url(db?: number): string;
}

/**
 * The server of that name, or undefined when it had to be skipped (which was said, and is a failure with `CI=true`). It is
 * the one that the environment names (`DECANT_TEST_REDIS_URL`), else a private one, whose program is installed when that
 * is possible. Use it at the top of a test file:
 *
 *   const server = await requireServer("redis");
 *   describe.skipIf(server === undefined)("Redis", ...)
 */
export async function requireServer(name: "redis"): Promise<TestServer | undefined> {
  const given = process.env[`DECANT_TEST_${name.toUpperCase()}_URL`];
  if (given !== undefined && given !== "") return { url: (db) => withDatabase(given, db) };
  return (await requireRedisServer(name)) ? startRedis() : undefined;
}

/** True when `startRedis` can be used: for tests that need a server of their own with special options. */
export async function requireRedisServer(what: string = "redis-server"): Promise<boolean> {
  const found = await ensureProgram("redis-server", "redis-server");
  if ("missing" in found) reportSkip(what, found.missing);
  return !("missing" in found);
}

/**
 * True when this machine can mount a file system: /dev/fuse and fusermount3 (Debian's fuse3). A missing device cannot be
 * provided from inside, so it is said aloud, but is no failure.
 */
export async function requireMount(): Promise<boolean> {
  if (!existsSync("/dev/fuse")) {
    reportUnavailable("mounting", "this machine has no /dev/fuse");
    return false;
  }
  const found = findProgram("fusermount") ?? (await ensureProgram("fusermount3", "fuse3"));
  if (typeof found !== "string" && "missing" in found) {
    reportSkip("mounting", found.missing);
    return false;
  }
  return true;
}

function withDatabase(url: string, db: number | undefined): string {
  if (db === undefined) return url;
  const query = url.indexOf("?");
  const base = query < 0 ? url : url.slice(0, query);
  return base.replace(/^([a-z]+:\/\/[^/]*)(\/\d*)?$/, `$1/${db}`) + (query < 0 ? "" : url.slice(query));
}
