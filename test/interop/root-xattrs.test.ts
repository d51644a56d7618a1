import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/agent/clock.ts";
import { BackupLease } from "../../src/agent/lease.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../../src/volume/backup-xattrs.ts";
import { databaseOf } from "../support/database-of.ts";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { requirePostgres } from "../support/postgres-server.ts";
import { requireServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { query } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { readTikvLines } from "../support/tikv-keys.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";

const client = await mountingClient();
const [redis, mysql, postgres] =
  client === undefined ? [] : [await requireServer("redis"), await requireMysql(), await requirePostgres()];
const [etcd, tikv] = client === undefined ? [] : [await requireEtcd(), await requireTikvCluster()];
const never = new AbortController().signal;

/** A database that tests can look into behind everybody's back. */
interface Engine {
  readonly name: string;
  newUrl(): Promise<string>;
  /** The attributes of the root as they are stored, with the numbers of their rows. */
  attributes(url: string): Promise<string[]>;
  /** Entries of the change log in their order, or, where there is none, what they would be. */
  changeLog(url: string): Promise<string[]>;
}

const ROWS = "FROM jfs_xattr WHERE inode = 1 ORDER BY id";
const LOG = "SELECT entry FROM jfs_change_log ORDER BY id";

async function withRedis<T>(url: string, work: (control: Redis) => Promise<T>): Promise<T> {
  const control = new Redis(url);
  try {
    return await work(control);
  } finally {
    control.disconnect();
  }
}

/** Keys of attributes of the root are this, and the name. */
const XATTR_KEY = Buffer.from("A\x01\0\0\0\0\0\0\0X", "latin1");
const XATTR_END = Buffer.from("A\x01\0\0\0\0\0\0\0Y", "latin1");
const LOG_KEYS = { start: Buffer.from("XLOG"), end: Buffer.from("XLOH") };
/** In hex: `XLOG` and the number of the shard. */
const BEFORE_LOG_NUMBER = 10;

interface EtcdRange {
  readonly header: { readonly revision: string };
  readonly kvs?: readonly { readonly key: string; readonly value: string; readonly mod_revision: string }[];
}

/** The attributes of the root at a revision of etcd, 0 for the last one: names with values, and the revisions that set them. */
async function attributesAt(path: string, revision: number): Promise<{ last: number; found: Map<string, EtcdValue> }> {
  const start = Buffer.concat([volumePrefix(path), XATTR_KEY]);
  const end = Buffer.concat([volumePrefix(path), XATTR_END]);
  const request = { key: start.toString("base64"), range_end: end.toString("base64"), revision };
  const { header, kvs = [] } = (await etcd!.gateway.call("/v3/kv/range", request)) as EtcdRange;
  const found = kvs.map(({ key, value, mod_revision }): [string, EtcdValue] => {
    const name = Buffer.from(key, "base64").subarray(start.length).toString();
    return [name, { value: Buffer.from(value, "base64"), revision: Number(mod_revision) }];
  });
  return { last: Number(header.revision), found: new Map(found) };
}

interface EtcdValue {
  readonly value: Buffer;
  readonly revision: number;
}

/** The change log that etcd does not have, from what it keeps of all its revisions: set before removed within one of them. */
async function historyOf(path: string): Promise<string[]> {
  const log: string[] = [];
  const { last } = await attributesAt(path, 0);
  let before = new Map<string, EtcdValue>();
  for (let revision = firstRevisions.get(path)!; revision <= last; revision++) {
    const { found } = await attributesAt(path, revision);
    for (const [name, { value, revision: at }] of found) {
      if (at !== revision) continue;
      const text = /^\w*$/.test(value.toString("latin1")) ? value.toString() : value.toString("hex");
      log.push(`|SETXATTR(1,${name},${text},0)|`);
    }
    for (const name of before.keys()) if (!found.has(name)) log.push(`|REMOVEXATTR(1,${name})|`);
    before = found;
  }
  return log;
}

/** The revisions at which the volumes were begun, by their paths. */
const firstRevisions = new Map<string, number>();

let databases = 8;
const ENGINES: readonly (Engine | undefined)[] = [
  redis && {
    name: "Redis",
    async newUrl() {
      const url = redis.url(databases++);
      await withRedis(url, (control) => control.flushdb());
      return url;
    },
    attributes: (url) =>
      withRedis(url, async (control) => {
        const pairs = Object.entries(await control.hgetallBuffer("x1"));
        return pairs.map(([name, value]) => `${name}=${value.toString("hex")}`).sort();
      }),
    changeLog: (url) => withRedis(url, (control) => control.lrange("txnLog", 0, -1)),
  },
  client === undefined
    ? undefined
    : {
        name: "SQLite",
        newUrl: async () => `sqlite3://${join(temporaryDirectory(), "volume.db")}`,
        attributes: async (url) =>
          query(url.slice("sqlite3://".length), `SELECT id || ' ' || name || ' ' || quote(value) ${ROWS}`),
        changeLog: async (url) => query(url.slice("sqlite3://".length), LOG),
      },
  postgres && {
    name: "PostgreSQL",
    newUrl: async () => postgres.url(await postgres.createDatabase()),
    attributes: async (url) =>
      (await postgres.psql(databaseOf(url), `SELECT id, name, value ${ROWS}`)).trim().split("\n"),
    changeLog: async (url) => (await postgres.psql(databaseOf(url), LOG)).trim().split("\n"),
  },
  mysql && {
    name: "MySQL",
    newUrl: async () => mysql.url(await mysql.createDatabase()),
    attributes: async (url) =>
      (await mysql.query(`SELECT id, name, HEX(value) ${ROWS}`, databaseOf(url))).map((row) => row.join(" ")),
    changeLog: async (url) => (await mysql.query(LOG, databaseOf(url))).map(([entry]) => String(entry)),
  },
  etcd && {
    name: "etcd",
    async newUrl() {
      const path = `/root-xattrs-${process.pid}-${databases++}`;
      await etcd.gateway.remove(volumePrefix(path));
      firstRevisions.set(path, (await attributesAt(path, 0)).last);
      return etcd.url(path);
    },
    async attributes(url) {
      const { found } = await attributesAt(url.slice(etcd.url().length), 0);
      return [...found].map(([name, { value }]) => `${name}=${value.toString("hex")}`);
    },
    changeLog: (url) => historyOf(url.slice(etcd.url().length)),
  },
  tikv && {
    name: "TiKV",
    newUrl: async () => tikv.url(`root-xattrs-${databases++}`),
    attributes: (url) => readTikvLines(url, { start: XATTR_KEY, end: XATTR_END }),
    async changeLog(url) {
      const lines = await readTikvLines(url, LOG_KEYS);
      const byNumber = lines.map((line) => line.slice(BEFORE_LOG_NUMBER)).sort();
      return byNumber.map((line) => Buffer.from(line.split(" ")[1]!, "hex").toString());
    },
  },
];

/** A volume with a change log, made by the real client. */
async function newVolume(engine: Engine): Promise<string> {
  const url = await engine.newUrl();
  await mustRun(client!, ["format", "--storage", "file", "--bucket", `${temporaryDirectory()}/`, url, "shared"]);
  await mustRun(client!, ["config", url, "--changelog", "--yes"]);
  return url;
}

function open(url: string): Promise<MetadataStore> {
  return openStore(url, { logger: silentLogger, signal: never, env: {} });
}

function python(lines: readonly string[], directory: string): Promise<unknown> {
  return mustRun("python3", ["-c", ["import os, sys", "root = sys.argv[1]", ...lines].join("\n"), directory]);
}

/** Operations on attributes without their time, session and number. */
function operations(log: readonly string[]): string[] {
  return log.flatMap((entry) => /\|((?:SETXATTR|REMOVEXATTR)\(.*\))\|/.exec(entry)?.[1] ?? []);
}

describe.each(ENGINES.filter((engine) => engine !== undefined))("attributes of the root in $name", (engine) => {
  test("are stored and logged as the real client stores and logs them, which sees those of decant", async () => {
    const [theirs, ours] = [await newVolume(engine), await newVolume(engine)];
    const odd = Buffer.of(0, 255, 44, 37, 34, 92, 32);
    await whileMounted(client!, theirs, async (directory) => {
      const set = (name: string, value: Buffer): string =>
        `os.setxattr(root, '${name}', bytes.fromhex('${value.toString("hex")}'))`;
      const lines = [set(LAST_BACKUP_XATTR, Buffer.from("1")), set("user.odd", odd), set("user.gone", odd)];
      await python(
        [...lines, set(LAST_BACKUP_XATTR, Buffer.from("22")), "os.removexattr(root, 'user.gone')"],
        directory,
      );
    });
    const store = await open(ours);
    const swap = async (name: string, before: Buffer | undefined, after: Buffer | undefined): Promise<void> => {
      const change = { expected: new Map([[name, before]]), values: new Map([[name, after]]) };
      expect(await store.swapRootXattrs(change, never)).toBe(true);
    };
    await swap(LAST_BACKUP_XATTR, undefined, Buffer.from("1"));
    await swap("user.odd", undefined, odd);
    await swap("user.gone", undefined, odd);
    await swap(LAST_BACKUP_XATTR, Buffer.from("1"), Buffer.from("22"));
    await swap("user.gone", odd, undefined);

    expect(await engine.attributes(theirs)).toHaveLength(2);
    expect(await engine.attributes(ours)).toEqual(await engine.attributes(theirs));
    expect(operations(await engine.changeLog(theirs))).toHaveLength(5);
    expect(operations(await engine.changeLog(ours))).toEqual(operations(await engine.changeLog(theirs)));
    await whileMounted(client!, ours, async (directory) => {
      await python(
        [
          `assert os.getxattr(root, 'user.odd') == bytes.fromhex('${odd.toString("hex")}')`,
          `assert sorted(os.listxattr(root)) == ['${LAST_BACKUP_XATTR}', 'user.odd']`,
        ],
        directory,
      );
    });
  });

  test("are compared with what a client stores at the same moment, and never with what was there before", async () => {
    const url = await newVolume(engine);
    const answers = { true: 0, false: 0 };
    await whileMounted(client!, url, async (directory) => {
      let isWriting = true;
      const writer = python(
        ["for i in range(1, 301):", "    os.setxattr(root, 'lastBackup', b'%d' % i)"],
        directory,
      ).finally(() => {
        isWriting = false;
      });
      const swapper = async (): Promise<void> => {
        const store = await open(url);
        while (isWriting) {
          await turn(); // an embedded database answers without: nothing else would ever happen
          const seen = (await store.readRootXattrs([LAST_BACKUP_XATTR], never)).get(LAST_BACKUP_XATTR);
          const values = new Map([["seen", seen ?? Buffer.from("nothing")]]);
          // `seen` differs each time, so that each swap that succeeds is in the log.
          const isSwapped = await store.swapRootXattrs(
            { expected: new Map([[LAST_BACKUP_XATTR, seen]]), values },
            never,
          );
          answers[`${isSwapped}`]++;
        }
      };
      await Promise.all([writer, swapper(), swapper()]);
    });
    let last = "nothing";
    let compared = 0;
    for (const operation of operations(await engine.changeLog(url))) {
      const [, name, value] = /^SETXATTR\(1,(\w+),(\w+),0\)$/.exec(operation)!;
      if (name === LAST_BACKUP_XATTR) last = value!;
      else {
        expect(value).toBe(last);
        compared++;
      }
    }
    expect(last).toBe("300");
    expect([compared, answers.true, answers.false].every((count) => count > 0)).toBe(true);
  });

  test("have the lease among them, which a mount shows, and which a copy of the volume does not need", async () => {
    const url = await newVolume(engine);
    const store = await open(url);
    const options = { clock: systemClock, holder: "here", durationMs: 600 };
    const hold = (await new BackupLease({ ...options, store }).tryAcquire(never))!;
    const dump = join(temporaryDirectory(), "dump.json");
    await mustRun(client!, ["dump", url, dump]);
    await hold.release(never);
    await whileMounted(client!, url, async (directory) => {
      const lines = ["import json", `value = json.loads(os.getxattr(root, '${BACKUP_LEASE_XATTR}'))`];
      await python([...lines, "assert value['holder'] is None and value['token'] == 1, value"], directory);
    });
    // The client's own dump has the lease as it was, held: in the copy nobody renews it.
    const copy = await engine.newUrl();
    await mustRun(client!, ["load", copy, dump]);
    const lease = new BackupLease({ ...options, holder: "elsewhere", store: await open(copy) });
    expect(await lease.tryAcquire(never)).toBeUndefined();
    const taken = await lease.acquire(never);
    expect([taken.token, taken.isHeld()]).toEqual([2, true]);
    await taken.release(never);
  });
});
