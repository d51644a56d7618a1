import { InodeSet } from "../../tree/inode-set.ts";
import { FileType } from "../../volume/file-type.ts";
import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import type { SqlCatalog } from "./catalog.ts";
import type { TableScan } from "./table-scans.ts";

/** Directories whose entries are asked for in one statement. */
const DIRECTORIES_PER_QUERY = 500;
/** Entries per statement: their inodes wait in memory until all that belongs to them was read. */
const ENTRIES_PER_PAGE = 20_000;
const INODES_PER_QUERY = 1000;

const INODE_BYTES = 8;

export interface SubtreeSource {
  readonly catalog: SqlCatalog;
  /** The scans of this database (table-scans.ts). */
  readonly scans: readonly TableScan[];
  /** A byte string as a literal. */
  bytesLiteral(bytes: Buffer): string;
  /** The records of the rows that meet a condition, with what follows the condition. */
  read(scan: TableScan, condition: string): AsyncGenerator<RecordBatch>;
  /** The `parent` records of inodes with several entries that meet a condition. */
  readParents(condition: string): AsyncGenerator<RecordBatch>;
}

/**
 * The records of the inodes below `root`, itself included, each once whatever its number of places: directory by directory
 * through the indexes, a page of entries at a time, so that no directory is too large. Only statements that read, since in a
 * snapshot's transaction others would see newer rows.
 */
export async function* readSubtree(
  source: SubtreeSource,
  kinds: ReadonlySet<RecordKind>,
  root: bigint,
): AsyncGenerator<RecordBatch> {
  const scans = source.scans.filter(({ kind, inode }) => inode !== undefined && kind !== "edge" && kinds.has(kind));
  const edges = source.scans.find(({ kind }) => kind === "edge");
  const seen = new InodeSet();
  const first = Buffer.alloc(INODE_BYTES);
  first.writeBigUInt64BE(root);
  seen.add(first, 0);
  yield* readInodes(source, scans, kinds, [root]);
  if (edges === undefined) return;
  let waiting = [root];
  while (waiting.length > 0) {
    const group = waiting.splice(-DIRECTORIES_PER_QUERY).map((inode) => BigInt.asIntN(64, inode));
    for (let condition: string | undefined = entriesOf(group); condition !== undefined; ) {
      const page = new EntryPage(seen);
      for await (const batch of source.read(edges, condition)) {
        page.add(batch);
        if (kinds.has("edge")) yield batch;
      }
      yield* readInodes(source, scans, kinds, page.inodes);
      waiting = waiting.concat(page.directories);
      condition = page.count < ENTRIES_PER_PAGE ? undefined : entriesAfter(source, group, page);
    }
  }
}

async function* readInodes(
  source: SubtreeSource,
  scans: readonly TableScan[],
  kinds: ReadonlySet<RecordKind>,
  inodes: readonly bigint[],
): AsyncGenerator<RecordBatch> {
  for (let i = 0; i < inodes.length; i += INODES_PER_QUERY) {
    const list = inodes.slice(i, i + INODES_PER_QUERY).map((inode) => BigInt.asIntN(64, inode));
    const condition = `inode IN (${list.join(",")})`;
    for (const scan of scans) yield* source.read(scan, condition);
    if (kinds.has("parent")) yield* source.readParents(condition);
  }
}

const PAGE_ORDER = `ORDER BY parent, name LIMIT ${ENTRIES_PER_PAGE}`;

function entriesOf(directories: readonly bigint[]): string {
  return `parent IN (${directories.join(",")}) ${PAGE_ORDER}`;
}

/** The entries behind the last one of a page: of the same directory, and of the directories that come later. */
function entriesAfter(source: SubtreeSource, group: readonly bigint[], page: EntryPage): string {
  const last = BigInt.asIntN(64, page.lastParent);
  const rest = `(parent = ${last} AND name > ${source.bytesLiteral(page.lastName)})`;
  const later = group.filter((inode) => inode > last);
  const condition = later.length === 0 ? rest : `(${rest} OR parent IN (${later.join(",")}))`;
  return `${condition} ${PAGE_ORDER}`;
}

/** What must be remembered of one page of entries. Layout of `edge` records: volume/records.ts. */
class EntryPage {
  readonly inodes: bigint[] = [];
  readonly directories: bigint[] = [];
  count = 0;
  lastParent = 0n;
  lastName: Buffer = Buffer.alloc(0);
  readonly #seen: InodeSet;

  constructor(seen: InodeSet) {
    this.#seen = seen;
  }

  add({ bytes, count }: RecordBatch): void {
    this.count += count;
    let last = 0;
    for (let i = 0, at = 0; i < count; i++) {
      last = at;
      if (!this.#seen.add(bytes, at + 8)) {
        const inode = bytes.readBigUInt64BE(at + 8);
        this.inodes.push(inode);
        if (bytes[at + 16] === FileType.directory) this.directories.push(inode);
      }
      at += 19 + bytes.readUInt16BE(at + 17);
    }
    this.lastParent = bytes.readBigUInt64BE(last);
    this.lastName = Buffer.from(bytes.subarray(last + 19, last + 19 + bytes.readUInt16BE(last + 17)));
  }
}

/**
 * inode, parent and number of entries of every inode that has more than one entry; `condition` names the inodes to look at.
 */
export function parentsQuery(catalog: SqlCatalog, condition?: string): string {
  const edge = catalog.table("edge");
  const where = condition === undefined ? "" : ` WHERE ${condition}`;
  return `SELECT e.inode, e.parent, count(*)
            FROM (SELECT inode FROM ${edge}${where} GROUP BY inode HAVING count(*) > 1) m
            JOIN ${edge} e ON e.inode = m.inode GROUP BY e.inode, e.parent`;
}
