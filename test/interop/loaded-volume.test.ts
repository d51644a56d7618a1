import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "../golden/permitted-differences.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import {
  type ListedEntry,
  listMount,
  mountingClient,
  readListing,
  whileMounted,
  withBucket,
} from "../support/mount.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog } from "../support/mysql-tables.ts";
import { requirePostgres } from "../support/postgres-server.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun, runCommand } from "../support/run-command.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { query, readCatalog } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();
const redis = client !== undefined && (await requireRedisServer()) ? await startRedis() : undefined;
const mysql = client === undefined ? undefined : await requireMysql();
const postgres = client === undefined ? undefined : await requirePostgres();
const etcd = client === undefined ? undefined : await requireEtcd();

interface Volume {
  readonly url: string;
  /** Directory of its data, under the volume's name. */
  readonly bucket: string;
  /** The schema of a SQL database, which no client may change. */
  readonly catalog?: () => Promise<unknown>;
}

/** The data blocks of the golden volume in a directory of their own. */
async function unpackObjects(): Promise<string> {
  const bucket = temporaryDirectory();
  await mustRun("tar", ["xzf", fixture("golden/objects.tar.gz"), "-C", bucket]);
  return `${bucket}/`;
}

async function flushRedis(): Promise<void> {
  const connection = redis!.client();
  await connection.flushall();
  connection.disconnect();
}

async function loadIntoSqlite(): Promise<Volume> {
  const [bucket, target] = [await unpackObjects(), newSqliteTarget()];
  await loadVolumeFile(target.url, withBucket(fixture("golden/dumps/golden.keep.json"), bucket));
  const catalog = async (): Promise<unknown> => {
    expect(query(target.path, "PRAGMA integrity_check")).toEqual(["ok"]);
    return readCatalog(target.path);
  };
  return { ...target, bucket, catalog };
}

async function loadIntoMysql(): Promise<Volume> {
  const [bucket, database] = [await unpackObjects(), await mysql!.createDatabase()];
  const url = mysql!.url(database);
  await loadVolumeFile(url, withBucket(fixture("golden/dumps/golden.keep.json"), bucket));
  return { url, bucket, catalog: () => readMysqlCatalog(mysql!, database) };
}

async function loadIntoPostgres(): Promise<Volume> {
  const [bucket, database] = [await unpackObjects(), await postgres!.createDatabase()];
  const url = postgres!.url(database);
  await loadVolumeFile(url, withBucket(fixture("golden/dumps/golden.keep.json"), bucket));
  return { url, bucket, catalog: () => postgres!.dumpSchema(database) };
}

async function loadIntoEtcd(): Promise<Volume> {
  const bucket = await unpackObjects();
  const url = etcd!.url(`/loaded-${process.pid}-${etcdVolumes++}`);
  await loadVolumeFile(url, withBucket(fixture("golden/dumps/golden.keep.json"), bucket));
  return { url, bucket };
}

let etcdVolumes = 0;

async function loadIntoRedis(): Promise<Volume> {
  const bucket = await unpackObjects();
  await flushRedis();
  await loadVolumeFile(redis!.url(1), withBucket(fixture("golden/dumps/golden.keep.json"), bucket));
  return { url: redis!.url(1), bucket };
}

/** Through records alone, without a dump between: Redis to SQLite to Redis. */
async function migrateTwice(): Promise<Volume> {
  const [bucket, between] = [await unpackObjects(), newSqliteTarget()];
  await flushRedis();
  await restoreRedisJsonl(redis!.url(0), fixture("golden/engines/golden.redis.jsonl"));
  await migrate({ source: redis!.url(0), target: between.url }, createContext());
  await migrate({ source: between.url, target: redis!.url(1) }, createContext());
  await config({ target: redis!.url(1), flags: { bucket }, force: true }, createContext());
  return { url: redis!.url(1), bucket };
}

/** What no load keeps, and what a JSON dump of the reference had already lost (test/fixtures/golden/README.md). */
const CLONED_SYMLINK_INODES: ReadonlySet<unknown> = new Set([1369, 1377]);
const TIMES = ["atime_ns", "mtime_ns", "ctime_ns"];

