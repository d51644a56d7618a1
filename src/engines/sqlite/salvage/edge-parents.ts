import Database from "better-sqlite3";
import { BatchBuilder, type RecordBatch } from "../../../volume/records.ts";

/** Counts the places of inodes in a file of SQLite's own, which has no name: memory stays bounded. Close it in any case. */
export class EdgeParents {
  readonly #db: Database.Database = new Database("");
  readonly #add: Database.Statement;

  constructor() {
    this.#db.defaultSafeIntegers(true);
    this.#db.exec("PRAGMA journal_mode = OFF; CREATE TABLE place (inode INTEGER, parent INTEGER); BEGIN");
    this.#add = this.#db.prepare("INSERT INTO place VALUES (?, ?)");
  }

  /** A batch of entries (volume/records.ts), which stays the caller's. */
  add({ bytes, count }: RecordBatch): void {
    for (let i = 0, at = 0; i < count; i++) {
      this.#add.run(bytes.readBigInt64BE(at + 8), bytes.readBigInt64BE(at));
      at += 19 + bytes.readUInt16BE(at + 17);
    }
  }

  /** The `parent` records of the inodes with more than one place. */
  *batches(): Generator<RecordBatch> {
    const out = new BatchBuilder("parent");
    const query = `SELECT p.inode, p.parent, count(*)
                     FROM place p JOIN (SELECT inode FROM place GROUP BY inode HAVING count(*) > 1) m ON m.inode = p.inode
                    GROUP BY p.inode, p.parent`;
    for (const row of this.#db.prepare(query).raw().iterate() as IterableIterator<[bigint, bigint, bigint]>) {
      for (const value of row) out.writer.writeU64(value);
      const batch = out.commit() ? out.take() : undefined;
      if (batch !== undefined) yield batch;
    }
    const last = out.take();
    if (last !== undefined) yield last;
  }

  close(): void {
    this.#db.close();
  }
}
