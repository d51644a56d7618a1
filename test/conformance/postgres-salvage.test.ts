import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type PrivatePostgresServer, requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { fixture } from "../support/repository.ts";
import { missingRecords, readSalvaged } from "../support/salvaged.ts";

const isAvailable = await requirePostgresServer();
const NATIVE = fixture("golden/native/natpg.postgres.sql");
const BLOCK_BYTES = 8192;

/** More inodes, entries and attributes than one block holds, and lists of slices that stand outside of their rows. */
const MORE = `
  INSERT INTO jfs_node SELECT i, 1, 0, 420, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4096, 0, 1, 0, 0, 0 FROM generate_series(100001, 103000) i;
  INSERT INTO jfs_edge (parent, name, inode, type) SELECT 1, ('a name ' || i)::bytea, i, 1 FROM generate_series(100001, 103000) i;
  ALTER TABLE jfs_chunk ALTER slices SET STORAGE EXTERNAL;
  INSERT INTO jfs_chunk (inode, indx, slices) SELECT i, 0, decode(repeat('00', 24 * 400), 'hex') FROM generate_series(100001, 100020) i;`;

describe.skipIf(!isAvailable)("of a damaged volume in PostgreSQL, all is given that is not damaged", () => {
  let server: PrivatePostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
  });

  async function volume(): Promise<string> {
    const database = await server.restore(NATIVE);
    await server.psql(database, `${MORE} CHECKPOINT;`);
    return database;
  }

  /** Overwrites the heads of blocks while the server is down. */
  async function damageBlocks(database: string, table: string, blocks: readonly number[]): Promise<void> {
    const path = (await server.psql(database, `SELECT pg_relation_filepath(${table})`)).trim();
    await server.psql(database, "CHECKPOINT");
    await server.crash();
    const file = openSync(join(server.directory, "data", path), "r+");
    for (const block of blocks) writeSync(file, Buffer.alloc(24, 0xee), 0, 24, block * BLOCK_BYTES);
    closeSync(file);
    await server.restart();
  }

  test("nothing is a loss where nothing is damaged, and the same records come", async () => {
    const url = server.url(await volume());
    const { losses, ...whole } = await readSalvaged(url, { salvages: false });
    expect(losses).toEqual([]);
    expect(await readSalvaged(url)).toEqual({ ...whole, losses: [] });
  });

  test("blocks of a table: those before, between and behind them are read", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    const inBlocks = async (table: string, blocks: string): Promise<number> =>
      Number(await server.psql(database, `SELECT count(*) FROM ${table} WHERE (ctid::text::point)[0] IN (${blocks})`));
    const [nodes, edges] = [await inBlocks("jfs_node", "3, 4, 9"), await inBlocks("jfs_edge", "0")];
    await damageBlocks(database, "'jfs_node'", [3, 4, 9]);
    await damageBlocks(database, "'jfs_edge'", [0]);
    await expect(readSalvaged(server.url(database), { salvages: false })).rejects.toThrow(/invalid page in block/);
    const after = await readSalvaged(server.url(database));
    const missing = missingRecords(whole, after);
    expect(missingRecords(after, whole)).toEqual({});
    expect([missing.node?.length, missing.edge?.length]).toEqual([nodes, edges]);
    expect(Object.keys(missing).filter((kind) => !["node", "edge", "parent"].includes(kind))).toEqual([]);
    const place = (text: RegExp): unknown => expect.stringMatching(text);
    expect(after.losses).toEqual([
      place(/^edge: table jfs_edge, block 0: invalid page in block 0 of relation base\/\d+\/\d+$/),
      place(/^node: table jfs_node, block 3: invalid page in block 3 of relation base\/\d+\/\d+$/),
      place(/^node: table jfs_node, block 4: invalid page in block 4 of relation base\/\d+\/\d+$/),
      place(/^node: table jfs_node, block 9: invalid page in block 9 of relation base\/\d+\/\d+$/),
      place(
        /^parent: table jfs_edge: the directories of files with several places cannot be counted: invalid page in block 0 /,
      ),
    ]);
  });

  test("every third block: each is one loss, and all other rows come", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    const blocks = Array.from({ length: 14 }, (_, i) => 3 * i);
    const rows = `SELECT count(*) FROM jfs_node WHERE (ctid::text::point)[0] IN (${blocks.join(",")})`;
    const nodes = Number(await server.psql(database, rows));
    await damageBlocks(database, "'jfs_node'", blocks);
    const after = await readSalvaged(server.url(database));
    expect(missingRecords(whole, after).node).toHaveLength(nodes);
    expect(after.losses).toHaveLength(blocks.length);
  });

  test("values that stand outside of their rows: the rows that have them are told", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    const toast = "(SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'jfs_chunk')";
    await damageBlocks(database, toast, [2]);
    const after = await readSalvaged(server.url(database));
    const missing = missingRecords(whole, after);
    expect(Object.keys(missing)).toEqual(["chunk"]);
    const inodes = missing.chunk!.map((record) => /inode=(\d+)/.exec(record)![1]);
    expect(inodes.length).toBeGreaterThan(0);
    expect(inodes.length).toBeLessThan(4);
    expect(after.losses).toEqual(
      inodes.map((inode) =>
        expect.stringMatching(
          new RegExp(`^chunk ${inode}: table jfs_chunk, id \\d+: invalid page in block 2 of relation `),
        ),
      ),
    );
  });

  test("rows that cannot be decoded, tables and columns that are missing", async () => {
    const database = await volume();
    const whole = await readSalvaged(server.url(database));
    await server.psql(
      database,
      `ALTER TABLE jfs_node ALTER type DROP NOT NULL; ALTER TABLE jfs_edge ALTER name DROP NOT NULL, ALTER parent DROP NOT NULL;
       ALTER TABLE jfs_chunk_ref ALTER refs DROP NOT NULL; ALTER TABLE jfs_counter ALTER value DROP NOT NULL;
       UPDATE jfs_node SET type = NULL WHERE inode = 100001; UPDATE jfs_node SET type = 99 WHERE inode = 100002;
       UPDATE jfs_edge SET name = NULL WHERE inode = 100003; UPDATE jfs_edge SET parent = NULL WHERE inode = 100004;
       UPDATE jfs_chunk SET slices = 'odd' WHERE inode = 100005; INSERT INTO jfs_chunk_ref VALUES (9001, 5, NULL);
       UPDATE jfs_counter SET value = NULL WHERE name = 'nextChunk';
       DROP TABLE jfs_xattr; ALTER TABLE jfs_symlink DROP COLUMN target; ALTER TABLE jfs_node DROP COLUMN nlink`,
    );
    const after = await readSalvaged(server.url(database));
    expect(after.losses.map((loss) => loss.replace(/ id \d+/, " id N"))).toEqual([
      "chunk 100005: table jfs_chunk, id N: slices has 3 bytes, which is no multiple of 24",
      "counter: table jfs_counter, name nextChunk: the value is no integer",
      "edge 1: table jfs_edge, id N: name is NULL",
      "edge: table jfs_edge, id N: parent is NULL",
      "node 100001: table jfs_node, inode 100001: type is NULL",
      "node 100002: table jfs_node, inode 100002: type is 99, which no record holds",
      "node: table jfs_node: there is no column nlink, which is taken as 0 in every row",
      "sliceRef: table jfs_chunk_ref, chunkid 9001: refs is NULL",
      "symlink: table jfs_symlink: it has no column target",
      "xattr: table jfs_xattr: it does not exist",
    ]);
    const missing = missingRecords(whole, after);
    expect([missing.edge?.length, missing.chunk?.length]).toEqual([2, 1]);
    expect(after.records.node).toHaveLength(whole.records.node!.length - 2);
  });

  test("the setting: nothing can be read, and it is said why", async () => {
    const database = await volume();
    await damageBlocks(database, "'jfs_setting'", [0]);
    await expect(readSalvaged(server.url(database))).rejects.toThrow(
      /^The setting of the volume in postgres:.*, table jfs_setting cannot be read: invalid page in block 0 of relation /,
    );
  });
});