function comparable(entries: readonly ListedEntry[]): ListedEntry[] {
  const result = entries.map((entry) => {
    const changed: Record<string, unknown> = { ...entry };
    if (entry.path === "/.trash") for (const name of TIMES) delete changed[name];
    if (CLONED_SYMLINK_INODES.has(entry.ino)) changed.nlink = 1;
    return changed as ListedEntry;
  });
  return result.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

const keyOf = (entry: ListedEntry): string => entry.path ?? `b64:${entry.path_b64}`;

/** Names with a real U+FFFD as the reference's dump has them: cut to the byte EF. */
function asInReferenceDump(entry: ListedEntry): ListedEntry {
  const path = entry.path;
  if (path === undefined || !/^\/names\/\ufffd+x?$/.test(path)) return entry;
  const { path: _, ...rest } = entry;
  const bytes = Buffer.from(path.replaceAll("\ufffd", "\xef"), "latin1");
  return { path_b64: bytes.toString("base64"), ...rest };
}

const expected = readListing(fixture("golden/expected.json"));

const VOLUMES: readonly (readonly [
  name: string,
  skipped: boolean,
  open: () => Promise<Volume>,
  keepsNames: boolean,
])[] = [
  ["loaded into SQLite", client === undefined, loadIntoSqlite, false],
  ["loaded into MySQL", mysql === undefined, loadIntoMysql, false],
  ["loaded into PostgreSQL", postgres === undefined, loadIntoPostgres, false],
  ["loaded into Redis", redis === undefined, loadIntoRedis, false],
  ["loaded into etcd", etcd === undefined, loadIntoEtcd, false],
  ["migrated from Redis to SQLite to Redis", redis === undefined, migrateTwice, true],
];

describe.each(VOLUMES)("a volume %s", (_, skipped, open, keepsNames) => {
  test.skipIf(skipped)("is mounted, and every entry and byte is as it was in the original", async () => {
    const { url } = await open();
    let entries: ListedEntry[] = [];
    await whileMounted(client!, url, async (directory) => {
      entries = await listMount(directory);
    });
    const wanted = comparable(keepsNames ? expected : expected.map(asInReferenceDump));
    expect(comparable(entries).map(keyOf)).toEqual(wanted.map(keyOf));
    const differing = comparable(entries).filter((entry, i) => JSON.stringify(entry) !== JSON.stringify(wanted[i]));
    expect(differing).toEqual([]);
  });

  test.skipIf(skipped)("can be written to, is sound afterwards, and both dump it to the same bytes", async () => {
    const volume = await open();
    const catalog = await volume.catalog?.();
    await whileMounted(client!, volume.url, async (directory) => {
      await change(directory);
    });
    await whileMounted(client!, volume.url, async (directory) => {
      expect(readFileSync(join(directory, "new", "file"), "utf8")).toBe("first and more");
      expect(statSync(join(directory, "new", "link")).nlink).toBe(2);
      expect(existsSync(join(directory, "docs", "readme.txt"))).toBe(false);
      const trash = (await runCommand("find", [join(directory, ".trash"), "-name", "*readme.txt"])).out;
      expect(trash).toMatch(/-readme\.txt\n$/);
    });
    await expectSound(volume, keepsNames);
    expect(await volume.catalog?.()).toEqual(catalog);
  });
});

/** A bit of everything that writes metadata. */
async function change(directory: string): Promise<void> {
  const at = (...names: string[]): string => join(directory, ...names);
  mkdirSync(at("new"));
  writeFileSync(at("new", "file"), "first");
  appendFileSync(at("new", "file"), " and more");
  linkSync(at("new", "file"), at("new", "link"));
  const setXattr = "import os,sys; os.setxattr(sys.argv[1], 'user.new', bytes([0, 255]))";
  await mustRun("python3", ["-c", setXattr, at("new", "file")]);
  const old = expected.find(({ path, type, size }) => type === "regular" && path?.startsWith("/deep") && size === 0);
  if (old !== undefined) appendFileSync(at(old.path!), "x");
  rmSync(at("docs", "readme.txt"));
  rmSync(at("links"), { recursive: true, force: true });
}

/** What the client says about the server and the storage, not about the volume. */
const ABOUT_OTHERS = /AOF is not enabled|Set storage tier: not supported|The latency to database is too high/;

const complaints = (log: string): string[] =>
  log.split("\n").filter((line) => /<(WARNING|ERROR|FATAL)>/.test(line) && !ABOUT_OTHERS.test(line));

/** The reference's own checks (link counts and directory statistics among them) find nothing; its dump is decant's. */
async function expectSound({ url }: Volume, keepsNames: boolean): Promise<void> {
  await mustRun(client!, ["fsck", url]);
  const check = await mustRun(client!, ["fsck", url, "--path", "/", "--recursive"]);
  expect(check.err).toMatch(/Checked 3\d\d nodes/);
  const gc = await mustRun(client!, ["gc", url]);
  expect(complaints(check.err + gc.err)).toEqual([]);
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  const reference = readFileSync(file);
  const { bytes } = await dumpVolume(url, { keepSecretKey: true });
  expectSameBytes(bytes, keepsNames ? withPermittedDifferences(reference, REPLACEMENT_CHARACTERS) : reference);
}
