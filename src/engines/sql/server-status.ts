import { TRASH_INODE } from "../../volume/inode.ts";
import { packBatch, type RecordBatch } from "../../volume/records.ts";
import { parseSetting } from "../../volume/setting.ts";
import type { SessionDetail, SessionSummary, Tally, VolumeUsage } from "../engine.ts";
import type { SqlSession } from "./catalog.ts";
import { LEGACY_SESSION_SECONDS, LEGACY_SESSION_TABLE } from "./schema.ts";
import { STANDARD_COUNTERS } from "./standard-counters.ts";

/** What `status` shows of a volume on a SQL server (docs/spec/settings.md §7). */

/** A record of delslices: u64 id, u32 size (docs/spec/sql.md §4.4). */
const DELETED_SLICE_BYTES = 12;

/** Sessions, ascending by sid, those of very old clients among them (docs/spec/sql.md §4.7, 8.1). */
export async function readSessions(session: SqlSession): Promise<SessionSummary[]> {
  const found = [...(await selectSessions(session)), ...(await selectLegacySessions(session))];
  return found.sort((a, b) => (a.sid < b.sid ? -1 : 1));
}

export type SessionRow = [sid: bigint, expire: bigint, info: Buffer | null];

async function selectSessions(session: SqlSession, where: string = ""): Promise<SessionSummary[]> {
  const { catalog } = session;
  if (!catalog.has("session2")) return [];
  const query = `SELECT sid, expire, info FROM ${catalog.table("session2")}${where}`;
  return (await session.rows<SessionRow>(query)).map(toSession);
}

async function selectLegacySessions(session: SqlSession, where: string = ""): Promise<SessionSummary[]> {
  const { catalog } = session;
  if (!catalog.hasColumn(LEGACY_SESSION_TABLE, "heartbeat")) return [];
  const query = `SELECT sid, heartbeat, info FROM ${catalog.table(LEGACY_SESSION_TABLE)}${where}`;
  return (await session.rows<SessionRow>(query)).map(toLegacySession);
}

/** One session with the deleted files it keeps open and its locks, undefined when there is none. */
export async function readSessionDetail(session: SqlSession, sid: bigint): Promise<SessionDetail | undefined> {
  const { catalog } = session;
  const where = ` WHERE sid = ${BigInt.asIntN(64, sid)}`;
  const select = async <T extends unknown[]>(table: string, columns: string, order: string): Promise<T[]> => {
    if (!catalog.has(table)) return [];
    return session.rows<T>(`SELECT ${columns} FROM ${catalog.table(table)}${where} ORDER BY ${order}`);
  };
  const found = (await selectSessions(session, where))[0] ?? (await selectLegacySessions(session, where))[0];
  if (found === undefined) return undefined;
  const sustained = await select<[bigint]>("sustained", "inode", "id");
  const flocks = await select<[bigint, bigint, bigint]>("flock", "inode, owner, ltype", "id");
  const plocks = await select<[bigint, bigint, Buffer]>("plock", "inode, owner, records", "id");
  return {
    ...found,
    sustained: sustained.map(([inode]) => unsigned(inode)),
    flocks: flocks.map(([inode, owner, type]) => ({
      inode: unsigned(inode),
      owner: unsigned(owner),
      type: String.fromCharCode(Number(type) & 0xff),
    })),
    plocks: plocks.map(([inode, owner, records]) => ({ inode: unsigned(inode), owner: unsigned(owner), records })),
  };
}

export function toSession([sid, expire, info]: SessionRow): SessionSummary {
  return { sid: unsigned(sid), expire, info: info === null || info.length === 0 ? undefined : info.toString() };
}

/** A session without information is shown with empty members. */
export function toLegacySession([sid, heartbeat, info]: SessionRow): SessionSummary {
  const text = info?.toString() ?? "";
  return { sid: unsigned(sid), expire: heartbeat + LEGACY_SESSION_SECONDS, info: text === "" ? "{}" : text };
}

