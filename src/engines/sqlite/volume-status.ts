import { TRASH_INODE } from "../../volume/inode.ts";
import type { SessionDetail, SessionSummary, Tally, VolumeUsage } from "../engine.ts";
import { LEGACY_SESSION_TABLE } from "../sql/schema.ts";
import { type SessionRow, toLegacySession, toSession } from "../sql/server-status.ts";
import type { Connection } from "./sqlite-connection.ts";
import type { Catalog } from "./sqlite-schema.ts";

/** A record of delslices: u64 id, u32 size (docs/spec/sql.md §4.4). */
const DELETED_SLICE_BYTES = 12;

/** Sessions, ascending by sid, those of very old clients among them (docs/spec/sql.md §4.7, 8.1). */
export function readSessions(db: Connection, catalog: Catalog): SessionSummary[] {
  return selectSessions(db, catalog, "", []).sort((a, b) => (a.sid < b.sid ? -1 : 1));
}

function selectSessions(db: Connection, catalog: Catalog, where: string, values: readonly bigint[]): SessionSummary[] {
  const select = (table: string, expire: string): SessionRow[] => {
    if (!catalog.has(table)) return [];
    const query = `SELECT sid, ${expire}, CAST(info AS BLOB) FROM ${catalog.table(table)}${where}`;
    return rows<SessionRow>(db, query, ...values);
  };
  return [
    ...select("session2", "expire").map(toSession),
    ...select(LEGACY_SESSION_TABLE, "heartbeat").map(toLegacySession),
  ];
}

/** One session with the deleted files it keeps open and its locks, undefined when there is none. */
export function readSessionDetail(db: Connection, catalog: Catalog, sid: bigint): SessionDetail | undefined {
  const key = BigInt.asIntN(64, sid);
  const select = <T>(table: string, columns: string): T[] => {
    if (!catalog.has(table)) return [];
    return rows<T>(db, `SELECT ${columns} FROM ${catalog.table(table)} WHERE sid = ? ORDER BY rowid`, key);
  };
  const session = selectSessions(db, catalog, " WHERE sid = ?", [key])[0];
  if (session === undefined) return undefined;
  return {
    ...session,
    sustained: select<[bigint]>("sustained", "inode").map(([inode]) => unsigned(inode)),
    flocks: select<[bigint, bigint, bigint]>("flock", "inode, owner, ltype").map(([inode, owner, type]) => ({
      inode: unsigned(inode),
      owner: unsigned(owner),
      type: String.fromCharCode(Number(type) & 0xff),
    })),
    plocks: select<[bigint, bigint, Buffer]>("plock", "inode, owner, CAST(records AS BLOB)").map(
      ([inode, owner, records]) => ({ inode: unsigned(inode), owner: unsigned(owner), records }),
    ),
  };
}

/** The counters that `status` shows. */
export function readUsageCounters(db: Connection, catalog: Catalog): VolumeUsage {
  const counter = (name: string): bigint => {
    if (!catalog.has("counter")) return 0n;
    const query = `SELECT CAST(value AS INTEGER) FROM ${catalog.table("counter")} WHERE name = ?`;
    return rows<[bigint]>(db, query, name)[0]?.[0] ?? 0n;
  };
  return {
    usedSpace: counter("usedSpace"),
    totalInodes: counter("totalInodes"),
  };
}

type PendingUsage = Required<
  Pick<VolumeUsage, "trashFiles" | "pendingDeletedFiles" | "trashSlices" | "pendingDeletedSlices">
>;

/**
 * What waits for deletion, counted as `status --more` counts it (docs/spec/settings.md §7): in the trash every entry of an
 * hour directory whose inode exists, whatever its type, and the bytes of regular files.
 */
export function readPendingUsage(db: Connection, catalog: Catalog): PendingUsage {
  const tally = (tables: string[], query: string, ...values: unknown[]): Tally => {
    if (!tables.every((table) => catalog.has(table))) return { count: 0n, bytes: 0n };
    const [count, bytes] = rows<[bigint, bigint | null]>(db, query, ...values)[0]!;
    return { count, bytes: bytes ?? 0n };
  };
  const [edge, node] = [catalog.table("edge"), catalog.table("node")];
  return {
    trashFiles: tally(
      ["edge", "node"],
      `SELECT count(*), sum(iif(n.type = 1, n.length, 0)) FROM ${edge} h
         CROSS JOIN ${edge} e ON e.parent = h.inode CROSS JOIN ${node} n ON n.inode = e.inode
        WHERE h.parent = ? AND h.type = 2`,
      TRASH_INODE,
    ),
    pendingDeletedFiles: tally(["delfile"], `SELECT count(*), sum(length) FROM ${catalog.table("delfile")}`),
    trashSlices: trashSlices(db, catalog),
    pendingDeletedSlices: tally(
      ["chunk_ref"],
      `SELECT count(*), sum(size) FROM ${catalog.table("chunk_ref")} WHERE refs <= 0`,
    ),
  };
}

/** A row of an impossible length counts nothing, as in the reference. */
function trashSlices(db: Connection, catalog: Catalog): Tally {
  let count = 0n;
  let bytes = 0n;
  if (!catalog.has("delslices")) return { count, bytes };
  const query = db.prepare(`SELECT CAST(slices AS BLOB) FROM ${catalog.table("delslices")}`).pluck();
  for (const slices of query.iterate() as IterableIterator<Buffer>) {
    if (slices.length % DELETED_SLICE_BYTES !== 0) continue;
    for (let at = 8; at < slices.length; at += DELETED_SLICE_BYTES) {
      bytes += BigInt(slices.readUInt32BE(at));
      count++;
    }
  }
  return { count, bytes };
}

function rows<T>(db: Connection, query: string, ...values: unknown[]): T[] {
  return db
    .prepare(query)
    .raw()
    .all(...values) as T[];
}

function unsigned(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}
