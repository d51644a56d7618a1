import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { EngineError } from "../../src/base/errors.ts";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { errorOf, throughProxy } from "../support/broken-connection.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { realClient } from "../support/real-client.ts";
import { runCommand } from "../support/run-command.ts";
import { ofMysql, ofPostgres, type SqlServer } from "../support/sql-servers.ts";
import type { ProxyFault, TcpProxy } from "../support/tcp-proxy.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { dumpText, loadText, quietContext } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

/** A server that can be killed and started again. */
interface CrashingServer extends SqlServer {
  readonly port: number;
  /** Statements of a load, in their order; it is stopped before each of them. */
  readonly points: readonly string[];
  /** What is told of a server that was killed, whatever it was doing. */
  readonly cause: RegExp;
  /** True when a load that was cut off leaves tables behind. */
  readonly leavesTables: boolean;
  crash(): Promise<void>;
  restart(): Promise<void>;
  /** Ends the connection that comes from a port. */
  killConnection(port: number): Promise<void>;
}

async function openPostgres(): Promise<CrashingServer> {
  const server = await startPostgres();
  return {
    ...server,
    ...ofPostgres(server),
    points: ['CREATE TABLE "jfs_edge"', 'COPY "jfs_edge"', "ADD PRIMARY KEY", "CREATE UNIQUE INDEX", "COMMIT"],
    cause: /Connection terminated unexpectedly|ECONNRESET|terminating connection|ECONNREFUSED/,
    leavesTables: false,
    killConnection: async (port) => {
      const kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE client_port =";
      expect((await server.psql("postgres", `${kill} ${port}`)).trim()).toBe("t");
    },
  };
}

async function openMysql(): Promise<CrashingServer> {
  const server = await startMysql();
  return {
    ...server,
    ...ofMysql(server),
    points: ["CREATE TABLE `jfs_edge`", "ADD UNIQUE INDEX", "VALUES ('format'"],
    cause: /the connection was lost|ECONNRESET|it cannot be reached|it ended the statement or the connection/,
    leavesTables: true,
    killConnection: async (port) => {
      const list = "SELECT id FROM information_schema.processlist WHERE host LIKE";
      const [row] = await server.query(`${list} '%:${port}'`);
      await server.query(`KILL ${String(row![0])}`);
    },
  };
}

const SERVERS: readonly (readonly [name: string, server: CrashingServer | undefined])[] = [
  ["PostgreSQL", (await requirePostgresServer()) ? await openPostgres() : undefined],
  ["MySQL", (await requireMysqlProgram()) ? await openMysql() : undefined],
];
const client = await realClient();
const text: Buffer = await wideVolumeText(6000);

