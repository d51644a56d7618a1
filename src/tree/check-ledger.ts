import type { DirStatRecord, ParentRecord, QuotaRecord, SustainedRecord } from "../volume/records.ts";
import type { ProblemList, ProblemPlace } from "./check-problems.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import type { SpillFile } from "./spill-file.ts";

/**
 * u32 size, u64 key, u8 topic, u8 rank, rest. What was found in the volume (rank 0) stands before what a record says of it
 * (rank 1), so that both meet when all is sorted.
 */
const KEY = 4;
const TOPIC = 12;
const RANK = 13;
const REST = 14;

const FOUND = 0;
const SAID = 1;

/** By key; the rest of those without a comment is empty. */
const Topic = {
  /** Directory: s64 data length, used space, used inodes. */
  statistics: 1,
  /** Directory: s64 used space, used inodes. */
  quota: 2,
  userQuota: 3,
  groupQuota: 4,
  /** Inode: u64 sid. */
  sustained: 5,
  /** Inode. */
  deletion: 6,
  /** Inode of a file with several places: u64 parent, s64 count. */
  parent: 7,
  acl: 8,
  changeLog: 9,
} as const;

const NAMES: Readonly<Record<number, string>> = {
  [Topic.statistics]: "statistics of inode",
  [Topic.quota]: "quota of inode",
  [Topic.userQuota]: "quota of user",
  [Topic.groupQuota]: "quota of group",
  [Topic.sustained]: "sustained inode",
  [Topic.deletion]: "deleted inode",
  [Topic.acl]: "ACL rule",
  [Topic.changeLog]: "change log entry",
};

/** What the checks of a whole volume know when everything has been read. */
export interface LedgerContext {
  /** Whether there is an inode of this number; undefined where that cannot be known (open files in a JSON dump). */
  hasInode(inode: bigint): boolean | undefined;
  hasDirectory(inode: bigint): boolean;
  /** Whether an entry names it. */
  hasEntry(inode: bigint): boolean;
  /** False for a part of a volume, where much may point to what is elsewhere. */
  readonly isWhole: boolean;
  /** The source gives a parent record for every file with several places. */
  readonly hasParents: boolean;
}

/** Notes everything that says something about an inode or another number, and compares it when all is known. */
export class Ledger {
  readonly #records: RecordSorter;
  readonly #problems: ProblemList;
  /** Different inodes that sessions hold; known when all is compared. */
  sustainedInodes = 0;
  largestSid = 0n;

