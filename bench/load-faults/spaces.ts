import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startDurableRedis } from "../../test/support/durable-redis.ts";
import { startEtcd } from "../../test/support/etcd-server.ts";
import { startMysql } from "../../test/support/mysql-server.ts";
import { startPostgres } from "../../test/support/postgres-server.ts";
import { mustRun } from "../../test/support/run-command.ts";
import { mountSmallDisk, type SmallDisk } from "../../test/support/small-disk.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import type { EngineName } from "./targets.ts";

/** Something that a load needs room in, and that can be used up. */
export interface Space {
  readonly fault: string;
  /** The volume has so many times as many files as others, since smaller ones need nothing of it. */
  readonly timesLarger?: number;
  /** Of the load. */
  readonly options: readonly string[];
  /** What a load that fails for want of it says. */
  readonly says: RegExp;
  /** The address of an empty database; those before are removed. */
  fresh(): Promise<string>;
  /** Bytes. */
  used(): Promise<number>;
  /** Leaves room for this share of what a load needs. */
  leave(bytes: number, share: number): Promise<void>;
  /** Fills the rest, so long after a load has begun; undefined where `leave` is enough. */
  readonly fill?: (afterMs: number) => Promise<void>;
  /** There is room again. */
  relieve(): Promise<void>;
  close(): Promise<void>;
}

const AMPLE = "1g";
const ETCD_QUOTA = 96 * 1024 * 1024;
export function openSpaces(name: EngineName): readonly (() => Promise<Space>)[] {
  switch (name) {
    case "sqlite":
      return [() => fileSpace("sqlite3"), temporarySpace];
    case "badger":
      return [() => fileSpace("badger")];
    case "redis":
      return [redisSpace];
    case "postgres":
      return [postgresSpace];
    case "mariadb":
      return [mysqlSpace];
    case "etcd":
      return [etcdSpace];
    case "tikv":
      return []; // its test server keeps everything in memory
  }
}

function ampleDisk(): SmallDisk {
  const disk = mountSmallDisk(AMPLE, "full disks");
  if (disk === undefined)
    throw new Error("Only root can mount small file systems: leave full disks out with --disks 0");
  return disk;
}

const diskSpace = (disk: SmallDisk): Pick<Space, "used" | "leave" | "relieve"> => ({
  used: async () => disk.used(),
  leave: async (bytes, share) => disk.resize(disk.used() + Math.round(bytes * share)),
  relieve: async () => disk.resize(AMPLE),
});

async function fileSpace(scheme: "sqlite3" | "badger"): Promise<Space> {
  const disk = ampleDisk();
  const directory = join(disk.directory, "target");
  return {
    ...diskSpace(disk),
    fault: "its disk is full",
    options: [],
    says: /full|[Nn]o space|ENOSPC/,
    fresh: async () => {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory);
      return `${scheme}://${join(directory, "volume")}`;
    },
    close: async () => disk.unmount(),
  };
}

/** Of decant itself, whatever the engine. */
async function temporarySpace(): Promise<Space> {
  const disk = ampleDisk();
  return {
    ...diskSpace(disk),
    fault: "the disk of --tmp-dir is full",
    timesLarger: 5,
    options: ["--max-memory", "1M", "--tmp-dir", disk.directory],
    says: new RegExp(`temporary file in ${disk.directory}.*(?:[Nn]o space|ENOSPC)`),
    fresh: async () => `sqlite3://${join(temporaryDirectory(), "volume")}`,
    close: async () => disk.unmount(),
  };
}

async function redisSpace(): Promise<Space> {
  const server = await startDurableRedis();
  const ask = async (...args: string[]): Promise<string> =>
    (await mustRun("redis-cli", ["-p", `${server.port}`, ...args])).out;
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await ask("info", "memory"))![1]);
  return {
    fault: "maxmemory is reached",
    options: [],
    says: /maxmemory/,
    fresh: async () => {
      await ask("flushall");
      return server.url(1);
    },
    used,
    leave: async (bytes, share) => {
      await ask("config", "set", "maxmemory", `${(await used()) + Math.round(bytes * share)}`);
    },
    relieve: async () => void (await ask("config", "set", "maxmemory", "0")),
    close: server.stop,
  };
}

