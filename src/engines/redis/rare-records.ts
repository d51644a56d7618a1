import type { RecordBatch, RecordKind } from "../../volume/records.ts";
import { aclDamage } from "../acl-damage.ts";
import { type Notes, printableKey } from "../notes.ts";
import { parseUnsigned, signedOf, signedOrZero, toBigInt, type U64 } from "./decimal.ts";
import { directoryStatistics } from "./directory-statistics.ts";
import { copyPairs, hashPages, orWrongType, sortedSetPages } from "./hash-pages.ts";
import { QUOTA_KINDS, quotaRecords } from "./quota-records.ts";
import { emit, keyOf, type RareContext } from "./rare-context.ts";
import type { RecordMapper } from "./record-mapper.ts";
import type { Reply } from "./resp-parser.ts";
import { SeenSet } from "./seen-set.ts";

export const DELFILE_NOTE = "Entries of delfiles in an old or damaged form were left out";
export const SLICE_REF_NOTE = "Slice references that are damaged were left out";
export const ACL_NOTE = "ACL rules under a key that is no number were left out";
const ACL_RULE_NOTE = "ACL rules that are damaged were left out";
export const COUNTER_NOTE = "Counters that are no numbers were left out";
export const SESSION_NOTE = "Sustained inodes that are no numbers were left out";

/** Counter names in the SQL sense, Redis keys, and what to add (docs/spec/redis.md §4.1). */
export const COUNTERS: readonly { name: string; key: string; offset: bigint }[] = [
  { name: "usedSpace", key: "usedSpace", offset: 0n },
  { name: "totalInodes", key: "totalInodes", offset: 0n },
  { name: "nextInode", key: "nextinode", offset: 1n },
  { name: "nextChunk", key: "nextchunk", offset: 1n },
  { name: "nextSession", key: "nextsession", offset: 0n },
  { name: "nextTrash", key: "nextTrash", offset: 0n },
];

/**
 * The kinds outside the inode families, counters last: `nextinode` and `nextchunk` must not be older than the inodes
 * (docs/spec/redis.md §14).
 */
export async function* rareRecords(
  context: RareContext,
  kinds: ReadonlySet<RecordKind>,
  changeLog: boolean,
): AsyncGenerator<RecordBatch> {
  const { mapper, notes } = context;
  if (kinds.has("sustained")) await sustained(context);
  if (kinds.has("delFile")) yield* full(mapper, delFiles(context));
  if (kinds.has("sliceRef")) yield* full(mapper, sliceRefs(context));
  if (kinds.has("acl")) yield* full(mapper, aclRules(context));
  if (kinds.has("dirStat")) yield* full(mapper, directoryStatistics(context));
  for (const quota of QUOTA_KINDS) {
    if (kinds.has(quota.kind)) yield* full(mapper, quotaRecords(context, quota));
  }
  if (kinds.has("counter")) await (notes.isSalvage ? countersThatAreGood : counters)(context, changeLog);
}

/** Hands on full batches after each step of `steps`. */
async function* full(mapper: RecordMapper, steps: AsyncGenerator<void>): AsyncGenerator<RecordBatch> {
  for await (const _ of steps) yield* mapper.takeFull();
}

async function counters(context: RareContext, changeLog: boolean): Promise<void> {
  const keys = COUNTERS.map(({ key }) => keyOf(context, key));
  const values = (await context.connection.call(["MGET", ...keys])) as (Buffer | null)[];
  COUNTERS.forEach(({ name, offset }, i) => {
    emit(context.mapper, "counter", { name, value: signedOrZero(values[i]) + offset });
  });
  if (!changeLog) return;
  const key = keyOf(context, "txnLastLog");
  const last = signedOrZero(
    (await orWrongType(context.notes, key, "counter", () => context.connection.call(["GET", key]))) as Buffer,
  );
  if (last !== 0n) emit(context.mapper, "counter", { name: "lastChangelog", value: last });
}