describe.each(SERVERS)("%s that is killed and started again", (_, found) => {
  const server = found!;

  /** The address of a database through a proxy. */
  const through = (url: string, port: number): string => url.replace(`:${server.port}`, `:${port}`);

  /** Runs `work` until the fault's point, then kills the server, and starts it again when `work` has failed. */
  async function crashDuring(
    fault: ProxyFault,
    url: string,
    work: (url: string) => Promise<unknown>,
  ): Promise<unknown> {
    const error = await throughProxy(server.port, fault, async (port, proxy) => {
      const running = errorOf(work(through(url, port)));
      await faulted(proxy, running);
      await server.crash();
      return running;
    });
    await server.restart();
    return error;
  }

  /** The points of a load, with one in the middle of its rows. */
  async function faults(): Promise<ProxyFault[]> {
    const passed = await throughProxy(server.port, undefined, async (port, proxy) => {
      await loadText(through(await server.createDatabase(), port), text);
      return proxy.passed.toServer;
    });
    const point = { direction: "toServer", action: "hold" } as const;
    return [
      ...server.points.map((beforeText) => ({ ...point, beforeText })),
      { ...point, afterBytes: Math.floor(passed / 2) },
    ];
  }

  test.skipIf(found === undefined)(
    "during a load holds no volume, and a load with --clean takes only what the first one has left",
    async () => {
      const undisturbed = await server.createDatabase();
      await loadText(undisturbed, text);
      const wanted = { schema: await server.readSchema(undisturbed), rows: await server.readTables(undisturbed) };
      for (const fault of await faults()) {
        const url = await server.createDatabase();
        const error = await crashDuring(fault, url, (address) => loadText(address, text));
        expect([fault, error]).toEqual([fault, expect.any(EngineError)]);
        expect((error as EngineError).message).toMatch(server.cause);
        const tables = [...(await server.readTables(url)).keys()];
        expect([fault, tables.length > 0]).toEqual([fault, server.leavesTables]);
        await expectNoVolume(url);
        // Whoever creates tables meanwhile keeps them, whatever their names.
        await server.run(
          url,
          "CREATE TABLE application (x INT); CREATE TABLE jfs_notes (x INT); CREATE TABLE jfs_a_node (x INT)",
        );
        const refused = await errorOf(loadText(url, text));
        expect(refused).toMatchObject({ code: "DECANT_E_NOT_EMPTY" });
        if (server.leavesTables) expect(refused).toMatchObject({ hint: expect.stringContaining("--clean") });
        const foreign = await errorOf(cleanLoad(url));
        expect(foreign).toMatchObject({ code: "DECANT_E_NOT_EMPTY" });
        expect([...(await server.readTables(url)).keys()].sort()).toEqual(["application", "jfs_a_node", "jfs_notes"]);
        await server.run(url, "DROP TABLE application; DROP TABLE jfs_notes; DROP TABLE jfs_a_node");
        await cleanLoad(url);
        const result = { schema: await server.readSchema(url), rows: await server.readTables(url) };
        expect([fault, JSON.stringify([...result.rows])]).toEqual([fault, JSON.stringify([...wanted.rows])]);
        expect(result.schema).toEqual(wanted.schema);
      }
    },
    400_000,
  );

  async function expectNoVolume(url: string): Promise<void> {
    expect(await errorOf(dumpText(url))).toMatchObject({
      code: expect.stringMatching(/^DECANT_E_(NO_VOLUME|LOAD_INTERRUPTED)$/),
    });
    if (client === undefined) return;
    const before = await server.readTables(url);
    for (const args of [
      ["status", url],
      ["mount", "--no-usage-report", url, join(temporaryDirectory(), "mnt")],
    ]) {
      const { code, err } = await runCommand(client, args);
      expect([args[0], code, err]).toEqual([args[0], 1, expect.stringContaining("database is not formatted")]);
    }
    expect(await server.readTables(url)).toEqual(before);
  }

  const bigVolume = async (): Promise<string> => {
    const url = await server.createDatabase();
    await loadText(url, text);
    // As many inodes as let several connections read.
    await server.run(url, "UPDATE jfs_counter SET value = value + 1000000 WHERE name = 'totalInodes'");
    return url;
  };

  const halfOfDump = async (url: string): Promise<ProxyFault> =>
    throughProxy(server.port, undefined, async (port, proxy) => {
      const { report } = await dumpText(through(url, port));
      expect(report.consistency.method).toMatch(/^4 /);
      return { direction: "toClient", afterBytes: Math.floor(proxy.passed.toClient / 2), action: "hold" };
    });

  test.skipIf(found === undefined)("during a dump by several connections fails it, and no file is left", async () => {
    const url = await bigVolume();
    const directory = temporaryDirectory();
    const error = await crashDuring(await halfOfDump(url), url, (address) => dumpInto(directory, address));
    expect(error).toBeInstanceOf(EngineError);
    expect((error as EngineError).message).toMatch(server.cause);
    expect(readdirSync(directory)).toEqual([]);
    expect((await dumpText(url)).report.counts.file).toBe(6000);
  });

  test.skipIf(found === undefined)("is told from one that has ended only one of several connections", async () => {
    const url = await bigVolume();
    const directory = temporaryDirectory();
    const fault = await halfOfDump(url);
    const error = await throughProxy(server.port, fault, async (port, proxy) => {
      const running = errorOf(dumpInto(directory, through(url, port)));
      await faulted(proxy, running);
      await server.killConnection(proxy.heldPort!);
      return running;
    });
    expect(error).toBeInstanceOf(EngineError);
    expect((error as EngineError).message).toMatch(server.cause); // not that decant has closed the others
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe.skipIf(SERVERS[0]![1] === undefined)("PostgreSQL that answers commits before it has written them", () => {
  test("and crashes right after a load has every volume whose load ended well", async () => {
    const server = await startPostgres({ settings: { synchronous_commit: "off", wal_writer_delay: "10s" } });
    const { createDatabase } = ofPostgres(server);
    const url = await createDatabase();
    await loadText(url, text);
    await server.crash();
    await server.restart();
    expect((await dumpText(url)).report.counts.file).toBe(6000);
    await server.stop();
  });
});

function dumpInto(directory: string, source: string): Promise<unknown> {
  return dump({ source, target: { file: join(directory, "dump.json") } }, quietContext());
}

async function cleanLoad(target: string): Promise<void> {
  await load({ target, source: { stream: Readable.from([text]) }, clean: true }, quietContext());
}

/** Waits for the fault of a proxy; throws what `running` ends with before. */
async function faulted(proxy: TcpProxy, running: Promise<unknown>): Promise<void> {
  let ended = false;
  void running.then(() => (ended = true));
  while (!proxy.isFaulted) {
    if (ended) throw new Error(`The point was not reached: ${String(await running)}`);
    await sleep(5);
  }
}
