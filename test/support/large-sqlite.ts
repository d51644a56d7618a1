import { statSync } from "node:fs";
import Database from "better-sqlite3";
import { copySqliteFixture } from "./sqlite-fixture.ts";

const FIRST_INODE = 100_000;
const DIRECTORY_FILES = 500;

/**
 * A volume with `files` more files than the golden one, each with an entry, a chunk and an attribute, in one file without -wal. Some
 * lists of slices are longer than a page.
 */
export function largeSqliteVolume(files: number): { path: string; url: string } {
  const volume = copySqliteFixture("golden/native/natsqlite.sqlite.db");
  const db = new Database(volume.path);
  const inodes = `WITH RECURSIVE n(i) AS (SELECT ${FIRST_INODE} UNION ALL SELECT i + 1 FROM n WHERE i < ${FIRST_INODE + files - 1})`;
  const isDirectory = `(i % ${DIRECTORY_FILES} = 0)`;
  const parent = `iif(${isDirectory}, 1, i / ${DIRECTORY_FILES} * ${DIRECTORY_FILES})`;
  db.exec(`
    ${inodes} INSERT INTO jfs_node SELECT i, iif(${isDirectory}, 2, 1), 0, 420, 1000, 1000, 1700000000123456, 1700000000123456,
      1700000000123456, 789, 789, 789, 1, 4096, 0, ${parent}, 0, 0, 0 FROM n;
    ${inodes} INSERT INTO jfs_edge (parent, name, inode, type)
      SELECT ${parent}, CAST('a name of some length ' || i AS BLOB), i, iif(${isDirectory}, 2, 1) FROM n;
    ${inodes} INSERT INTO jfs_chunk (inode, indx, slices)
      SELECT i, 0, zeroblob(24 * iif(i % 300 = 7, 400, 1)) FROM n WHERE NOT ${isDirectory};
    ${inodes} INSERT INTO jfs_xattr (inode, name, value) SELECT i, 'user.test', CAST('value ' || i AS BLOB) FROM n WHERE i % 4 = 1;
    PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE; VACUUM; PRAGMA journal_mode = WAL;`);
  db.close();
  return volume;
}

/** What each page of a database is for: name of the table or index, and the kind of page. Pages without use are not in it. */
export function pagesOf(path: string): { page: number; name: string; type: "internal" | "leaf" | "overflow" }[] {
  const db = new Database(path, { readonly: true });
  try {
    const query = "SELECT pageno AS page, name, pagetype AS type FROM dbstat ORDER BY path";
    return db.prepare(query).all() as ReturnType<typeof pagesOf>;
  } finally {
    db.close();
  }
}

export const PAGE_BYTES = 4096;

export function pageCount(path: string): number {
  return statSync(path).size / PAGE_BYTES;
}
