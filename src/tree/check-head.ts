import { errorText } from "../base/errors.ts";
import { ACL_UNDEFINED, decodeAclRule } from "../volume/acl.ts";
import { isTrashInode } from "../volume/inode.ts";
import { type RecordBatch, unpackBatch } from "../volume/records.ts";
import { parseSetting, type Setting, settingGap } from "../volume/setting.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { Ledger } from "./check-ledger.ts";
import type { ProblemList } from "./check-problems.ts";
import type { SliceChecks } from "./check-slices.ts";
import type { InodeKeys } from "./inode-key.ts";
import { InodeSet } from "./inode-set.ts";

/** What was found in a volume, for comparing counters with it. */
export interface FoundUsage {
  /** Undefined where the sum cannot be known, as in a part of a volume. */
  readonly usedSpace: bigint | undefined;
  readonly inodes: bigint | undefined;
  readonly largestInode: bigint;
  readonly largestTrash: bigint;
  readonly largestSlice: bigint;
  readonly largestSid: bigint;
}

/** Counters that every volume has from its beginning (docs/spec/sql.md §5); that of the trash comes with its first use. */
const NEEDED_COUNTERS = ["usedSpace", "totalInodes", "nextInode", "nextChunk", "nextSession"];

/** Takes everything that stands beside the inodes: the setting, counters, and what points to inodes. */
export class HeadChecks {
  setting: Setting | undefined;
  /** Largest inode below the trash that something points to. */
  largestInode = 0n;
  readonly #problems: ProblemList;
  readonly #ledger: Ledger;
  readonly #slices: SliceChecks;
  readonly #counters: Map<string, bigint> = new Map();
  readonly #acls: Set<number> = new Set();
  readonly #sustained: InodeSet;
  readonly #deletions: InodeSet;
  /** Directories that statistics or quotas name. */
  readonly #summed: InodeSet;
  readonly #inode: Buffer = Buffer.alloc(8);
  #settings = 0;

  constructor(parts: { problems: ProblemList; ledger: Ledger; slices: SliceChecks; keys: InodeKeys }) {
    this.#problems = parts.problems;
    this.#ledger = parts.ledger;
    this.#slices = parts.slices;
    this.#sustained = new InodeSet(parts.keys);
    this.#deletions = new InodeSet(parts.keys);
    this.#summed = new InodeSet(parts.keys);
  }

  hasAcl(id: number): boolean {
    return this.#acls.has(id);
  }

  isSustained(bytes: Buffer): boolean {
    return this.#sustained.has(bytes, 0);
  }

  waitsForDeletion(bytes: Buffer): boolean {
    return this.#deletions.has(bytes, 0);
  }

  wantsSums(bytes: Buffer, at: number): boolean {
    return this.#summed.has(bytes, at);
  }

  add(batch: RecordBatch): void {
    switch (batch.kind) {
      case "setting":
        for (const { json } of unpackBatch("setting", batch)) this.#setting(json);
        return;
      case "counter":
        for (const { name, value } of unpackBatch("counter", batch)) this.#counter(name, value);
        return;
      case "acl":
        for (const { id, rule } of unpackBatch("acl", batch)) this.#acl(id, rule);
        return;
      case "sliceRef":
        for (const record of unpackBatch("sliceRef", batch)) this.#slices.addReference(record);
        return;
      case "parent":
        for (const record of unpackBatch("parent", batch)) this.#ledger.parent(record);
        return;
      case "changeLog":
        for (const { version } of unpackBatch("changeLog", batch)) this.#ledger.changeLog(version);
        return;
      default:
        this.#pointer(batch);
    }
  }

