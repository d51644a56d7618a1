import type { SessionDetail, SessionSummary } from "../engine.ts";
import { parseUnsigned, toBigInt, type U64 } from "./decimal.ts";
import { wholeSeconds } from "./rare-records.ts";

/** Who answers the few commands that are needed: a server, or what was found in a file. */
export interface SessionSource {
  call(command: readonly (string | Buffer)[]): Promise<unknown>;
}

/** The lists of versions before 1.0-beta3 hold the last heartbeat instead (docs/spec/redis.md §9.1); never prefixed. */
const LEGACY_KEY = Buffer.from("sessions");
const LEGACY_LIFETIME_SECONDS = 300n;

/** Owner of a lock: `<sid>_<16 upper-case hex digits>` (docs/spec/redis.md §9.3). */
const LOCK_OWNER = /^([0-9]+)_([0-9A-Fa-f]{1,16})$/;
const LOCK_KEY = /^lock([fp])([0-9]+)$/;

/** Registered sessions, ascending by number. */
export async function readSessions(connection: SessionSource, prefix: Buffer): Promise<SessionSummary[]> {
  const sessions = new Map<bigint, bigint>();
  // In a cluster the unprefixed key is on another node, if there is one at all.
  for (const [member, score] of prefix.length > 0 ? [] : await readScores(connection, LEGACY_KEY)) {
    addSession(sessions, member, wholeSeconds(score) + LEGACY_LIFETIME_SECONDS);
  }
  for (const [member, score] of await readScores(connection, keyOf(prefix, "allSessions"))) {
    addSession(sessions, member, wholeSeconds(score));
  }
  const sids = [...sessions.keys()].sort((a, b) => (a < b ? -1 : 1));
  if (sids.length === 0) return [];
  const infos = (await connection.call([
    "HMGET",
    keyOf(prefix, "sessionInfos"),
    ...sids.map(String),
  ])) as (Buffer | null)[];
  return sids.map((sid, i) => ({ sid, expire: sessions.get(sid)!, info: infos[i]?.toString() }));
}

async function readScores(connection: SessionSource, key: Buffer): Promise<[Buffer, Buffer][]> {
  const items = (await connection.call(["ZRANGE", key, "0", "-1", "WITHSCORES"])) as Buffer[];
  return Array.from({ length: items.length / 2 }, (_, i) => [items[i * 2]!, items[i * 2 + 1]!]);
}

function addSession(sessions: Map<bigint, bigint>, member: Buffer, expire: bigint): void {
  for (const sid of parseNumber(member)) sessions.set(sid, expire);
}

/** The number, or nothing for what is none. */
function parseNumber(text: Buffer): bigint[] {
  const number: U64 = { hi: 0, lo: 0 };
  return parseUnsigned(text, 0, text.length, number) ? [toBigInt(number.hi, number.lo)] : [];
}

/** One session and what it holds. */
export async function findSession(
  connection: SessionSource,
  prefix: Buffer,
  sid: bigint,
): Promise<SessionDetail | undefined> {
  const summary = (await readSessions(connection, prefix)).find((session) => session.sid === sid);
  if (summary === undefined) return undefined;
  const members = (await connection.call(["SMEMBERS", keyOf(prefix, `session${sid}`)])) as Buffer[];
  const sustained = members.flatMap(parseNumber).sort((a, b) => (a < b ? -1 : 1));
  return { ...summary, sustained, ...(await readLocks(connection, prefix, sid)) };
}

async function readLocks(
  connection: SessionSource,
  prefix: Buffer,
  sid: bigint,
): Promise<Pick<SessionDetail, "flocks" | "plocks">> {
  const flocks: { inode: bigint; owner: bigint; type: string }[] = [];
  const plocks: { inode: bigint; owner: bigint; records: Buffer }[] = [];
  const keys = (await connection.call(["SMEMBERS", keyOf(prefix, `locked${sid}`)])) as Buffer[];
  for (const key of keys.sort(Buffer.compare)) {
    // The members carry the prefix themselves.
    const match = LOCK_KEY.exec(key.toString("latin1", prefix.length));
    if (match === null) continue;
    const inode = BigInt(match[2]!);
    const fields = (await connection.call(["HGETALL", key])) as Buffer[];
    for (let i = 0; i < fields.length; i += 2) {
      const owner = LOCK_OWNER.exec(fields[i]!.toString("latin1"));
      if (owner === null || BigInt(owner[1]!) !== sid) continue;
      const holder = { inode, owner: BigInt(`0x${owner[2]}`) };
      if (match[1] === "f") flocks.push({ ...holder, type: fields[i + 1]!.toString("latin1") });
      else plocks.push({ ...holder, records: fields[i + 1]! });
    }
  }
  return { flocks, plocks };
}

function keyOf(prefix: Buffer, name: string): Buffer {
  return Buffer.concat([prefix, Buffer.from(name)]);
}
