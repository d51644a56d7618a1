import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Logger, silentLogger } from "../../src/base/logger.ts";
import type { Loader } from "../../src/engines/engine.ts";
import { parseMysqlAddress } from "../../src/engines/mysql/mysql-address.ts";
import { LOCAL_FILE, MysqlConnection, STATEMENT_HEAD_BYTES } from "../../src/engines/mysql/mysql-connection.ts";
import { openStore } from "../../src/engines/registry.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { packBatch } from "../../src/volume/records.ts";
import { databaseOf } from "../support/database-of.ts";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { type Answer, fileRequest, MysqlStatementProxy, refusal } from "../support/mysql-statement-proxy.ts";
import { readMysqlCatalog, readMysqlChangeLog, readMysqlTables } from "../support/mysql-tables.ts";
import { failureOf, NEW_VOLUME, never } from "./engine-harness.ts";
import { attribute, type RecordSet, SAMPLE_SETTING, sampleRecords, toBatches } from "./engine-records.ts";
import { describeEngine } from "./engine-suite.ts";

const isAvailable = await requireMysqlProgram();
const start = (setting: "0" | "1"): Promise<PrivateMysqlServer> =>
  startMysql({ args: [`--local-infile=${setting}`, "--max-allowed-packet=1M"] });
/** One that takes rows by LOAD DATA LOCAL INFILE, and one that does not. */
const [willing, unwilling] = isAvailable ? [await start("1"), await start("0")] : [];

const LIMITS = { maxNumber: 2147483647, maxSlices: 2730, byteNames: false };
const SAMPLE: RecordSet = sampleRecords(LIMITS);

/** A logger that keeps the debug lines. */
function recorder(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  return { logger: { ...silentLogger, debug: (line) => void lines.push(line), debugEnabled: true }, lines };
}

async function openLoader(url: string, logger: Logger = silentLogger): Promise<Loader> {
  const store = await openStore(url, { logger, signal: never, env: {} });
  return store.openLoader({ signal: never, logger, sliceRefs: "complete" });
}