/** Without those that are no numbers, which are told. Missing ones are 0, as ever. */
async function countersThatAreGood(context: RareContext, changeLog: boolean): Promise<void> {
  const { connection, mapper, notes } = context;
  const wanted = changeLog ? [...COUNTERS, LAST_CHANGE] : COUNTERS;
  for (const { name, key, offset } of wanted) {
    const full = keyOf(context, key);
    const text = await orWrongType(notes, full, "counter", () => connection.call(["GET", full]));
    if (text === undefined) continue;
    const value = text === null ? 0n : signedOf(text as Buffer);
    if (value === undefined) noteCounter(notes, key);
    else if (name !== LAST_CHANGE.name || value !== 0n) emit(mapper, "counter", { name, value: value + offset });
  }
}

const LAST_CHANGE = { name: "lastChangelog", key: "txnLastLog", offset: 0n };

export function noteCounter(notes: Notes, key: string): void {
  notes.loss(COUNTER_NOTE, key, { kind: "counter", message: `key ${key}: the counter is no number` });
}

/**
 * Of registered sessions first, as the reference dumps them (docs/spec/redis.md §12.1), then of those that only have their set of
 * inodes, as after a load of a binary dump: the reference leaves them out.
 */
async function sustained(context: RareContext): Promise<void> {
  const { connection, notes, sessions } = context;
  const number: U64 = { hi: 0, lo: 0 };
  const key = keyOf(context, "allSessions");
  const read = (): Promise<Reply> => connection.call(["ZRANGE", key, "0", "-1"]);
  const sids = (await orWrongType(notes, key, "sustained", read)) as Buffer[] | undefined;
  const registered = new Set<bigint>();
  for (const sid of sids ?? []) {
    if (parseUnsigned(sid, 0, sid.length, number)) registered.add(toBigInt(number.hi, number.lo));
    else noteSession(notes, printableKey(sid));
  }
  const others = [...sessions].filter((sid) => !registered.has(sid)).sort((a, b) => (a < b ? -1 : 1));
  for (const session of [...registered, ...others]) await sustainedOf(context, session);
}

async function sustainedOf(context: RareContext, session: bigint): Promise<void> {
  const { connection, notes, mapper } = context;
  const number: U64 = { hi: 0, lo: 0 };
  const set = keyOf(context, `session${session}`);
  const read = (): Promise<Reply> => connection.call(["SMEMBERS", set]);
  const members = (await orWrongType(notes, set, "sustained", read)) as Buffer[] | undefined;
  for (const member of members ?? []) {
    if (parseUnsigned(member, 0, member.length, number)) {
      emit(mapper, "sustained", { sid: session, inode: toBigInt(number.hi, number.lo) });
    } else noteSustained(notes, session, printableKey(member));
  }
}

export function noteSession(notes: Notes, member: string): void {
  const message = `key allSessions: the member ${member} is no number of a session`;
  notes.loss(SESSION_NOTE, `session ${member}`, { kind: "sustained", message });
}

export function noteSustained(notes: Notes, session: bigint, member: string): void {
  const message = `key session${session}: the member ${member} is no inode`;
  notes.loss(SESSION_NOTE, `session${session} ${member}`, { kind: "sustained", message });
}

/** `<inode>:<length>` with the time of deletion as score, cut to whole seconds (docs/spec/redis.md §9.4). */
async function* delFiles(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const inode: U64 = { hi: 0, lo: 0 };
  const length: U64 = { hi: 0, lo: 0 };
  for await (const page of sortedSetPages(connection, keyOf(context, "delfiles"), notes, "delFile")) {
    for (const [member, score] of copyPairs(page)) {
      if (!parseDelFile(member, inode, length)) {
        noteDelFile(notes, printableKey(member));
        continue;
      }
      if (!page.whole && !seen.add(inode.hi, inode.lo)) continue;
      emit(mapper, "delFile", {
        inode: toBigInt(inode.hi, inode.lo),
        length: toBigInt(length.hi, length.lo),
        expire: wholeSeconds(score),
      });
    }
    yield;
  }
}

export function noteDelFile(notes: Notes, member: string): void {
  const message = `key delfiles: the member ${member} is no inode and length`;
  notes.loss(DELFILE_NOTE, member, { kind: "delFile", message });
}

