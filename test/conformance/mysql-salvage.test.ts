import { closeSync, existsSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { type PrivateMysqlServer, requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { fixture } from "../support/repository.ts";
import { missingRecords, readSalvaged } from "../support/salvaged.ts";

const isAvailable = await requireMysqlProgram();
const NATIVE = fixture("golden/native/natmysql.mysql.sql");
const PAGE_BYTES = 16384;

/** More inodes than one page holds. */
const MORE = `
  INSERT INTO jfs_node SELECT 100000 + seq, 1, 0, 420, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4096, 0, 1, 0, 0, 0 FROM seq_1_to_3000;
  INSERT INTO jfs_edge (parent, name, inode, type) SELECT 1, concat('a name ', seq), 100000 + seq, 1 FROM seq_1_to_3000;`;

describe.skipIf(!isAvailable)("of a damaged volume in MariaDB, all is given that is not damaged", () => {
  let server: PrivateMysqlServer;
  let data: string;
  beforeAll(async () => {
    server = await startMysql();
    data = String((await server.query("SELECT @@datadir"))[0]![0]);
  });

  async function volume(): Promise<string> {
    const database = await server.restore(NATIVE);
    await server.query(MORE, database);
    return database;
  }

  test("nothing is a loss where nothing is damaged, and the same records come", async () => {
    const url = server.url(await volume());
    const { losses, ...whole } = await readSalvaged(url, { salvages: false });
    expect(losses).toEqual([]);
    expect(await readSalvaged(url)).toEqual({ ...whole, losses: [] });
  });

  test("rows that cannot be decoded, tables and columns that are missing", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    await server.query(
      `ALTER TABLE jfs_node MODIFY type INT NULL; ALTER TABLE jfs_edge MODIFY name VARBINARY(255) NULL, MODIFY parent BIGINT NULL;
       ALTER TABLE jfs_chunk_ref MODIFY refs INT NULL; ALTER TABLE jfs_counter MODIFY value BIGINT NULL;
       ALTER TABLE jfs_dir_stats MODIFY used_space VARCHAR(20);
       UPDATE jfs_node SET type = NULL WHERE inode = 100001; UPDATE jfs_node SET type = 99 WHERE inode = 100002;
       UPDATE jfs_edge SET name = NULL WHERE inode = 100003; UPDATE jfs_edge SET parent = NULL WHERE inode = 100004;
       INSERT INTO jfs_chunk (inode, indx, slices) VALUES (100005, 0, 'odd'); INSERT INTO jfs_chunk_ref VALUES (9001, 5, NULL);
       UPDATE jfs_counter SET value = NULL WHERE name = 'nextChunk'; UPDATE jfs_dir_stats SET used_space = 'x' WHERE inode = 1;
       DROP TABLE jfs_xattr; ALTER TABLE jfs_symlink DROP COLUMN target; ALTER TABLE jfs_node DROP COLUMN nlink`,
      database,
    );
    const after = await readSalvaged(server.url(database));
    expect(after.losses.map((loss) => loss.replace(/ id \d+/, " id N"))).toEqual([
      "chunk 100005: table jfs_chunk, id N: slices has 3 bytes, which is no multiple of 24",
      "counter: table jfs_counter, name nextChunk: the value is no integer",
      "dirStat 1: table jfs_dir_stats, inode 1: used_space is no integer",
      "edge 1: table jfs_edge, id N: name is NULL",
      "edge: table jfs_edge, id N: parent is NULL",
      "node 100001: table jfs_node, inode 100001: type is NULL",
      "node 100002: table jfs_node, inode 100002: type is 99, which no record holds",
      "node: table jfs_node: there is no column nlink, which is taken as 0 in every row",
      "sliceRef: table jfs_chunk_ref, chunkid 9001: refs is NULL",
      "symlink: table jfs_symlink: it has no column target",
      "xattr: table jfs_xattr: it does not exist",
    ]);
    expect(missingRecords(whole, after).edge).toHaveLength(2);
    expect(after.records.node).toHaveLength(whole.records.node!.length - 2);
  });

  /** Overwrites the middle of leaves of the primary index, given in the order of the file, while the server is down. */
  async function damageLeaves(database: string, table: string, leaves: readonly number[]): Promise<void> {
    const pidFile = String((await server.query("SELECT @@pid_file"))[0]![0]);
    // In order, so that nothing is left that the next start would do again.
    await server.query("SHUTDOWN");
    while (existsSync(pidFile)) await sleep(20);
    await server.stop();
    const file = openSync(join(data, database, `${table}.ibd`), "r+");
    const page = Buffer.alloc(PAGE_BYTES);
    const found: number[] = [];
    // FIL_PAGE_TYPE at 24 is an index page; PAGE_LEVEL at 64 is 0 on leaves.
    for (let number = 0; readSync(file, page, 0, PAGE_BYTES, number * PAGE_BYTES) === PAGE_BYTES; number++) {
      if (page.readUInt16BE(24) === 0x45bf && page.readUInt16BE(64) === 0 && page.readUInt16BE(54) > 0)
        found.push(number);
    }
    for (const leaf of leaves) writeSync(file, Buffer.alloc(500, 0xee), 0, 500, found[leaf]! * PAGE_BYTES + 3000);
    closeSync(file);
    await server.restart();
  }

  test("pages of a table: the rows before, between and behind them are read", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    await damageLeaves(database, "jfs_node", [3, 8]);
    await expect(readSalvaged(server.url(database), { salvages: false })).rejects.toThrow();
    const after = await readSalvaged(server.url(database));
    const missing = missingRecords(whole, after);
    expect(Object.keys(missing)).toEqual(["node"]);
    expect(missing.node!.length).toBeGreaterThan(20);
    expect(missing.node!.length).toBeLessThan(600);
    expect(after.losses.length).toBeGreaterThanOrEqual(2);
    expect(after.losses.length).toBeLessThanOrEqual(6);
    for (const loss of after.losses) {
      expect(loss).toMatch(/^node: table jfs_node, inode .*: Index for table 'jfs_node' is corrupt; try to repair it$/);
    }
    expect(missingRecords(after, whole)).toEqual({});
  });
});
