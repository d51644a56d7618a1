import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { requireEtcd } from "../support/etcd-server.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { requirePostgres } from "../support/postgres-server.ts";
import { startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";
import { loadText } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const client = await mountingClient();
const mysql = client === undefined ? undefined : await requireMysql();
const postgres = client === undefined ? undefined : await requirePostgres();
const etcd = client === undefined ? undefined : await requireEtcd();
const redis = client === undefined || !(await requireRedisServer()) ? undefined : await startRedis();
const tikv = client === undefined ? undefined : await requireTikvCluster({ stores: 2 });

const REFERENCE_DUMPS = 10;
const MOVED_FILES = 60;
const RESTING_FILES = 2000;
const WRITERS = 3;

/** Moves, links, unlinks, writes and truncates as fast as it can, until a file named `stop` is there; prints how many moves. */
const WRITER = `
import os, sys
os.chdir(sys.argv[1])
rounds = moves = 0
while not os.path.exists('stop'):
    for i in range(int(sys.argv[2]), ${MOVED_FILES}, ${WRITERS}):
        name = 'm%d' % i
        a, b = ('a', 'b') if rounds % 2 == 0 else ('b', 'a')
        os.rename(a + '/' + name, b + '/' + name)
        moves += 1
        if i % 2 == 0:
            os.link(b + '/' + name, 'links/' + name)
        if i % 2 == 1:
            with open(b + '/' + name, 'r+b') as f:
                f.write(b'x' * (i + 1)); f.truncate(i)
        if i % 2 == 0:
            os.unlink('links/' + name)
        if i % 10 == 0:
            os.mkdir('a/d%d' % i); os.rename('a/d%d' % i, 'b/e%d' % i); os.rmdir('b/e%d' % i)
    rounds += 1
print(moves)
`;

interface Entry {
  readonly attr: { readonly inode: number; readonly type: string; readonly nlink: number };
  readonly entries?: Readonly<Record<string, Entry>>;
}

/** What is not as any instant of the volume was. */
function contradictions(text: string): string[] {
  const dump = JSON.parse(text) as { FSTree: Entry; Trash?: Entry };
  const found: string[] = [];
  const places = new Map<number, number>();
  const links = new Map<number, number>();
  const moved = new Map<string, number>();
  const walk = (directory: Entry, path: string, isTrash: boolean): void => {
    const entries = Object.entries(directory.entries ?? {});
    const children = entries.filter(([, { attr }]) => attr.type === "directory").length;
    if (!isTrash && directory.attr.nlink !== 2 + children) {
      found.push(`${path}: ${directory.attr.nlink} links, ${children} directories`);
    }
    for (const [name, entry] of entries) {
      if (entry.attr.type === "directory") walk(entry, `${path}/${name}`, isTrash);
      else {
        places.set(entry.attr.inode, (places.get(entry.attr.inode) ?? 0) + 1);
        links.set(entry.attr.inode, entry.attr.nlink);
      }
      if (/^\/[ab]$/.test(path) && name.startsWith("m")) moved.set(name, (moved.get(name) ?? 0) + 1);
    }
  };
  walk(dump.FSTree, "", false);
  if (dump.Trash !== undefined) walk(dump.Trash, "/.trash", true);
  for (let i = 0; i < MOVED_FILES; i++) {
    const count = moved.get(`m${i}`) ?? 0;
    if (count !== 1) found.push(`m${i} is in ${count} places`);
  }
  for (const [inode, count] of places) {
    if (links.get(inode) !== count) found.push(`inode ${inode}: ${links.get(inode)} links, ${count} places`);
  }
  return found;
}

interface Volume {
  readonly url: string;
  /** How every dump of it was made. */
  readonly method: RegExp;
  readonly dumps: number;
}

/** Formatted, and with as many inodes, by the counter, as let several connections read. */
async function formatted(url: string, run: (sql: string) => Promise<unknown>): Promise<Volume> {
  const options = ["--storage", "file", "--bucket", `${temporaryDirectory()}/`, "--trash-days", "0"];
  await mustRun(client!, ["format", ...options, url, "busy"]);
  await run("UPDATE jfs_counter SET value = value + 1000000 WHERE name = 'totalInodes'");
  return { url, method: /^4 .*trans/, dumps: 50 };
}

/** Loaded with so many files that they are read with several requests, between whose keys those of the writers are. */
async function loaded(url: string, method: RegExp): Promise<Volume> {
  const text = (await wideVolumeText(RESTING_FILES)).toString("latin1");
  const bucket = `"Bucket": "${temporaryDirectory()}/"`;
  const changed = text.replace(/"Bucket": "[^"]*"/, bucket).replace('"TrashDays": 1', '"TrashDays": 0');
  await loadText(url, Buffer.from(changed, "latin1"));
  return { url, method, dumps: 20 };
}

async function newTikvVolume(): Promise<Volume> {
  for (const inode of ["\x40", "\x80", "\xc0"]) await tikv!.split(Buffer.from(`busy\xfdA${inode}`, "latin1"));
  return loaded(tikv!.url("busy"), /^one snapshot of TiKV/);
}

const ENGINES: readonly (readonly [name: string, server: object | undefined, newVolume: () => Promise<Volume>])[] = [
  [
    "MySQL",
    mysql,
    async () => {
      const database = await mysql!.createDatabase();
      return formatted(mysql!.url(database), (sql) => mysql!.query(sql, database));
    },
  ],
  [
    "PostgreSQL",
    postgres,
    async () => {
      const database = await postgres!.createDatabase();
      return formatted(postgres!.url(database), (sql) => postgres!.psql(database, sql));
    },
  ],
  ["etcd", etcd, () => loaded(etcd!.url(`/busy-${process.pid}-${Date.now()}`), /^all keys were read at revision/)],
  ["TiKV", tikv, newTikvVolume],
  ["Redis", redis, () => loaded(redis!.url(), /^Changes were tracked/)],
];

afterAll(() => redis?.stop());

describe.each(ENGINES)("a volume in %s that a mounted client changes as fast as it can", (name, server, newVolume) => {
  test.skipIf(server === undefined)("is dumped as it was at one instant, every time", async () => {
    const { url, method, dumps } = await newVolume();
    const report = { decant: 0, reference: 0, moves: 0 };
    await whileMounted(client!, url, async (directory) => {
      const prepare = `cd "$0" && mkdir a b links && for i in $(seq 0 ${MOVED_FILES - 1}); do echo $i > a/m$i; done`;
      await mustRun("/bin/sh", ["-c", prepare, directory]);
      const writers = Array.from({ length: WRITERS }, (_, i) => startWriter(directory, i));
      try {
        for (let i = 0; i < dumps; i++) {
          const { bytes, report: dumped } = await dumpVolume(url);
          expect(dumped.consistency).toMatchObject({ pointInTime: true, method: expect.stringMatching(method) });
          expect([i, contradictions(bytes.toString())]).toEqual([i, []]);
          report.decant++;
        }
        for (let i = 0; i < REFERENCE_DUMPS; i++) {
          const file = join(temporaryDirectory(), "dump.json");
          await mustRun(client!, ["dump", url, file]);
          if (contradictions(readFileSync(file, "utf8")).length === 0) report.reference++;
        }
      } finally {
        writeFileSync(join(directory, "stop"), "");
        for (const moves of await Promise.all(writers)) report.moves += moves;
      }
    });
    console.log(
      `Dumps of one instant, ${name}: decant ${report.decant} of ${dumps}, reference ${report.reference} of ${REFERENCE_DUMPS}; ` +
        `${report.moves} moves meanwhile`,
    );
    expect(report.moves).toBeGreaterThan(dumps);
  });
});

/** Runs the writer to its end and gives its number of moves. */
function startWriter(directory: string, number: number): Promise<number> {
  const child = spawn("python3", ["-c", WRITER, directory, String(number)], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let complaints = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk));
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve(Number(output)) : reject(new Error(complaints))));
  });
}