/** A member of `delfiles`: false in an old or damaged form. */
export function parseDelFile(member: Buffer, inode: U64, length: U64): boolean {
  const colon = member.indexOf(0x3a);
  return parseUnsigned(member, 0, colon, inode) && parseUnsigned(member, colon + 1, member.length, length);
}

/** A field of `sliceRef`: false when it is damaged. */
export function parseSliceRef(field: Buffer, id: U64, size: U64): boolean {
  const separator = field.indexOf(0x5f);
  return (
    field[0] === 0x6b &&
    parseUnsigned(field, 1, separator, id) &&
    parseUnsigned(field, separator + 1, field.length, size) &&
    size.hi === 0
  );
}

/** A score is a double in text, perhaps with an exponent. */
export function wholeSeconds(score: Buffer): bigint {
  return wholeSecondsOf(Number(score.toString("latin1")));
}

export function wholeSecondsOf(score: number): bigint {
  const seconds = Math.trunc(score);
  return Number.isFinite(seconds) ? BigInt(seconds) : 0n;
}

/** `k<id>_<size>` → references minus 1; only shared slices are part of a dump (docs/spec/redis.md §7.3). */
async function* sliceRefs(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  // A slice has one size for life, so its id alone tells a repetition.
  const seen = new SeenSet();
  const id: U64 = { hi: 0, lo: 0 };
  const size: U64 = { hi: 0, lo: 0 };
  for await (const page of hashPages(connection, keyOf(context, "sliceRef"), notes, "sliceRef")) {
    for (const [field, value] of copyPairs(page)) {
      if (!parseSliceRef(field, id, size)) {
        noteSliceRef(notes, printableKey(field), "is no slice");
        continue;
      }
      const more = sliceReferences(notes, field, value);
      if (more < 1n || (!page.whole && !seen.add(id.hi, id.lo))) continue;
      emit(mapper, "sliceRef", { id: toBigInt(id.hi, id.lo), size: size.lo, refs: more + 1n });
    }
    yield;
  }
}

export function noteSliceRef(notes: Notes, field: string, what: string): void {
  const message = `key sliceRef: the field ${field} ${what}`;
  notes.loss(SLICE_REF_NOTE, field, { kind: "sliceRef", message });
}

/** What is no number counts as 0, as for the reference, but is told where all is. */
export function sliceReferences(notes: Notes, field: Buffer, value: Buffer): bigint {
  const more = signedOf(value);
  if (more === undefined && notes.isSalvage) noteSliceRef(notes, printableKey(field), "has a value that is no number");
  return more ?? 0n;
}

async function* aclRules(context: RareContext): AsyncGenerator<void> {
  const { connection, notes, mapper } = context;
  const seen = new SeenSet();
  const id: U64 = { hi: 0, lo: 0 };
  for await (const page of hashPages(connection, keyOf(context, "acl"), notes, "acl")) {
    for (const [field, rule] of copyPairs(page)) {
      if (!isAclField(notes, field, id) || !isAclRule(notes, id.lo, rule)) continue;
      if (page.whole || seen.add(0, id.lo)) emit(mapper, "acl", { id: id.lo, rule });
    }
    yield;
  }
}

/** Whether a field of `acl` is the number of a rule, which goes to `id`; else that is noted. */
export function isAclField(notes: Notes, field: Buffer, id: U64): boolean {
  if (parseUnsigned(field, 0, field.length, id) && id.hi === 0) return true;
  const name = printableKey(field);
  notes.loss(ACL_NOTE, name, { kind: "acl", message: `key acl: the field ${name} is no number of a rule` });
  return false;
}

/** Where all losses are told, false for a rule that cannot be decoded; else rules are passed on as they are. */
export function isAclRule(notes: Notes, id: number, rule: Buffer): boolean {
  const what = notes.isSalvage ? aclDamage(rule) : undefined;
  if (what === undefined) return true;
  notes.loss(ACL_RULE_NOTE, String(id), { kind: "acl", message: `key acl: rule ${id} is damaged: ${what}` });
  return false;
}
