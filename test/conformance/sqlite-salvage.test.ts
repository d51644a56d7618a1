import { closeSync, openSync, readdirSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { beforeAll, describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { largeSqliteVolume, PAGE_BYTES, pageCount, pagesOf } from "../support/large-sqlite.ts";
import { missingRecords, readSalvaged, type Salvaged } from "../support/salvaged.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";

const FIXTURES = [
  "golden/native/natsqlite.sqlite.db",
  "golden/changelog/chlogsqlite.sqlite.db",
  "legacy/legacy-1-3-0.sqlite.db",
  "legacy/legacy-1-3-1.sqlite.db",
  "golden/engines/golden-bin.sqlite.db",
  "golden/engines/golden-json.sqlite.db",
];

function change(path: string, sql: string): void {
  const db = new Database(path);
  db.unsafeMode(true);
  db.exec(sql);
  db.close();
}

describe("of a volume that is not damaged", () => {
  test.each(FIXTURES)("%s: the same records come, and no loss", async (fixture) => {
    const { url } = copySqliteFixture(fixture);
    const { losses, ...whole } = await readSalvaged(url, { salvages: false });
    expect(losses).toEqual([]);
    expect(await readSalvaged(url)).toEqual({ ...whole, losses: [] });
  });

  test("what stands only in the -wal file comes too, and nothing is left beside the database", async () => {
    const { path, url } = copySqliteFixture(FIXTURES[0]!);
    const client = new Database(path);
    client.exec("PRAGMA wal_autocheckpoint = 0; UPDATE jfs_node SET uid = 4711");
    const { losses, ...whole } = await readSalvaged(url, { salvages: false });
    expect(losses).toEqual([]);
    const before = readFileSync(path);
    expect(await readSalvaged(url)).toEqual({ ...whole, losses: [] });
    expect(readFileSync(path)).toEqual(before);
    client.close();
    expect(readdirSync(dirname(path))).toEqual(["natsqlite.sqlite.db"]);
  });
});

describe("rows that cannot be decoded are left out and told, and all others come", () => {
  /** Rows go into tables without the constraints that would refuse them. */
  async function damagedRows(
    sql: string,
    fixture: string = FIXTURES[0]!,
  ): Promise<[losses: string[], missing: Record<string, string[]>, others: Record<string, string[]>]> {
    const { path, url } = copySqliteFixture(fixture);
    const whole = await readSalvaged(url);
    change(
      path,
      `PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', ''); PRAGMA writable_schema = RESET;`,
    );
    change(path, sql);
    const after = await readSalvaged(url);
    return [after.losses, missingRecords(whole, after), missingRecords(after, whole)];
  }

  test("of inodes", async () => {
    const [losses, missing, others] = await damagedRows(`
      INSERT INTO jfs_node (inode, type, mode) VALUES (50001, NULL, 1), (50002, 'text', 1), (50003, 99, 1), (50004, 1, 1.5);
      UPDATE jfs_node SET flags = 0, uid = 0, gid = 0, atime = 0, mtime = 0, ctime = 0, nlink = 1, length = 0 WHERE inode > 50000 AND inode < 60000;
      INSERT INTO jfs_node SELECT 50005, 1, 0, 420, 1099511627776, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0;
      INSERT INTO jfs_node SELECT 50006, 1, 0, 420, 0, 0, 0, 0, 0, 0, 0, 0, 1, NULL, 0, 1, 0, 0, 0`);
    expect(losses).toEqual([
      "node 50001: table jfs_node, inode 50001: type is NULL",
      "node 50002: table jfs_node, inode 50002: type is no integer",
      "node 50003: table jfs_node, inode 50003: type is 99, which no record holds",
      "node 50004: table jfs_node, inode 50004: mode is no integer",
      "node 50005: table jfs_node, inode 50005: uid is 1099511627776, which no 32 bits hold",
      "node 50006: table jfs_node, inode 50006: length is NULL",
    ]);
    expect([missing, others]).toEqual([{}, {}]);
  });

  test("of what belongs to inodes", async () => {
    const [losses, missing, others] = await damagedRows(`
      INSERT INTO jfs_edge VALUES (9001, 1, NULL, 5, 1), (9002, NULL, x'61', 5, 1), (9003, 1, zeroblob(70000), 5, 1),
        (9004, 1, x'62', 'five', 1), (9005, 1, 7, 5, 1);
      INSERT INTO jfs_chunk VALUES (9001, 5, 7, NULL), (9002, 5, 8, x'0102'), (9003, 5, NULL, x'');
      INSERT INTO jfs_symlink VALUES (9001, NULL);
      INSERT INTO jfs_xattr VALUES (9001, 5, NULL, x'00'), (9002, 5, 'user.x', NULL), (9003, NULL, 'user.y', x'')`);
    expect(losses).toEqual([
      "chunk 5: table jfs_chunk, id 9001: slices is NULL",
      "chunk 5: table jfs_chunk, id 9002: slices has 2 bytes, which is no multiple of 24",
      "chunk 5: table jfs_chunk, id 9003: indx is NULL",
      "edge 1: table jfs_edge, id 9001: name is NULL",
      "edge 1: table jfs_edge, id 9003: name has 70000 bytes",
      "edge 1: table jfs_edge, id 9004: inode is no integer",
      "edge 1: table jfs_edge, id 9005: name is no byte string",
      "edge: table jfs_edge, id 9002: parent is NULL",
      "symlink 9001: table jfs_symlink, inode 9001: target is NULL",
      "xattr 5: table jfs_xattr, id 9001: name is NULL",
      "xattr 5: table jfs_xattr, id 9002: value is NULL",
      "xattr: table jfs_xattr, id 9003: inode is NULL",
    ]);
    expect([missing, others]).toEqual([{}, {}]);
  });

  test("of the other tables", async () => {
    const [losses, missing, others] = await damagedRows(`
      UPDATE jfs_counter SET value = 'many' WHERE name = 'usedSpace';
      DELETE FROM jfs_counter WHERE name = 'nextChunk';
      INSERT INTO jfs_sustained VALUES (9001, 'x', 5);
      INSERT INTO jfs_delfile VALUES (9001, 'x', 5);
      INSERT INTO jfs_dir_stats VALUES (9001, 1, NULL, 5);
      INSERT INTO jfs_dir_quota VALUES (9001, 1, 2, 'x', 5);
      INSERT INTO jfs_user_group_quota VALUES (1, 9001, NULL, 1, 1, 1), (2, 9002, 1, 'x', 1, 1);
      INSERT INTO jfs_chunk_ref VALUES (9001, NULL, 2), (9002, 7, NULL);
      INSERT INTO jfs_acl VALUES (9001, 'x', 1, 1, 1, x'', x''), (9002, 1, 1, 1, 1, x'0102', x'')`);
    expect(losses).toEqual([
      "acl: table jfs_acl, id 9001: owner is no integer",
      "acl: table jfs_acl, id 9002: named_users has 2 bytes, which is no multiple of 6",
      "counter: table jfs_counter, name usedSpace: the value is no integer",
      "counter: table jfs_counter: there is no nextChunk, which is taken as 0",
      "delFile 9001: table jfs_delfile, inode 9001: length is no integer",
      "dirStat 9001: table jfs_dir_stats, inode 9001: used_space is NULL",
      "groupQuota: table jfs_user_group_quota, qkey 9002: max_inodes is no integer",
      "quota 9001: table jfs_dir_quota, inode 9001: used_space is no integer",
      "sliceRef: table jfs_chunk_ref, chunkid 9001: size is NULL",
      "sliceRef: table jfs_chunk_ref, chunkid 9002: refs is NULL",
      "sustained 5: table jfs_sustained, id 9001: sid is no integer",
      "userQuota: table jfs_user_group_quota, qkey 9001: max_space is NULL",
    ]);
    expect(Object.keys(missing)).toEqual(["counter"]);
    expect(others).toEqual({ counter: ["name=nextChunk value=0", "name=usedSpace value=0"] });
  });

  test("tables and columns that are missing are told, those that an old volume never had are not", async () => {
    const [losses, missing, others] = await damagedRows(
      `DROP TABLE jfs_xattr; DROP TABLE jfs_acl; ALTER TABLE jfs_symlink DROP COLUMN target; ALTER TABLE jfs_node DROP COLUMN rdev`,
      "golden/engines/golden-bin.sqlite.db",
    );
    expect(losses).toEqual([
      "acl: table jfs_acl: it does not exist",
      "node: table jfs_node: there is no column rdev, which is taken as 0 in every row",
      "symlink: table jfs_symlink: it has no column target",
      "xattr: table jfs_xattr: it does not exist",
    ]);
    const devices = others.node ?? [];
    expect([devices.length > 0, missing.node?.length]).toEqual([true, devices.length]);
    expect(Object.keys(missing).sort()).toEqual(["acl", "node", "symlink", "xattr"]);
  });
});

const FILES = 20_000;

describe("where pages are damaged, all rows of the others come", () => {
  let volume: { path: string; url: string };
  let whole: Salvaged;
  let pages: ReturnType<typeof pagesOf>;
  beforeAll(async () => {
    volume = largeSqliteVolume(FILES);
    pages = pagesOf(volume.path);
    whole = await readSalvaged(volume.url);
    expect(whole.losses).toEqual([]);
    expect(whole.records.node!.length).toBeGreaterThan(FILES);
  });

  /** The n-th page of a kind. */
  function pageOf(name: string, type: "internal" | "leaf" | "overflow", n: number): number {
    return pages.filter((page) => page.name === name && page.type === type)[n]!.page;
  }

  /** Overwrites pages of a copy and reads that; the copy must stay as it is. */
  async function damaged(numbers: readonly number[], bytes: Buffer = Buffer.alloc(PAGE_BYTES, 0xa5), at = 0) {
    const { path, url } = copySqliteFixture(volume.path);
    const file = openSync(path, "r+");
    for (const number of numbers) writeSync(file, bytes, 0, bytes.length, (number - 1) * PAGE_BYTES + at);
    closeSync(file);
    return { path, ...(await readDamaged(path, url)) };
  }

  async function readDamaged(path: string, url: string) {
    const before = readFileSync(path);
    const after = await readSalvaged(url);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(dirname(path))).toHaveLength(1);
    expect(missingRecords(after, whole)).toEqual({});
    return { losses: after.losses.map((loss) => loss.replaceAll(path, "FILE")), missing: missingRecords(whole, after) };
  }

  function inodesIn(records: readonly string[] = []): bigint[] {
    return records.map((record) => BigInt(/inode=(\d+)/.exec(record)![1]!)).sort((a, b) => Number(a - b));
  }

  test("a leaf of the inodes: the range of inodes that it had is told", async () => {
    const page = pageOf("jfs_node", "leaf", 7);
    const { losses, missing } = await damaged([page]);
    const lost = inodesIn(missing.node);
    expect(Object.keys(missing)).toEqual(["node"]);
    expect(lost.length).toBeGreaterThan(10);
    expect(losses).toEqual([
      `node: table jfs_node, inode ${lost[0]} to ${lost.at(-1)}: page ${page} of FILE is damaged: it is no page of a table`,
    ]);
  });

  test("a part of a leaf: its other rows come", async () => {
    const page = pageOf("jfs_node", "leaf", 7);
    const { losses, missing } = await damaged([page], Buffer.alloc(200, 0xff), 3000);
    const lost = inodesIn(missing.node);
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.length).toBeLessThan(6);
    expect(losses).toEqual([
      expect.stringMatching(
        new RegExp(
          `^node: table jfs_node, inode \\d+ to \\d+: page ${page} of FILE is damaged, ${lost.length} rows of it: its `,
        ),
      ),
    ]);
  });

  test.each(["jfs_node", "jfs_edge", "jfs_chunk", "jfs_xattr"])(
    "the first page of %s: its leaves are found",
    async (table) => {
      const { losses, missing } = await damaged([pageOf(table, "internal", 0)]);
      expect(missing).toEqual({});
      expect(losses).toEqual([
        expect.stringMatching(/, all rows: page \d+ of FILE is damaged: .*; \d+ rows were found elsewhere$/),
      ]);
    },
  );

  test("a leaf of the entries: they are made again from the indexes", async () => {
    const page = pageOf("jfs_edge", "leaf", 5);
    const { losses, missing } = await damaged([page]);
    expect(missing).toEqual({});
    expect(losses).toEqual([
      expect.stringMatching(
        new RegExp(
          `^edge: table jfs_edge, id \\d+ to \\d+: page ${page} of FILE is damaged: .*; \\d+ rows were found elsewhere$`,
        ),
      ),
    ]);
  });

  test("leaves of the entries and of an index: names or directories of those that are lost are told", async () => {
    const byName = await damaged([
      pageOf("jfs_edge", "leaf", 5),
      ...pages.filter(({ name }) => name === "UQE_jfs_edge_edge").map(({ page }) => page),
    ]);
    expect(byName.missing.edge!.length).toBeGreaterThan(10);
    const inode = inodesIn(byName.missing.edge)[0];
    expect(byName.losses).toContainEqual(
      expect.stringMatching(
        new RegExp(`^edge: table jfs_edge, id \\d+, inode ${inode}: the name and the directory are lost$`),
      ),
    );
    const byInode = await damaged([
      pageOf("jfs_edge", "leaf", 5),
      ...pages.filter(({ name }) => name === "IDX_jfs_edge_inode").map(({ page }) => page),
    ]);
    expect(byInode.losses).toContainEqual(
      expect.stringMatching(/^edge \d+: table jfs_edge, id \d+, name .*: the inode is lost$/),
    );
  });

  test("a leaf of the chunks and of the attributes: it is told whose they were", async () => {
    const { losses, missing } = await damaged([pageOf("jfs_chunk", "leaf", 3), pageOf("jfs_xattr", "leaf", 3)]);
    expect(Object.keys(missing).sort()).toEqual(["chunk", "xattr"]);
    for (const inode of inodesIn(missing.chunk)) {
      expect(losses).toContainEqual(
        expect.stringMatching(
          new RegExp(`^chunk ${inode}: table jfs_chunk, id \\d+, indx 0: the row is on a damaged page$`),
        ),
      );
    }
    for (const inode of inodesIn(missing.xattr)) {
      expect(losses).toContainEqual(
        expect.stringMatching(
          new RegExp(`^xattr ${inode}: table jfs_xattr, id \\d+, name user.test: the row is on a damaged page$`),
        ),
      );
    }
  });

  test("a page of a long value: only the row that it belongs to is lost", async () => {
    const page = pageOf("jfs_chunk", "overflow", 1);
    const { losses, missing } = await damaged([page]);
    expect(missing.chunk).toHaveLength(1);
    expect(losses).toEqual([
      expect.stringMatching(/^chunk \d+: table jfs_chunk, id \d+, indx 0: the row is on a damaged page$/),
      expect.stringMatching(
        /^chunk: table jfs_chunk, id \d+: page \d+ of FILE is damaged, 1 row of it: its (page \d+ cannot be read|last page is not one)$/,
      ),
    ]);
  });

  test("pages of indexes: nothing is lost", async () => {
    const numbers = pages.filter(({ name }) => /^(UQE|IDX)_/.test(name)).map(({ page }) => page);
    expect(await damaged(numbers)).toMatchObject({ losses: [], missing: {} });
  });

  test("every tenth page: what is missing was on them, and it takes no longer than pages can be read", async () => {
    const numbers = pages
      .map(({ page }) => page)
      .filter((page) => page > 20 && page % 10 === 0 && !isOf("jfs_setting", page));
    const { losses, missing } = await damaged(numbers);
    const lostPages = losses.filter((loss) => / is damaged/.test(loss));
    expect(lostPages.length).toBeLessThanOrEqual(numbers.length);
    const share = (kind: string): number => (missing[kind]?.length ?? 0) / whole.records[kind]!.length;
    for (const kind of ["node", "chunk", "xattr"])
      expect([kind, share(kind) > 0.02 && share(kind) < 0.2]).toEqual([kind, true]);
  });

  test("a file whose last third is gone", async () => {
    const { path, url } = copySqliteFixture(volume.path);
    truncateSync(path, Math.floor((pageCount(path) * 2) / 3) * PAGE_BYTES + 1000);
    await expect(readSalvaged(url, { salvages: false })).rejects.toThrow(DataError);
    const { losses, missing } = await readDamaged(path, url);
    expect(losses).toContainEqual(
      expect.stringMatching(/^\?: FILE ends after page \d+ of \d+: the rest of the file is missing$/),
    );
    expect(losses).toContainEqual(
      expect.stringMatching(/: page \d+ of FILE is damaged: it is behind the end of the file/),
    );
    expect(missing.node?.length ?? 0).toBeLessThan(whole.records.node!.length);
  });

  function isOf(table: string, page: number): boolean {
    return pages.some((candidate) => candidate.page === page && candidate.name === table);
  }

  test("the setting: nothing can be read, and it is said why", async () => {
    const setting = pages.filter(({ name }) => name === "jfs_setting").map(({ page }) => page);
    await expect(damaged(setting)).rejects.toThrow(
      /^The setting of the volume in sqlite3:\/\/.*, table jfs_setting cannot be read: page \d+ is damaged: it is no page of a table$/,
    );
  });

  test("the head of the file: it is no database", async () => {
    await expect(damaged([1])).rejects.toThrow(/^Cannot read .*: it is no SQLite database/);
  });

  test("a page that describes tables: their rows are known by their form", async () => {
    const schema = pages
      .filter(({ name, type }) => name === "sqlite_schema" && type === "leaf")
      .map(({ page }) => page);
    for (const page of schema) {
      const { losses, missing } = await damaged([page]);
      expect(losses[0]).toBe(`?: page ${page} of FILE, which describes tables, is damaged: it is no page of a table`);
      for (const kind of ["node", "edge", "chunk", "xattr", "symlink", "counter"])
        expect([kind, missing[kind]]).toEqual([kind, undefined]);
    }
  });
});
