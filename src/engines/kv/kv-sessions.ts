import type { SessionDetail, SessionSummary } from "../engine.ts";
import { numberKey, prefixRange } from "./kv-keys.ts";
import { scanPairs } from "./kv-page.ts";
import type { KvSnapshot } from "./kv-store.ts";

/** `SE`, `SH`, `SI` and a number. */
const SESSION_KEY_BYTES = 10;
const SUSTAINED_KEY_BYTES = 18;
/** `F` or `P` and an inode. */
const LOCK_KEY_BYTES = 9;

/** Clients before 1.0-beta3 keep the last heartbeat instead of the expiry (docs/spec/kv.md §3). */
const LEGACY_LIFETIME_SECONDS = 300n;

const FLOCK_BYTES = 17;
/** sid, owner, size of the records that follow. */
const PLOCK_HEADER = 20;

/** Sessions, ascending by number (docs/spec/kv.md §5.9). */
export async function readSessions(snapshot: KvSnapshot): Promise<SessionSummary[]> {
  const expires = new Map<bigint, bigint>();
  const read = async (prefix: string, more: bigint): Promise<void> => {
    for await (const [key, value] of scanPairs(snapshot, prefixRange(prefix))) {
      if (key.length !== SESSION_KEY_BYTES || value.length !== 8) continue;
      expires.set(key.readBigUInt64BE(2), value.readBigInt64BE() + more);
    }
  };
  await read("SH", LEGACY_LIFETIME_SECONDS);
  await read("SE", 0n);
  const infos = new Map<bigint, string>();
  for await (const [key, value] of scanPairs(snapshot, prefixRange("SI"))) {
    if (key.length === SESSION_KEY_BYTES) infos.set(key.readBigUInt64BE(2), value.toString());
  }
  return [...expires]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([sid, expire]) => ({ sid, expire, info: infos.get(sid) }));
}

/** One session with the deleted files it keeps open and its locks; undefined when there is none of that number. */
export async function findSession(snapshot: KvSnapshot, sid: bigint): Promise<SessionDetail | undefined> {
  const summary = (await readSessions(snapshot)).find((session) => session.sid === sid);
  if (summary === undefined) return undefined;
  const sustained: bigint[] = [];
  for await (const [key] of scanPairs(snapshot, prefixRange(numberKey("SS", sid)))) {
    if (key.length === SUSTAINED_KEY_BYTES) sustained.push(key.readBigUInt64LE(10));
  }
  sustained.sort((a, b) => (a < b ? -1 : 1));
  return { ...summary, sustained, flocks: await readFlocks(snapshot, sid), plocks: await readPlocks(snapshot, sid) };
}

/** Records of 17 bytes: sid, owner, `R` or `W` (docs/spec/kv.md §5.8). */
async function readFlocks(snapshot: KvSnapshot, sid: bigint): Promise<SessionDetail["flocks"]> {
  const locks: { inode: bigint; owner: bigint; type: string }[] = [];
  for await (const [inode, value] of lockValues(snapshot, "F")) {
    for (let at = 0; at + FLOCK_BYTES <= value.length; at += FLOCK_BYTES) {
      if (value.readBigUInt64BE(at) !== sid) continue;
      locks.push({ inode, owner: value.readBigUInt64BE(at + 8), type: String.fromCharCode(value[at + 16]!) });
    }
  }
  return locks;
}

async function readPlocks(snapshot: KvSnapshot, sid: bigint): Promise<SessionDetail["plocks"]> {
  const locks: { inode: bigint; owner: bigint; records: Buffer }[] = [];
  for await (const [inode, value] of lockValues(snapshot, "P")) {
    for (let at = 0; at + PLOCK_HEADER <= value.length; ) {
      const records = at + PLOCK_HEADER;
      const end = records + value.readUInt32BE(at + 16);
      if (end > value.length) break; // damaged
      if (value.readBigUInt64BE(at) === sid) {
        locks.push({ inode, owner: value.readBigUInt64BE(at + 8), records: Buffer.from(value.subarray(records, end)) });
      }
      at = end;
    }
  }
  return locks;
}

async function* lockValues(snapshot: KvSnapshot, prefix: string): AsyncGenerator<[inode: bigint, value: Buffer]> {
  for await (const [key, value] of scanPairs(snapshot, prefixRange(prefix))) {
    if (key.length === LOCK_KEY_BYTES) yield [key.readBigUInt64LE(1), value];
  }
}
