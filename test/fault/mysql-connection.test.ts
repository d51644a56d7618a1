import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { errorOf, expectEngineError, throughProxy } from "../support/broken-connection.ts";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { readMysqlTables } from "../support/mysql-tables.ts";
import type { ProxyFault, TcpProxy } from "../support/tcp-proxy.ts";
import { dumpText, loadText } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CUTS = 8;
const hasMysql = await requireMysqlProgram();
const text: Buffer = await wideVolumeText(6000);
const never = new AbortController().signal;

/** Positions over `total` bytes: the first ones, where connecting happens, and then evenly to the end. */
function cutPoints(total: number): number[] {
  const even = Array.from({ length: CUTS }, (_, i) => Math.floor((total * (i + 1)) / (CUTS + 1)));
  return [0, 10, 100, 2000, ...even, total - 200, total - 1];
}

describe.skipIf(!hasMysql)("a connection to MySQL that breaks", () => {
  let server: PrivateMysqlServer;

  beforeAll(async () => {
    server = await startMysql();
  });
  afterAll(async () => {
    await server.stop();
  });

  /** Runs `work` through a proxy. */
  async function through<T>(
    fault: ProxyFault | undefined,
    database: string,
    work: (url: string, proxy: TcpProxy) => Promise<T>,
  ): Promise<T> {
    return throughProxy(server.port, fault, (port, proxy) =>
      work(`mysql://root@(127.0.0.1:${port})/${database}`, proxy),
    );
  }

  /** Bytes of an undisturbed run in each direction. */
  async function traffic(database: string, work: (url: string) => Promise<unknown>): Promise<TcpProxy["passed"]> {
    return through(undefined, database, async (url, proxy) => {
      await work(url);
      return proxy.passed;
    });
  }

  test.each(["toServer", "toClient"] as const)(
    "%s during a load leaves an empty database, wherever it breaks",
    async (direction) => {
      const passed = await traffic(await server.createDatabase(), (url) => loadText(url, text));
      for (const afterBytes of cutPoints(passed[direction])) {
        const database = await server.createDatabase();
        await through({ direction, afterBytes, action: "cut" }, database, async (url) => {
          const error = await errorOf(loadText(url, text));
          // When only the answer to the last commit is lost, decant looks whether the volume is there.
          if (error === undefined) expect((await dumpText(server.url(database))).text.equals(text)).toBe(true);
          else {
            expectEngineError(error, /^DECANT_E_MYSQL/);
            expect([afterBytes, [...(await readMysqlTables(server, database)).keys()]]).toEqual([afterBytes, []]);
          }
        });
      }
    },
  );

  test("during a load for good leaves tables that are no volume, and the next load says what they are", async () => {
    const passed = await traffic(await server.createDatabase(), (url) => loadText(url, text));
    const afterBytes = Math.floor(passed.toServer * 0.6);
    const database = await server.createDatabase();
    const fault: ProxyFault = { direction: "toServer", afterBytes, action: "cut", refuse: true };
    await through(fault, database, async (url) =>
      expectEngineError(await errorOf(loadText(url, text)), /^DECANT_E_MYSQL/),
    );
    const url = server.url(database);
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
    expect(await store.readSetting(never)).toBeUndefined();
    const hint = expect.stringMatching(
      /^A load of .+ that began 2\d{3}-.*Z \(process \d+ on .+; no checkpoint yet\) is running or was cut off\. When it is not running: .*with --clean removes what it wrote$/,
    );
    expect(await store.inspectTarget(never)).toEqual({
      state: "interrupted",
      progress: { stamp: expect.objectContaining({ process: process.pid }), checkpoint: undefined, announced: [] },
      message: `database mysql://root@tcp(127.0.0.1:${server.port})/${database}?tx_isolation=%27repeatable-read%27 is not empty`,
    });
    expect(await errorOf(loadText(url, text))).toMatchObject({ code: "DECANT_E_NOT_EMPTY", hint });
    expect(await errorOf(dumpText(url))).toMatchObject({ code: "DECANT_E_LOAD_INTERRUPTED", hint });
    await server.query("CREATE TABLE application (x INT)", database);
    expect(await store.removeRemains(never)).toBe(true);
    expect([...(await readMysqlTables(server, database)).keys()]).toEqual(["application"]);
    expect(await store.removeRemains(never)).toBe(false);
  });

  test("that died before its marker leaves an empty table, which is removed only where nothing else is", async () => {
    const database = await server.createDatabase();
    const url = server.url(database);
    const create = "CREATE TABLE jfs_setting (name VARCHAR(255) PRIMARY KEY NOT NULL, value TEXT NOT NULL)";
    await server.query(`${create}; CREATE TABLE application (x INT)`, database);
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
    expect(await store.removeRemains(never)).toBe(false);
    await server.query("DROP TABLE application; INSERT INTO jfs_setting VALUES ('other', 'x')", database);
    expect(await store.removeRemains(never)).toBe(false);
    await server.query("DELETE FROM jfs_setting", database);
    const hint = "There is only an empty `jfs_setting`: load again with --clean, which removes it";
    expect(await store.inspectTarget(never)).toMatchObject({ state: "occupied", hint });
    expect(await store.removeRemains(never)).toBe(true);
    expect(await store.inspectTarget(never)).toEqual({ state: "empty" });
  });

  test("during a dump fails it with the first cause, wherever it breaks", async () => {
    const database = await server.createDatabase();
    await loadText(server.url(database), text);
    const passed = await traffic(database, dumpText);
    for (const afterBytes of cutPoints(passed.toClient).filter((position) => position < passed.toClient - 300)) {
      const fault: ProxyFault = { direction: "toClient", afterBytes, action: "cut" };
      await through(fault, database, async (url) => {
        const error = await errorOf(dumpText(url));
        expectEngineError(error, /^DECANT_E_MYSQL/);
        expect([afterBytes, (error as EngineError).message]).toEqual([
          afterBytes,
          expect.stringMatching(/ECONNRESET|the connection was lost/),
        ]);
      });
    }
  });

  test("because the server ends it is told with the server's words, and a dump fails", async () => {
    const database = await server.createDatabase();
    await loadText(server.url(database), text);
    const store = await openStore(server.url(database), { logger: silentLogger, signal: never, env: {} });
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    const threads = "SELECT id FROM information_schema.processlist WHERE db = ";
    for (const [id] of await server.query(`${threads}'${database}'`)) await server.query(`KILL ${String(id)}`);
    const error = await errorOf(snapshot.readNode(1n));
    expectEngineError(error, /^DECANT_E_MYSQL/);
    expect((error as EngineError).code).toBe("DECANT_E_MYSQL_LOST");
    await snapshot.close();
  });
});
