import { setTimeout as sleep } from "node:timers/promises";
import { createConnection } from "mysql2/promise";
import pg from "pg";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { SettingChange } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { databaseOf } from "../support/database-of.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { fixture } from "../support/repository.ts";
import { loadVolumeFile } from "../support/run-operations.ts";
import { ofMysql, ofPostgres, type SqlServer } from "../support/sql-servers.ts";
import { dumpText } from "../support/volume-files.ts";

const never = new AbortController().signal;

/** Somebody else's session. */
interface Session {
  run(sql: string): Promise<unknown>;
  end(): Promise<void>;
}

interface ContendedServer extends SqlServer {
  connect(url: string): Promise<Session>;
  /** How many sessions of a database wait for a lock. */
  countWaiting(url: string): Promise<number>;
  /** Address of a user who may have only so many connections. */
  limitedTo(connections: number, url: string): Promise<string>;
  /** What an address adds so that writers of one row never wait for each other's end without an error. */
  readonly strictIsolation: string | undefined;
}

async function openPostgres(): Promise<ContendedServer> {
  const server = await startPostgres();
  return {
    ...ofPostgres(server),
    async connect(url) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return { run: (sql) => client.query(sql), end: () => client.end() };
    },
    async countWaiting(url) {
      const waiting = `datname = '${databaseOf(url)}' AND wait_event_type = 'Lock'`;
      return Number(await server.psql("postgres", `SELECT count(*) FROM pg_stat_activity WHERE ${waiting}`));
    },
    async limitedTo(connections, url) {
      const role = `limited${connections}`;
      await server.psql("postgres", `CREATE ROLE ${role} LOGIN CONNECTION LIMIT ${connections}`);
      await server.psql("postgres", `GRANT pg_read_all_data TO ${role}`);
      return url.replace("postgres@", `${role}@`);
    },
    strictIsolation: "?default_transaction_isolation=serializable",
  };
}

async function openMysql(): Promise<ContendedServer> {
  const server = await startMysql();
  return {
    ...ofMysql(server),
    async connect(url) {
      const { port } = server;
      const client = await createConnection({ host: "127.0.0.1", port, user: "root", database: databaseOf(url) });
      return { run: (sql) => client.query(sql), end: () => client.end() };
    },
    async countWaiting() {
      const [row] = await server.query(
        "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
      );
      return Number(row![0]);
    },
    async limitedTo(connections, url) {
      const name = `limited${connections}`;
      await server.query(`CREATE USER ${name}@'%' WITH MAX_USER_CONNECTIONS ${connections};
        GRANT ALL ON ${databaseOf(url)}.* TO ${name}@'%'`);
      return url.replace("root@", `${name}@`);
    },
    strictIsolation: undefined, // its rows that are read for an update are always the newest ones
  };
}

const SERVERS: readonly (readonly [name: string, server: ContendedServer | undefined])[] = [
  ["PostgreSQL", (await requirePostgresServer()) ? await openPostgres() : undefined],
  ["MySQL", (await requireMysqlProgram()) ? await openMysql() : undefined],
];

describe.each(SERVERS)("%s: a volume that others use at the same moment", (_, found) => {
  const server = found!;

  async function newVolume(): Promise<string> {
    const url = await server.createDatabase();
    await loadVolumeFile(url, fixture("golden/dumps/golden.keep.json"));
    return url;
  }

  /** Adds a letter to what is stored, so that a change that others have made meanwhile is seen. */
  async function appendTo(url: string, letter: string, parts: Partial<SettingChange> = {}): Promise<number> {
    let calls = 0;
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
    await store.updateSetting((stored) => {
      calls++;
      const setting = Buffer.from(stored!.toString() + letter);
      return { setting, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined, ...parts };
    }, never);
    return calls;
  }

  async function readSetting(url: string): Promise<string> {
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
    return (await store.readSetting(never))!.toString();
  }

  const untilWaiting = async (url: string): Promise<void> => {
    // MariaDB shows what it knew before as long as it is asked again within a tenth of a second.
    while ((await server.countWaiting(url)) === 0) await sleep(150);
  };
  const set = (value: string): string => `UPDATE jfs_setting SET value = '${value}' WHERE name = 'format'`;

  test.skipIf(found === undefined)(
    "is changed when they have let go of its setting, on top of what they did",
    async () => {
      const url = await newVolume();
      const other = await server.connect(url);
      await other.run("BEGIN");
      await other.run(set("x"));
      const change = appendTo(url, "y");
      await untilWaiting(url);
      expect((await readSetting(url)).length).toBeGreaterThan(100); // nothing yet
      await other.run("COMMIT");
      expect(await change).toBe(1);
      expect(await readSetting(url)).toBe("xy");
      await other.end();
    },
  );

  test.skipIf(found === undefined)("is changed in a second attempt after a deadlock, once", async () => {
    const url = await newVolume();
    const other = await server.connect(url);
    await other.run("BEGIN");
    await other.run("UPDATE jfs_dir_stats SET data_length = data_length + 1"); // has more to lose: the other one is ended
    const change = appendTo(url, "y", { dropDirStats: true });
    await untilWaiting(url);
    await other.run(set("x"));
    await other.run("COMMIT");
    expect(await change).toBe(2);
    expect(await readSetting(url)).toBe("xy");
    expect((await server.readTables(url)).get("jfs_dir_stats")).toEqual([]);
    await other.end();
  });

  const isolation = found?.strictIsolation;
  if (isolation !== undefined) {
    test("is changed in a second attempt after a serialization failure", async () => {
      const url = await newVolume();
      const other = await server.connect(url);
      await other.run("BEGIN");
      await other.run(set("x"));
      const change = appendTo(url + isolation, "y");
      await untilWaiting(url);
      await other.run("COMMIT");
      expect(await change).toBe(1); // the first attempt has failed before it had anything to change
      expect(await readSetting(url)).toBe("xy");
      await other.end();
    });
  }

  test.skipIf(found === undefined).each([1, 3])(
    "is dumped by one connection where the user may have %i, and the report says why",
    async (connections) => {
      const url = await newVolume();
      await server.run(url, "UPDATE jfs_counter SET value = value + 1000000 WHERE name = 'totalInodes'");
      const whole = await dumpText(url);
      expect(whole.report.consistency.method).toMatch(/^4 /);
      const { text, report } = await dumpText(await server.limitedTo(connections, url));
      expect(text.equals(whole.text)).toBe(true);
      expect(report.consistency.pointInTime).toBe(true);
      expect(report.consistency.method).toMatch(/^one .*; more .*could not be used: .*(connections|max_user)/);
    },
  );
});