async function load(url: string, set: RecordSet, logger?: Logger): Promise<void> {
  const loader = await openLoader(url, logger);
  try {
    for (const batch of toBatches(set, 1000)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
  } catch (error) {
    await loader.abort();
    throw error;
  }
}

async function contentOf(server: PrivateMysqlServer, url: string): Promise<unknown> {
  const database = databaseOf(url);
  const ids: Record<string, unknown> = {};
  for (const table of ["edge", "chunk", "xattr", "sustained"]) {
    ids[table] = await server.query(`SELECT id FROM jfs_${table} ORDER BY id`, database);
  }
  return { catalog: await readMysqlCatalog(server, database), tables: await readMysqlTables(server, database), ids };
}

async function statementsOf(server: PrivateMysqlServer, name: "Com_load" | "Com_insert"): Promise<number> {
  const [row] = await server.query(`SHOW GLOBAL STATUS LIKE '${name}'`);
  return Number(row![1]);
}

describeEngine(
  "mysql by INSERT",
  unwilling && {
    createsDatabase: false,
    pointInTime: true,
    limits: LIMITS,
    emptyAddress: async () => unwilling.url(await unwilling.createDatabase()),
    fingerprint: async (address) => ({
      catalog: await readMysqlCatalog(unwilling, databaseOf(address)),
      tables: await readMysqlTables(unwilling, databaseOf(address)),
    }),
    changeLog: (address) => readMysqlChangeLog(unwilling, databaseOf(address)),
    occupy: async (address) => {
      await unwilling.query("CREATE TABLE something_else (a INT)", databaseOf(address));
    },
  },
);

describe.skipIf(!isAvailable)("rows for MySQL", () => {
  const fresh = async (server = willing!): Promise<string> => server.url(await server.createDatabase());
  const root = packBatch("node", [{ inode: 1n, attribute: NEW_VOLUME.root }]);

  afterAll(async () => {
    await willing?.stop();
    await unwilling?.stop();
  });

  test("are the same by LOAD DATA and by INSERT, which is for servers without local_infile", async () => {
    const contents: unknown[] = [];
    for (const [server, loads] of [
      [willing!, true],
      [unwilling!, false],
    ] as const) {
      const before = await statementsOf(server, "Com_load");
      const { logger, lines } = recorder();
      const url = await fresh(server);
      await load(url, SAMPLE, logger);
      expect((await statementsOf(server, "Com_load")) - before > 5).toBe(loads);
      expect(lines.join()).toBe(loads ? "" : "Rows are stored by INSERT: local_infile of the server is off");
      contents.push(await contentOf(server, url));
    }
    expect(contents[0]).toEqual(contents[1]);
  });

  test("of many portions have numbers without gaps", async () => {
    const inodes = Array.from({ length: 30_000 }, (_, i) => BigInt(i + 2));
    const edge = inodes.map((inode) => ({ parent: 1n, inode, type: 1, name: Buffer.from(`\t${inode}\\`.repeat(9)) }));
    for (const server of [willing!, unwilling!]) {
      const url = await fresh(server);
      await load(url, { edge });
      const query = "SELECT count(*), min(id), max(id), sum(length(name)) FROM jfs_edge";
      const bytes = edge.reduce((sum, { name }) => sum + name.length, 0);
      expect(await server.query(query, databaseOf(url))).toEqual([["30000", "1", "30000", String(bytes)]]);
      await server.query("INSERT INTO jfs_edge (parent, name, inode, type) VALUES (2, 'x', 1, 1)", databaseOf(url));
      expect(await server.query("SELECT max(id) FROM jfs_edge", databaseOf(url))).toEqual([["30001"]]);
    }
  });

  test("that come twice fail the load, whatever the server makes of them", async () => {
    for (const server of [willing!, unwilling!]) {
      const url = await fresh(server);
      const loader = await openLoader(url);
      await loader.write(root);
      await loader.write(root);
      await expect(loader.finish(SAMPLE_SETTING)).rejects.toMatchObject({
        name: "DataError",
        code: "DECANT_E_DUPLICATE",
        message: expect.stringContaining("Duplicate entry '1' for key 'PRIMARY'"),
      });
      await loader.abort();
      expect(await readMysqlTables(server, databaseOf(url))).toEqual(new Map());
    }
  });

  const NARROW: readonly (readonly [column: string, sql: string, set: RecordSet, message: RegExp])[] = [
    [
      "a number",
      "ALTER TABLE jfs_node MODIFY uid TINYINT NOT NULL",
      { node: [{ inode: 7n, attribute: attribute(FileType.regular, 1n, { uid: 300 }) }] },
      /Out of range value for column 'uid' at row 1/,
    ],
    [
      "bytes",
      "ALTER TABLE jfs_symlink MODIFY target VARBINARY(3) NOT NULL",
      { symlink: [{ inode: 7n, target: Buffer.from("four") }] },
      /Data (too long|truncated) for column 'target' at row 1/,
    ],
  ];
  test.each(NARROW)(
    "with %s that a column cannot hold fail the load instead of being altered",
    async (_, ddl, set, message) => {
      for (const server of [willing!, unwilling!]) {
        const url = await fresh(server);
        const loader = await openLoader(url);
        await server.query(ddl, databaseOf(url));
        for (const batch of toBatches(set)) await loader.write(batch);
        await expect(loader.finish(SAMPLE_SETTING)).rejects.toMatchObject({
          name: "DataError",
          code: "DECANT_E_UNSUPPORTED_VALUE",
          message: expect.stringMatching(message),
        });
        await loader.abort();
        expect(await readMysqlTables(server, databaseOf(url))).toEqual(new Map());
      }
    },
  );

  test("that are missing are missed where the server keeps no warnings", async () => {
    const url = `${await fresh()}?max_error_count=0`;
    const loader = await openLoader(url);
    await loader.write(root);
    await loader.write(root);
    await expect(loader.finish(SAMPLE_SETTING)).rejects.toMatchObject({
      code: "DECANT_E_MYSQL",
      message: expect.stringContaining("it stored 1 of 2 rows of `jfs_node` with 1 warnings"),
    });
    await loader.abort();
  });

  /** Loads the sample through a proxy. */
  async function loadThrough(
    answer: Answer,
  ): Promise<{ error: unknown; url: string; lines: string[]; proxy: MysqlStatementProxy }> {
    const url = await fresh();
    const { logger, lines } = recorder();
    const proxy = await MysqlStatementProxy.start(willing!.port, answer);
    try {
      const error = await failureOf(() => load(proxy.url(databaseOf(url)), SAMPLE, logger));
      return { error, url, lines, proxy };
    } finally {
      proxy.close();
    }
  }

  const isLoad = (statement: string): boolean => statement.startsWith("LOAD DATA");

  test.each([
    ["is refused", refusal(1148, "The used command is not allowed"), "The used command is not allowed"],
    ["ends the connection", "close", "the connection was lost|ECONNRESET"],
    ["is answered with a request for another file", fileRequest("/etc/passwd"), 'a request for the file "/etc/passwd"'],
  ] as const)("go by INSERT where the first LOAD DATA %s, and nothing is lost", async (_, answer, reason) => {
    const { error, url, lines, proxy } = await loadThrough((statement) => (isLoad(statement) ? answer : undefined));
    expect(error).toBeUndefined();
    expect(lines).toEqual([expect.stringMatching(new RegExp(`^Rows are stored by INSERT: .*(${reason})`))]);
    const other = await fresh(unwilling);
    await load(other, SAMPLE);
    expect(await contentOf(willing!, url)).toEqual(await contentOf(unwilling!, other));
    for (const { bytes } of proxy.sentAfter) expect(quitOrNothing(bytes)).toBe(true);
  });

  test("fail the load when the server refuses a later LOAD DATA, and nothing is left", async () => {
    let count = 0;
    const answer = refusal(1148, "The used command is not allowed");
    const { error, url } = await loadThrough((statement) => (isLoad(statement) && ++count === 3 ? answer : undefined));
    expect(error).toMatchObject({ code: "DECANT_E_MYSQL", message: expect.stringContaining("is not allowed") });
    expect(await readMysqlTables(willing!, databaseOf(url))).toEqual(new Map());
  });

  test("stay here when the server asks for another file in their place", async () => {
    let count = 0;
    const { error, url, proxy } = await loadThrough((statement) =>
      isLoad(statement) && ++count === 3 ? fileRequest(`${LOCAL_FILE}.2`) : undefined,
    );
    expect(error).toMatchObject({
      code: "DECANT_E_MYSQL_PROTOCOL",
      message: `The server sent a request for the file "${LOCAL_FILE}.2", which it does not get`,
    });
    expect(proxy.sentAfter.map(({ bytes }) => bytes.toString("hex"))).toEqual([""]);
    expect(await readMysqlTables(willing!, databaseOf(url))).toEqual(new Map());
  });

  test.each([/^START TRANSACTION/, /^INSERT INTO `jfs_counter`/, /^COMMIT/, /^ALTER TABLE/, /^SHOW SESSION/])(
    "and files are not sent for %s",
    async (statements) => {
      for (const name of ["/etc/passwd", LOCAL_FILE]) {
        let isAnswered = false;
        const { error, proxy } = await loadThrough((statement) => {
          if (isAnswered || !statements.test(statement)) return undefined;
          isAnswered = true;
          return fileRequest(name);
        });
        expect(error).toMatchObject({ name: "EngineError" });
        expect(proxy.sentAfter).toHaveLength(1);
        for (const { bytes } of proxy.sentAfter) expect(quitOrNothing(bytes)).toBe(true);
      }
    },
  );

  /** Nothing, the empty packet that stands for a file that there is not, or the farewell. */
  function quitOrNothing(bytes: Buffer): boolean {
    return ["", "00000002", "0100000001", "000000020100000001"].includes(bytes.toString("hex"));
  }
});

describe.skipIf(!isAvailable)("a connection to MySQL that only reads", () => {
  let server: PrivateMysqlServer;
  beforeAll(async () => {
    server = await start("1");
  });
  afterAll(() => server.stop());

  test("does not even say that it has files", async () => {
    const connection = await MysqlConnection.open(parseMysqlAddress(server.url("mysql"), {}), {}, never);
    const sql = `LOAD DATA LOCAL INFILE '${LOCAL_FILE}' INTO TABLE user`;
    const statement = Buffer.concat([Buffer.alloc(STATEMENT_HEAD_BYTES), Buffer.from(sql)]);
    await expect(connection.loadRows(statement, Buffer.alloc(8))).rejects.toThrow("not allowed");
    await connection.close();
  });
});
