import type { Connection } from "./sqlite-connection.ts";
import type { Catalog } from "./sqlite-schema.ts";

/** The table that `collectSubtree` fills: `seq` from 1, `inode`. Temporary tables live in a file of SQLite's own. */
export const SUBTREE_TABLE = "temp.decant_subtree";

/** At most so many entries are followed in one step, so that the process stays responsive. */
const STEP_ENTRIES = 20_000;
const STEP_INODES = 500n;

/**
 * Lists the inodes of the tree below `root`, itself included, each once whatever its number of places, in a temporary
 * table: memory stays bounded however large the tree is. Yields after each step.
 */
export function* collectSubtree(db: Connection, catalog: Catalog, root: bigint): Generator<undefined> {
  const edge = catalog.table("edge");
  db.exec(`CREATE TABLE ${SUBTREE_TABLE} (seq INTEGER PRIMARY KEY, inode INTEGER NOT NULL UNIQUE)`);
  db.prepare(`INSERT INTO ${SUBTREE_TABLE} (inode) VALUES (?)`).run(BigInt.asIntN(64, root));
  const last = db.prepare(`SELECT max(seq) FROM ${SUBTREE_TABLE}`).pluck();
  const children = `FROM ${SUBTREE_TABLE} s CROSS JOIN ${edge} e ON e.parent = s.inode WHERE s.seq BETWEEN ? AND ?`;
  const count = db.prepare(`SELECT count(*) FROM (SELECT 1 ${children} LIMIT ${STEP_ENTRIES + 1})`).pluck();
  const add = db.prepare(`INSERT OR IGNORE INTO ${SUBTREE_TABLE} (inode) SELECT e.inode ${children}`);
  let from = 1n;
  let inodes = STEP_INODES;
  for (let end = 1n; from <= end; end = last.get() as bigint) {
    const to = from + inodes - 1n < end ? from + inodes - 1n : end;
    if ((count.get(from, to) as bigint) <= STEP_ENTRIES) {
      add.run(from, to);
      from = to + 1n;
      inodes = STEP_INODES;
    } else if (to > from) {
      inodes /= 2n;
    } else {
      yield* addLargeDirectory(db, edge, from);
      from++;
    }
    yield undefined;
  }
}

/** Adds the entries of one directory by and by, in the order of their names. */
function* addLargeDirectory(db: Connection, edge: string, seq: bigint): Generator<undefined> {
  const parent = db.prepare(`SELECT inode FROM ${SUBTREE_TABLE} WHERE seq = ?`).pluck().get(seq);
  const after = `FROM ${edge} WHERE parent = ? AND (? IS NULL OR name > ?)`;
  const boundary = db.prepare(`SELECT name ${after} ORDER BY name LIMIT 1 OFFSET ${STEP_ENTRIES - 1}`).pluck();
  const add = db.prepare(
    `INSERT OR IGNORE INTO ${SUBTREE_TABLE} (inode) SELECT inode ${after} AND (? IS NULL OR name <= ?)`,
  );
  let low: unknown = null;
  for (;;) {
    const high: unknown = boundary.get(parent, low, low) ?? null;
    add.run(parent, low, low, high, high);
    if (high === null) return;
    low = high;
    yield undefined;
  }
}
