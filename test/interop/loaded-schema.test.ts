import { appendFileSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { databaseOf } from "../support/database-of.ts";
import { mountingClient, whileMounted, withBucket } from "../support/mount.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { loadVolumeFile } from "../support/run-operations.ts";
import { ofMysql, ofPostgres, type SqlServer } from "../support/sql-servers.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();

/** A server that writes down what it is asked to do. */
interface LoggingServer extends SqlServer {
  /** The schema as the server's own dump program prints it. */
  dumpSchema(url: string): Promise<string>;
  /** Statements since the start, and the errors that were answered as far as the server notes them. */
  readLog(): Promise<string[]>;
  /** The highest number of a column. */
  highest(url: string, table: string, column: string): Promise<bigint>;
}

async function openPostgres(): Promise<LoggingServer> {
  const server = await startPostgres({ settings: { log_statement: "all" } });
  return {
    ...ofPostgres(server),
    dumpSchema: (url) => server.dumpSchema(databaseOf(url)),
    readLog: async () => server.readLog().split("\n"),
    highest: async (url, table, column) =>
      BigInt((await server.psql(databaseOf(url), `SELECT coalesce(max(${column}), 0) FROM jfs_${table}`)).trim()),
  };
}

async function openMysql(): Promise<LoggingServer> {
  const server = await startMysql({ args: ["--general-log=1", "--log-output=TABLE"] });
  return {
    ...ofMysql(server),
    async dumpSchema(url) {
      const where = ["--host=127.0.0.1", `--port=${server.port}`, "--protocol=tcp", "--user=root"];
      const options = ["--no-defaults", "--no-data", "--skip-comments", "--compact", ...where, databaseOf(url)];
      const { out } = await mustRun("mariadb-dump", options);
      return out.replaceAll(/ AUTO_INCREMENT=\d+/g, "");
    },
    readLog: async () =>
      (await server.query("SELECT argument FROM mysql.general_log ORDER BY event_time")).map(([text]) => String(text)),
    async highest(url, table, column) {
      const [row] = await server.query(`SELECT coalesce(max(${column}), 0) FROM jfs_${table}`, databaseOf(url));
      return BigInt(String(row![0]));
    },
  };
}

const SERVERS: readonly (readonly [name: string, server: LoggingServer | undefined])[] = [
  ["PostgreSQL", client !== undefined && (await requirePostgresServer()) ? await openPostgres() : undefined],
  ["MySQL", client !== undefined && (await requireMysqlProgram()) ? await openMysql() : undefined],
];

/** Tables whose rows the database numbers, and which a mount adds rows to. */
const NUMBERED = ["edge", "xattr", "chunk", "acl"];

describe.each(SERVERS)("a volume loaded into %s", (_, found) => {
  const server = found!;

  test.skipIf(found === undefined)(
    "has the schema of the reference's load, which no client changes, and numbers go on behind those of the dump",
    async () => {
      const dump = withBucket(fixture("golden/dumps/golden.keep.json"), `${temporaryDirectory()}/`);
      const [ours, theirs] = [await server.createDatabase(), await server.createDatabase()];
      await loadVolumeFile(ours, dump);
      await mustRun(client!, ["load", theirs, dump]);
      const schema = await server.dumpSchema(ours);
      expect(schema).toContain("UQE_jfs_edge_edge");
      expect(schema).toBe(await server.dumpSchema(theirs));

      const before = new Map<string, bigint>();
      for (const table of NUMBERED) before.set(table, await server.highest(ours, table, "id"));
      const nodes = await server.highest(ours, "node", "CASE WHEN inode < 9000000000000000000 THEN inode ELSE 0 END");
      const slices = await server.highest(ours, "chunk_ref", "chunkid");
      const logged = (await server.readLog()).length;
      await mustRun(client!, ["quota", "set", ours, "--path", "/docs", "--inodes", "100000", "--capacity", "1"]);
      await mustRun(client!, ["quota", "set", ours, "--uid", "1234", "--inodes", "100000"]);
      await whileMounted(client!, ours, async (directory) => {
        mkdirSync(join(directory, "later"));
        const files = Array.from({ length: 3 }, (_, i) => join(directory, "later", `file${i}`));
        for (const file of files) {
          writeFileSync(file, "some content");
          appendFileSync(file, ", and more");
        }
        await mustRun("python3", ["-c", SET_ATTRIBUTES, ...files]);
        for (const file of files) expect(statSync(file, { bigint: true }).ino).toBeGreaterThan(nodes);
      });
      const statements = (await server.readLog()).slice(logged);
      expect(statements.filter((text) => /insert into .?jfs_edge/i.test(text)).length).toBeGreaterThan(0);
      expect(statements.filter((text) => /\b(CREATE|ALTER|DROP|TRUNCATE)\b/i.test(text))).toEqual([]);
      expect(statements.filter((text) => /ERROR|duplicate key/.test(text))).toEqual([]);
      expect(await server.dumpSchema(ours)).toBe(schema);
      const added = [];
      for (const table of NUMBERED) added.push([table, (await server.highest(ours, table, "id")) - before.get(table)!]);
      // Every client takes the next number: nothing is given twice, and nothing is left out.
      expect(added).toEqual([
        ["edge", 4n],
        ["xattr", 3n],
        ["chunk", 5n], // an append uses up a number too
        ["acl", 3n],
      ]);
      expect(await server.highest(ours, "chunk_ref", "chunkid")).toBeGreaterThan(slices);
    },
  );
});

/** An extended attribute and an access rule with a named user, another one for each file. */
const SET_ATTRIBUTES = `
import os, struct, sys
for number, path in enumerate(sys.argv[1:]):
    os.setxattr(path, "user.later", bytes([0, 255, number]))
    entries = [(1, 6, 0xffffffff), (2, 4, 7000 + number), (4, 4, 0xffffffff), (16, 6, 0xffffffff), (32, 0, 0xffffffff)]
    rule = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", rule)
`;