  constructor(budget: MemoryBudget, spill: SpillFile, pieceBytes: number, problems: ProblemList) {
    this.#records = new RecordSorter({
      budget,
      spill,
      pieceBytes,
    });
    this.#problems = problems;
  }

  #note(key: bigint, topic: number, rank: number, ...rest: bigint[]): void {
    const at = this.#records.reserve(REST + rest.length * 8);
    const page = this.#records.page;
    page.writeBigUInt64BE(BigInt.asUintN(64, key), at + KEY);
    page[at + TOPIC] = topic;
    page[at + RANK] = rank;
    for (let i = 0; i < rest.length; i++) page.writeBigUInt64BE(BigInt.asUintN(64, rest[i]!), at + REST + i * 8);
  }

  directory(
    { inode, dataLength, usedSpace, usedInodes }: DirStatRecord,
    belowSpace: bigint,
    belowInodes: bigint,
  ): void {
    this.#note(inode, Topic.statistics, FOUND, dataLength, usedSpace, usedInodes);
    this.#note(inode, Topic.quota, FOUND, belowSpace, belowInodes);
  }

  statistics({ inode, dataLength, usedSpace, usedInodes }: DirStatRecord): void {
    this.#note(inode, Topic.statistics, SAID, dataLength, usedSpace, usedInodes);
  }

  quota({ key, usedSpace, usedInodes }: QuotaRecord): void {
    this.#note(key, Topic.quota, SAID, usedSpace, usedInodes);
  }

  ownerQuota(kind: "userQuota" | "groupQuota", { key }: QuotaRecord): void {
    this.#note(key, Topic[kind], SAID);
  }

  sustained({ sid, inode }: SustainedRecord): void {
    if (sid > this.largestSid) this.largestSid = sid;
    this.#note(inode, Topic.sustained, SAID, sid);
  }

  deletion(inode: bigint): void {
    this.#note(inode, Topic.deletion, SAID);
  }

  acl(id: number): void {
    this.#note(BigInt(id), Topic.acl, SAID);
  }

  changeLog(version: bigint): void {
    this.#note(version, Topic.changeLog, SAID);
  }

  /** An entry of a file whose own record leaves its parents open. */
  place(inode: bigint, parent: bigint): void {
    this.#note(inode, Topic.parent, FOUND, parent);
  }

  parent({ inode, parent, count }: ParentRecord): void {
    this.#note(inode, Topic.parent, SAID, parent, count);
  }

  /** Compares everything. Call it once. */
  finish(context: LedgerContext): void {
    const records = this.#records;
    let group: Group | undefined;
    while (records.next()) {
      const { bytes, start } = records;
      const key = bytes.readBigUInt64BE(start + KEY);
      const topic = bytes[start + TOPIC]!;
      if (group === undefined || group.key !== key || group.topic !== topic) {
        if (group !== undefined) this.#judge(group, context);
        group = { key, topic, found: undefined, said: undefined, places: new Map(), parents: new Map() };
      }
      this.#take(group, readNote(bytes, start));
    }
    if (group !== undefined) this.#judge(group, context);
  }

  #take(group: Group, note: Note): void {
    if (group.topic === Topic.parent) {
      const [parent = 0n, count = 1n] = note.rest;
      const counts = note.rank === FOUND ? group.places : group.parents;
      if (note.rank === SAID && counts.has(parent)) this.#duplicate(`parent record of inode ${group.key}`);
      if (count !== 0n) counts.set(parent, (note.rank === FOUND ? (counts.get(parent) ?? 0n) : 0n) + count);
    } else if (note.rank === FOUND) {
      group.found = note.rest;
    } else {
      const again = group.said !== undefined;
      // Several sessions may hold one inode.
      if (again && (group.topic !== Topic.sustained || group.said![0] === note.rest[0])) {
        this.#duplicate(`${NAMES[group.topic]} ${group.key}`);
      }
      group.said = note.rest;
    }
  }

  #duplicate(detail: string): void {
    this.#problems.add("duplicate-record", () => ({ detail }));
  }

  #judge(group: Group, context: LedgerContext): void {
    switch (group.topic) {
      case Topic.statistics:
        return this.#judgeStatistics(group, context);
      case Topic.quota:
        return this.#judgeQuota(group, context);
      case Topic.sustained:
        return this.#judgeSustained(group.key, context);
      case Topic.deletion:
        return this.#judgeDeletion(group.key, context);
      case Topic.parent:
        return this.#judgeParents(group, context);
    }
  }

  #judgeStatistics({ key: inode, found, said }: Group, context: LedgerContext): void {
    if (said === undefined) return; // clients compute what is not there (docs/spec/sql.md §4.8)
    if (!context.hasDirectory(inode)) this.#problems.add("statistics-without-directory", () => withoutPath(inode));
    else if (found !== undefined && !isEqual(found, said)) {
      const [length, space, inodes] = said;
      const detail = `${length} bytes, ${space} used, ${inodes} entries instead of ${found.join(", ")}`;
      this.#problems.add("statistics-differ", () => ({ inode, detail }));
    }
  }

  #judgeQuota({ key: inode, found, said }: Group, context: LedgerContext): void {
    if (said === undefined) return;
    if (!context.hasDirectory(inode)) {
      if (context.isWhole) this.#problems.add("quota-without-directory", () => withoutPath(inode));
    } else if (found !== undefined && !isEqual(found, said)) {
      const detail = `${said[0]} used, ${said[1]} inodes instead of ${found.join(", ")}`;
      this.#problems.add("quota-usage-differs", () => ({ inode, detail }));
    }
  }

  #judgeSustained(inode: bigint, context: LedgerContext): void {
    this.sustainedInodes++;
    this.#problems.add("open-files", () => withoutPath(inode));
    if (context.hasEntry(inode)) this.#problems.add("sustained-with-entry", () => ({ inode }));
    else if (context.hasInode(inode) === false) this.#problems.add("sustained-without-inode", () => withoutPath(inode));
  }

  #judgeDeletion(inode: bigint, context: LedgerContext): void {
    this.#problems.add("pending-deletion", () => withoutPath(inode));
    if (context.hasEntry(inode) || context.hasInode(inode) === true) {
      this.#problems.add("deletion-of-inode", () => ({ inode }));
    }
  }

  /** Where only one place is left, SQL engines have no parent records and others still do (docs/spec/binary-dump.md §4). */
  #judgeParents({ key: inode, places, parents }: Group, { hasParents }: LedgerContext): void {
    if (!hasParents || (parents.size === 0 && sum(places) <= 1n)) return;
    const fits = places.size === parents.size && [...places].every(([parent, count]) => parents.get(parent) === count);
    if (fits) return;
    const detail = `${sum(places)} entries in ${places.size} directories, ${sum(parents)} in ${parents.size} by its records`;
    this.#problems.add("parent-record", () => ({ inode, detail }));
  }
}

/** An inode that no entry names: its path is not looked for. */
function withoutPath(inode: bigint): ProblemPlace {
  return { detail: `inode ${inode}` };
}

interface Note {
  readonly rank: number;
  readonly rest: readonly bigint[];
}

interface Group {
  readonly key: bigint;
  readonly topic: number;
  found: readonly bigint[] | undefined;
  said: readonly bigint[] | undefined;
  /** Entries and parent records by directory. */
  readonly places: Map<bigint, bigint>;
  readonly parents: Map<bigint, bigint>;
}

function readNote(bytes: Buffer, start: number): Note {
  const rest: bigint[] = [];
  const end = start + bytes.readUInt32BE(start);
  for (let at = start + REST; at < end; at += 8) rest.push(bytes.readBigInt64BE(at));
  return { rank: bytes[start + RANK]!, rest };
}

function isEqual(a: readonly bigint[], b: readonly bigint[]): boolean {
  return a.every((value, i) => value === b[i]);
}

function sum(counts: ReadonlyMap<bigint, bigint>): bigint {
  let total = 0n;
  for (const count of counts.values()) total += count;
  return total;
}
