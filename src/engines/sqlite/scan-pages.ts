import type { Connection } from "./sqlite-connection.ts";
import type { Catalog } from "./sqlite-schema.ts";
import type { TableScan } from "./table-scan.ts";
import { packedRow } from "./table-scans.ts";

/** Bytes that hold `rows` packed rows. */
export interface PackedPage {
  readonly bytes: Buffer;
  readonly rows: number;
}

/** Rows per page: more gains nothing, and a page of the largest inline values stays at 16 MiB. */
const PAGE_ROWS = 1000;
/** Inodes with several entries are looked for in so many entries at once. */
const PARENT_WINDOW = 20_000;

const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;

/** The rows of a table. */
export function* scanTable(db: Connection, catalog: Catalog, scan: TableScan): Generator<PackedPage> {
  const query = pageQuery(catalog, scan);
  if (query !== undefined) {
    yield* queryPages(db, query);
    return;
  }
  const table = catalog.table(scan.table);
  for (const where of scan.where ?? ["1"]) {
    yield* scanRows(db, `SELECT CAST(${packedRow(scan)} AS BLOB) FROM ${table} t WHERE ${where}`);
  }
}

/** The rows that belong to the inodes of table `subtree`, which numbers them by rowid. */
export function* scanSubtree(
  db: Connection,
  catalog: Catalog,
  scan: TableScan,
  subtree: string,
): Generator<PackedPage> {
  // CROSS JOIN fixes the order of the loops: inode by inode, each found by index.
  const from = `${subtree} s CROSS JOIN ${catalog.table(scan.table)} t ON t.${scan.inode} = s.inode`;
  yield* scanRows(db, `SELECT CAST(${packedRow(scan)} AS BLOB) FROM ${from}`);
}

/** The query for one page from a key on, for `queryPages`; undefined when the rows of the table have no key. */
export function pageQuery(catalog: Catalog, scan: TableScan): string | undefined {
  const { key } = scan;
  if (key === undefined) return undefined;
  const rows = `SELECT t.${key} AS k, ${packedRow(scan)} AS x FROM ${catalog.table(scan.table)} t`;
  return `SELECT CAST(group_concat(x, ' ') AS BLOB), count(*), max(k)
            FROM (${rows} WHERE t.${key} >= ? ORDER BY t.${key} LIMIT ${PAGE_ROWS})`;
}

/** All pages of a `pageQuery`. */
export function* queryPages(db: Connection, query: string): Generator<PackedPage> {
  const page = db.prepare(query).raw();
  let from = SMALLEST;
  for (;;) {
    const [bytes, count, last] = page.get(from) as [Buffer | null, bigint, bigint | null];
    if (bytes === null || last === null) return;
    yield { bytes, rows: Number(count) };
    if (Number(count) < PAGE_ROWS || last === LARGEST) return;
    from = last + 1n;
  }
}

function* scanRows(db: Connection, query: string): Generator<PackedPage> {
  for (const bytes of db.prepare(query).pluck().iterate()) yield { bytes: bytes as Buffer, rows: 1 };
}

/** inode, parent and number of entries of every inode that has more than one entry. */
export function* scanParents(db: Connection, catalog: Catalog): Generator<PackedPage> {
  const edge = catalog.table("edge");
  const windowEnd = db
    .prepare(`SELECT inode FROM ${edge} WHERE inode >= ? ORDER BY inode LIMIT 1 OFFSET ${PARENT_WINDOW}`)
    .pluck();
  const page = db
    .prepare(
      `SELECT CAST(group_concat(x, ' ') AS BLOB), count(*) FROM (
         SELECT concat_ws(' ', e.inode, e.parent, count(*)) AS x
           FROM (SELECT inode FROM ${edge} WHERE inode BETWEEN ? AND ? GROUP BY inode HAVING count(*) > 1) m
           CROSS JOIN ${edge} e ON e.inode = m.inode GROUP BY e.inode, e.parent)`,
    )
    .raw();
  let from: bigint | undefined = SMALLEST;
  while (from !== undefined) {
    const end: bigint = (windowEnd.get(from) as bigint | undefined) ?? LARGEST;
    const [bytes, count] = page.get(from, end) as [Buffer | null, bigint];
    if (bytes !== null) yield { bytes, rows: Number(count) };
    from = end === LARGEST ? undefined : end + 1n;
  }
}

/** The same for the inodes of table `subtree`. */
export function* scanSubtreeParents(db: Connection, catalog: Catalog, subtree: string): Generator<PackedPage> {
  const edge = catalog.table("edge");
  yield* scanRows(
    db,
    `SELECT CAST(concat_ws(' ', s.inode, e.parent, count(*)) AS BLOB)
       FROM ${subtree} s CROSS JOIN ${edge} e ON e.inode = s.inode
      WHERE (SELECT count(*) FROM ${edge} x WHERE x.inode = s.inode) > 1 GROUP BY s.seq, e.parent`,
  );
}
