import { readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "../golden/permitted-differences.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { type ListedEntry, listMount, mountingClient, whileMounted } from "../support/mount.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { requirePostgres } from "../support/postgres-server.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { readCatalog } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();
const redis = client !== undefined && (await requireRedisServer()) ? await startRedis() : undefined;
const mysql = client === undefined ? undefined : await requireMysql();
const postgres = client === undefined ? undefined : await requirePostgres();
const etcd = client === undefined ? undefined : await requireEtcd();

/** A volume as clients make it, filled through a mount by the script that filled the fixtures. */
async function makeVolume(url: string): Promise<ListedEntry[]> {
  const options = ["--storage", "file", "--bucket", `${temporaryDirectory()}/`, "--enable-acl", "--trash-days", "3"];
  await mustRun(client!, ["format", ...options, "--secret-key", "not so secret", url, "native"]);
  await mustRun(client!, ["config", url, "--user-group-quota", "--yes"]);
  await mustRun(client!, ["quota", "set", url, "--path", "/docs", "--create", "--capacity", "1", "--inodes", "1000"]);
  await mustRun(client!, ["quota", "set", url, "--uid", "1000", "--capacity", "5"]);
  let entries: ListedEntry[] = [];
  await whileMounted(client!, url, async (directory) => {
    const env = { PATH: `${dirname(client!)}${delimiter}${process.env.PATH}` };
    await mustRun("python3", [fixture("scripts/populate.py"), directory], { env });
    entries = await listMount(directory);
  });
  return entries;
}

async function dumpByReference(url: string, ...options: string[]): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", ...options, url, file]);
  return readFileSync(file);
}

const DUMPS: readonly (readonly [flags: string[], options: DumpOptions, hasNames: boolean])[] = [
  [[], {}, true],
  [["--keep-secret-key"], { keepSecretKey: true }, true],
  [["--fast"], {}, true],
  [["--skip-trash"], { skipTrash: true }, true],
  [["--subdir", "/docs"], { subdir: "/docs" }, false],
];

const SOURCES: readonly (readonly [name: string, skipped: boolean, url: () => string | Promise<string>])[] = [
  ["SQLite", client === undefined, () => newSqliteTarget().url],
  ["Redis", redis === undefined, () => redis!.url(3)],
  ["PostgreSQL", postgres === undefined, async () => postgres!.url(await postgres!.createDatabase())],
  ["MySQL", mysql === undefined, async () => mysql!.url(await mysql!.createDatabase())],
  ["etcd", etcd === undefined, () => etcd!.url(`/native-${process.pid}`)],
];

describe.each(SOURCES)("a volume made by the reference on %s", (_, skipped, newUrl) => {
  let url = "";

  beforeAll(async () => {
    if (skipped) return;
    url = await newUrl();
    await makeVolume(url);
  });

  test.skipIf(skipped).each(DUMPS)("is dumped to the reference's bytes with %o", async (flags, options, hasNames) => {
    const { bytes, report } = await dumpVolume(url, options);
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    const reference = await dumpByReference(url, ...flags);
    expectSameBytes(bytes, hasNames ? withPermittedDifferences(reference, REPLACEMENT_CHARACTERS) : reference);
  });
});

describe.skipIf(redis === undefined)("a volume of the reference that went from SQLite to Redis and back", () => {
  const [source, target] = [newSqliteTarget(), newSqliteTarget()];
  let original: ListedEntry[] = [];

  beforeAll(async () => {
    if (redis === undefined) return;
    original = await makeVolume(source.url);
    await migrate({ source: source.url, target: redis.url(5) }, createContext());
    await migrate({ source: redis.url(5), target: target.url }, createContext());
  });

  test("is mounted with every entry and byte it had", async () => {
    let entries: ListedEntry[] = [];
    await whileMounted(client!, target.url, async (directory) => {
      entries = await listMount(directory);
    });
    expect(entries.map(withoutMountTimes)).toEqual(original.map(recounted).map(withoutMountTimes));
  });

  test("has the catalog of a database of the reference, and its checks find nothing", async () => {
    expect(readCatalog(target.path)).toEqual(readCatalog(source.path));
    const check = await mustRun(client!, ["fsck", target.url, "--path", "/", "--recursive"]);
    expect(check.err).not.toMatch(/<ERROR>/);
  });

  test("is dumped to the bytes of its source, but for what is counted anew", async () => {
    const dumps = [await dumpVolume(source.url), await dumpVolume(target.url)];
    const [before, after] = dumps.map(({ bytes }) => bytes.toString("latin1").split("\n"));
    const differing = before!.filter((line, i) => line !== after![i] && !line.includes('"nextSession"'));
    expect(differing.map((line) => /(used\w+|"type":"symlink")/.exec(line)?.[1])).toEqual([
      ...["usedSpace", "usedInodes"], // `quota set --create` leaves the directory out of the counters
      ...['"type":"symlink"', '"type":"symlink"'],
    ]);
    const counter = (lines: string[] | undefined, name: string) =>
      Number(lines!.find((line) => line.includes(`"${name}"`))!.match(/\d+/)![0]);
    expect(counter(after, "usedInodes")).toBe(counter(before, "usedInodes") + 1);
    expect(counter(after, "usedSpace")).toBe(counter(before, "usedSpace") + 4096);
  });
});

/** A clone of a hard-linked symlink has 2 links on SQL, of which one is not there (test/fixtures/golden/README.md). */
function recounted(entry: ListedEntry): ListedEntry {
  return /^\/clones\/links\/rel(-hardlink)?$/.test(entry.path ?? "") ? { ...entry, nlink: 1 } : entry;
}

/** The times of the trash root are those of the mount, and reading sets access times. */
function withoutMountTimes({ atime_ns: _, ...entry }: ListedEntry): object {
  return entry.path === "/.trash" ? { ...entry, mtime_ns: 0, ctime_ns: 0 } : entry;
}