async function postgresSpace(): Promise<Space> {
  const server = await startPostgres();
  const disk = ampleDisk();
  const directory = join(disk.directory, "tables");
  mkdirSync(directory);
  await mustRun("chown", ["postgres", directory]);
  await server.psql("postgres", `CREATE TABLESPACE small LOCATION '${directory}'`);
  let last: string | undefined;
  return {
    ...diskSpace(disk),
    fault: "the disk of its tables is full",
    options: [],
    says: /no room left on its disk/,
    fresh: async () => {
      if (last !== undefined) await server.psql("postgres", `DROP DATABASE ${last} WITH (FORCE)`);
      last = await server.createDatabase();
      await server.psql("postgres", `ALTER DATABASE ${last} SET default_tablespace = small`);
      return server.url(last);
    },
    close: async () => {
      await server.stop();
      disk.unmount();
    },
  };
}

/** The directory of each database lies on the disk. The server may end itself for want of room (InnoDB does not survive every moment). */
async function mysqlSpace(): Promise<Space> {
  const server = await startMysql();
  const disk = ampleDisk();
  const data = String((await server.query("SELECT @@datadir"))[0]![0]);
  let last: string | undefined;
  return {
    ...diskSpace(disk),
    fault: "the disk of its tables is full",
    options: [],
    says: /full|the connection was lost/,
    fresh: async () => {
      if (last !== undefined) await server.query(`DROP DATABASE ${last}`);
      last = await server.createDatabase();
      await mustRun("mv", [join(data, last), disk.directory]);
      symlinkSync(join(disk.directory, last), join(data, last));
      return server.url(last);
    },
    relieve: async () => {
      disk.resize(AMPLE);
      await server.query("SELECT 1").catch(() => server.restart());
    },
    close: async () => {
      await server.stop();
      disk.unmount();
    },
  };
}

/** The server refuses all writes as it does when its quota is used up: a file that grows in steps comes to that at no moment one could choose. */
async function etcdSpace(): Promise<Space> {
  const server = await startEtcd({ args: [`--quota-backend-bytes=${ETCD_QUOTA}`] });
  const { gateway } = server;
  const used = async (): Promise<number> => {
    const { dbSize } = (await gateway.call("/v3/maintenance/status", {})) as { dbSize: string };
    return Number(dbSize);
  };
  let count = 0;
  const remove = async (key: string): Promise<void> => gateway.remove(Buffer.from(key));
  const shrink = async (): Promise<void> => {
    const { header } = (await gateway.call("/v3/maintenance/status", {})) as { header: { revision: string } };
    await gateway.call("/v3/kv/compaction", { revision: header.revision, physical: true }).catch(() => undefined);
    await gateway.call("/v3/maintenance/defragment", {});
    const { alarms = [] } = (await gateway.call("/v3/maintenance/alarm", {})) as { alarms?: object[] };
    for (const alarm of alarms) await gateway.call("/v3/maintenance/alarm", { ...alarm, action: "DEACTIVATE" });
  };
  return {
    fault: "it raises its alarm NOSPACE",
    options: [],
    says: /reached its quota|nearly full/,
    used,
    fresh: async () => {
      await remove("/round");
      await shrink();
      return server.url(`/round${count++}`);
    },
    leave: async () => undefined,
    fill: async (afterMs) => {
      await sleep(afterMs);
      await gateway.call("/v3/maintenance/alarm", { action: "ACTIVATE", alarm: "NOSPACE" });
    },
    relieve: async () => {
      await shrink();
    },
    close: server.stop,
  };
}