/** All counters by name, those that a volume always has with 0 where they are missing. */
export async function readCounters(session: SqlSession): Promise<Map<string, bigint>> {
  const counters = new Map(STANDARD_COUNTERS.map((name) => [name, 0n]));
  if (session.catalog.has("counter")) {
    const query = `SELECT name, value FROM ${session.catalog.table("counter")}`;
    for (const [name, value] of await session.rows<[string, bigint]>(query)) counters.set(name, value);
  }
  return counters;
}

/** All counters, with the last version of the change log where there is one (docs/spec/sql.md §10.3). */
export async function readCounterBatch(session: SqlSession, setting: Buffer): Promise<RecordBatch> {
  const counters = await readCounters(session);
  counters.delete("lastChangelog"); // a row of this name comes from a load of the reference and counts nothing
  if (parseSetting(setting).changeLog && session.catalog.has("change_log")) {
    const query = `SELECT coalesce(max(id), 0) FROM ${session.catalog.table("change_log")}`;
    const version = (await session.rows<[bigint]>(query))[0]![0];
    if (version !== 0n) counters.set("lastChangelog", version);
  }
  return packBatch(
    "counter",
    [...counters].map(([name, value]) => ({ name, value })),
  );
}

/** The counters that `status` shows. */
export async function readUsageCounters(session: SqlSession): Promise<VolumeUsage> {
  const counters = await readCounters(session);
  return { usedSpace: counters.get("usedSpace")!, totalInodes: counters.get("totalInodes")! };
}

type PendingUsage = Required<
  Pick<VolumeUsage, "trashFiles" | "pendingDeletedFiles" | "trashSlices" | "pendingDeletedSlices">
>;

/**
 * What waits for deletion, counted as `status --more` counts it (docs/spec/settings.md §7): in the trash every entry of an
 * hour directory whose inode exists, whatever its type, and the bytes of regular files. `delayed` gives the slice lists of
 * delslices, which may be many.
 */
export async function readPendingUsage(
  session: SqlSession,
  delayed: () => AsyncIterable<Buffer>,
): Promise<PendingUsage> {
  const { catalog } = session;
  const tally = async (tables: string[], query: string): Promise<Tally> => {
    if (!tables.every((table) => catalog.has(table))) return { count: 0n, bytes: 0n };
    const [count, bytes] = (await session.rows<[bigint, bigint | null]>(query))[0]!;
    return { count, bytes: bytes ?? 0n };
  };
  const [edge, node] = [catalog.table("edge"), catalog.table("node")];
  return {
    trashFiles: await tally(
      ["edge", "node"],
      `SELECT count(*), sum(CASE WHEN n.type = 1 THEN n.length ELSE 0 END) FROM ${edge} h
         JOIN ${edge} e ON e.parent = h.inode JOIN ${node} n ON n.inode = e.inode
        WHERE h.parent = ${TRASH_INODE} AND h.type = 2`,
    ),
    pendingDeletedFiles: await tally(["delfile"], `SELECT count(*), sum(length) FROM ${catalog.table("delfile")}`),
    trashSlices: await tallySlices(catalog.has("delslices") ? delayed() : []),
    pendingDeletedSlices: await tally(
      ["chunk_ref"],
      `SELECT count(*), sum(size) FROM ${catalog.table("chunk_ref")} WHERE refs <= 0`,
    ),
  };
}

/** A list of an impossible length counts nothing, as in the reference. */
async function tallySlices(lists: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<Tally> {
  let count = 0n;
  let bytes = 0n;
  for await (const slices of lists) {
    if (slices.length % DELETED_SLICE_BYTES !== 0) continue;
    for (let at = 8; at < slices.length; at += DELETED_SLICE_BYTES) {
      bytes += BigInt(slices.readUInt32BE(at));
      count++;
    }
  }
  return { count, bytes };
}

function unsigned(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}