  /** What names an inode or its owner. */
  #pointer(batch: RecordBatch): void {
    const ledger = this.#ledger;
    switch (batch.kind) {
      case "sustained":
        for (const record of unpackBatch("sustained", batch)) {
          ledger.sustained(record);
          this.#remember(record.inode, this.#sustained);
        }
        return;
      case "delFile":
        for (const { inode } of unpackBatch("delFile", batch)) {
          ledger.deletion(inode);
          this.#remember(inode, this.#deletions);
        }
        return;
      case "dirStat":
        for (const record of unpackBatch("dirStat", batch)) {
          ledger.statistics(record);
          this.#summed.add(this.#bytesOf(record.inode), 0);
        }
        return;
      case "quota":
        for (const record of unpackBatch("quota", batch)) {
          ledger.quota(record);
          this.#summed.add(this.#bytesOf(record.key), 0);
        }
        return;
      case "userQuota":
      case "groupQuota":
        for (const record of unpackBatch(batch.kind, batch)) ledger.ownerQuota(batch.kind, record);
        return;
    }
  }

  #bytesOf(inode: bigint): Buffer {
    this.#inode.writeBigUInt64BE(inode);
    return this.#inode;
  }

  #remember(inode: bigint, set: InodeSet): void {
    if (inode > this.largestInode && !isTrashInode(inode)) this.largestInode = inode;
    set.add(this.#bytesOf(inode), 0);
  }

  #setting(json: Buffer): void {
    if (this.#settings++ > 0) this.#problems.add("duplicate-record", () => ({ detail: "setting" }));
    try {
      const setting = parseSetting(json);
      this.setting = setting;
      const gap = settingGap(setting);
      if (gap !== undefined) this.#badSetting(gap);
      checkClientVersion(setting);
    } catch (error) {
      this.#badSetting(errorText(error));
    }
  }

  #badSetting(detail: string): void {
    this.#problems.add("bad-setting", () => ({ detail }));
  }

  #counter(name: string, value: bigint): void {
    if (this.#counters.has(name)) this.#problems.add("duplicate-record", () => ({ detail: `counter ${name}` }));
    this.#counters.set(name, value);
  }

  #acl(id: number, rule: Buffer): void {
    this.#ledger.acl(id);
    this.#acls.add(id);
    if (isBadRule(rule)) this.#problems.add("bad-acl", () => ({ detail: `rule ${id}` }));
  }

  /** Compares the counters with what is in use. */
  finish(found: FoundUsage): void {
    if (this.#settings === 0) this.#badSetting("there is none");
    for (const name of NEEDED_COUNTERS) {
      if (!this.#counters.has(name)) this.#problems.add("missing-counter", () => ({ detail: name }));
    }
    let { largestInode } = found;
    if (this.largestInode > largestInode) largestInode = this.largestInode;
    this.#atLeast("nextInode", largestInode + 1n, `inode ${largestInode} is in use`);
    this.#atLeast("nextChunk", found.largestSlice + 1n, `slice ${found.largestSlice} is in use`);
    this.#atLeast("nextTrash", found.largestTrash, `trash directory ${found.largestTrash} is in use`);
    this.#atLeast("nextSession", found.largestSid, `session ${found.largestSid} is in use`);
    this.#equal("usedSpace", found.usedSpace);
    this.#equal("totalInodes", found.inodes);
  }

  #atLeast(name: string, needed: bigint, why: string): void {
    const value = this.#counters.get(name) ?? (NEEDED_COUNTERS.includes(name) ? undefined : 0n);
    if (value !== undefined && value < needed) {
      this.#problems.add("counter-too-small", () => ({ detail: `${name} ${value}, ${why}` }));
    }
  }

  #equal(name: string, found: bigint | undefined): void {
    const value = this.#counters.get(name);
    if (value === undefined || found === undefined || value === found) return;
    this.#problems.add("usage-differs", () => ({ detail: `${name} ${value}, the sum is ${found}` }));
  }
}

const MAX_PERMISSION = 7;

/** Whether a packed ACL rule (volume/acl.ts) is one that no client could have stored. */
function isBadRule(bytes: Buffer): boolean {
  try {
    const rule = decodeAclRule(bytes);
    const permissions = [rule.owner, rule.group, rule.other, rule.mask];
    if (permissions.some((permission) => permission > MAX_PERMISSION && permission !== ACL_UNDEFINED)) return true;
    return [rule.users, rule.groups].some(
      (entries) =>
        entries.some(({ perm }) => perm > MAX_PERMISSION) || new Set(entries.map(({ id }) => id)).size < entries.length,
    );
  } catch {
    return true;
  }
}
