import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mustRun } from "../test/support/run-command.ts";

/**
 * What the database's own client takes to move the same tables: it neither understands them nor makes anything of them, so nothing that
 * does more can be expected to take less.
 */
export interface Floor {
  readonly name: string;
  /** Makes what the command needs, outside of the measurement, and returns it. `target` is an empty database. */
  prepare(target: string): Promise<string[]>;
}

export interface Floors {
  readonly dump: Floor;
  readonly load: Floor;
}

const NODE_TABLES = ["node", "edge", "chunk", "chunk_ref", "dir_stats"];
const TABLES: readonly string[] = [
  ...NODE_TABLES,
  ...["symlink", "xattr", "counter", "setting", "acl", "dir_quota", "user_group_quota", "delfile", "sustained"],
];

/** `source` and targets are names of databases. */
export function postgresFloors(server: { directory: string; port: number }, source: string, scratch: string): Floors {
  const psql = (database: string) => `psql -X -q -h ${server.directory} -p ${server.port} -U postgres -d ${database}`;
  const copyOut = (table: string) => `\\copy (SELECT * FROM jfs_${table}) TO STDOUT (FORMAT binary)`;
  return {
    dump: {
      name: "psql COPY TO, binary, tables side by side",
      prepare: async () => {
        const readers = TABLES.map((table) => `${psql(source)} -c '${copyOut(table)}' > /dev/null &`);
        return ["bash", "-c", `${readers.join("\n")}\nwait`];
      },
    },
    load: {
      name: "psql COPY FROM, binary, then keys and indexes",
      prepare: async (target) => {
        const directory = join(scratch, "floor-postgres");
        const script = join(directory, "load.sql");
        if (!existsSync(script)) {
          mkdirSync(directory, { recursive: true });
          const dumpSchema = `pg_dump -h ${server.directory} -p ${server.port} -U postgres -s -O`;
          const section = async (name: string): Promise<string> =>
            (await mustRun("bash", ["-c", `${dumpSchema} --section=${name} ${source}`])).out;
          const copies = TABLES.map(
            (table) => `\\copy public.jfs_${table} FROM '${join(directory, table)}' (FORMAT binary)`,
          );
          for (const table of TABLES) {
            await mustRun("bash", ["-c", `${psql(source)} -c '${copyOut(table)}' > ${join(directory, table)}`]);
          }
          const texts = ["BEGIN;", await section("pre-data"), ...copies, await section("post-data"), "COMMIT;"];
          writeFileSync(script, `${texts.join("\n")}\n`);
        }
        return ["bash", "-c", `${psql(target)} -v ON_ERROR_STOP=1 -f ${script} > /dev/null || exit 1`];
      },
    },
  };
}

export function mariadbFloors(
  server: { port: number; query(sql: string): Promise<unknown> },
  source: string,
  scratch: string,
): Floors {
  const login = `--no-defaults -h 127.0.0.1 -P ${server.port} -u root`;
  return {
    dump: {
      name: "mariadb-dump",
      prepare: async () => {
        return ["bash", "-c", `mariadb-dump ${login} --single-transaction --quick ${source} > /dev/null`];
      },
    },
    load: {
      name: "mariadb LOAD DATA LOCAL INFILE, then indexes",
      prepare: async (target) => {
        const directory = join(scratch, "floor-mariadb");
        const script = join(directory, "load.sql");
        if (!existsSync(script)) {
          mkdirSync(directory, { recursive: true });
          chmodSync(directory, 0o777);
          const dumped = (await mustRun("bash", ["-c", `mariadb-dump ${login} --no-data --compact ${source}`])).out;
          // Newer servers begin a dump with a line that forbids LOAD DATA in what follows.
          const schema = dumped.replace(/^\/\*M!999999.*$/gm, "");
          const { tables, indexes } = splitIndexes(schema);
          for (const table of TABLES) {
            await server.query(
              `SELECT * FROM ${source}.jfs_${table} INTO OUTFILE '${join(directory, table)}' CHARACTER SET binary`,
            );
          }
          const loads = TABLES.map(
            (table) =>
              `LOAD DATA LOCAL INFILE '${join(directory, table)}' INTO TABLE jfs_${table} CHARACTER SET binary;`,
          );
          writeFileSync(script, [tables, "SET unique_checks=0;", ...loads, indexes].join("\n"));
        }
        return ["bash", "-c", `mariadb ${login} --local-infile=1 ${target} < ${script} > /dev/null`];
      },
    },
  };
}

/** Takes the secondary indexes out of the tables of mysqldump, as statements of their own. */
function splitIndexes(schema: string): { tables: string; indexes: string } {
  const indexes: string[] = [];
  let table = "";
  const lines = schema.split("\n").filter((line) => {
    table = /^CREATE TABLE (`\w+`)/.exec(line)?.[1] ?? table;
    const index = /^ +((?:UNIQUE )?KEY .*?),?$/.exec(line)?.[1];
    if (index !== undefined) indexes.push(`ALTER TABLE ${table} ADD ${index};`);
    return index === undefined;
  });
  return { tables: lines.join("\n").replace(/,\n\)/g, "\n)"), indexes: indexes.join("\n") };
}
