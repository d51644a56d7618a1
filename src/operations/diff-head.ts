import { recycle } from "../base/bytes.ts";
import { MemoryBudget, PAGE_BYTES } from "../tree/memory-budget.ts";
import { RecordSorter } from "../tree/record-sorter.ts";
import { SpillFile } from "../tree/spill-file.ts";
import { NEW_SIDE, OLD_SIDE, type Side } from "../tree/tree-changes.ts";
import { UnsortedTreeError } from "../tree/tree-cursor.ts";
import { type QuotaRecord, type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import type { ValueChange } from "./diff-settings.ts";

/** Counters that say something of the volume, as dumps name them (docs/spec/json-dump.md §4): not the number of mounts so far. */
const COUNTERS: readonly (readonly [record: string, name: string])[] = [
  ["usedSpace", "usedSpace"],
  ["totalInodes", "usedInodes"],
  ["nextInode", "nextInodes"],
  ["nextChunk", "nextChunk"],
  ["nextTrash", "nextTrash"],
];

type QuotaKind = "quota" | "user-quota" | "group-quota";
const QUOTA_KINDS: readonly QuotaKind[] = ["quota", "user-quota", "group-quota"];

/** What a volume has beside its trees, as far as it is compared. */
export interface HeadValues {
  readonly setting: Setting;
  readonly counters: ReadonlyMap<string, bigint>;
  readonly quotas: Readonly<Record<QuotaKind, ReadonlyMap<bigint, string>>>;
}

/** Splits the records of one side into what stands before the trees and the trees. */
export class SideReader {
  readonly #records: AsyncIterator<RecordBatch>;
  readonly #side: Side;
  readonly #deleted: DeletedFiles;
  /** Batches for the trees that came before the first of them. */
  readonly #pending: RecordBatch[] = [];
  #hasTree = false;
  #setting: Setting | undefined;
  readonly #counters: Map<string, bigint> = new Map();
  readonly #quotas: Record<QuotaKind, Map<bigint, string>> = {
    quota: new Map(),
    "user-quota": new Map(),
    "group-quota": new Map(),
  };

  constructor(records: RecordStream, side: Side, deleted: DeletedFiles) {
    this.#records = records[Symbol.asyncIterator]();
    this.#side = side;
    this.#deleted = deleted;
  }

  /** Reads as far as the first tree. Throws `DataError` when there is no setting. */
  async readHead(): Promise<HeadValues> {
    while (!this.#hasTree) {
      const next = await this.#records.next();
      if (next.done) break;
      this.#hasTree = next.value.kind === "tree";
      if (this.#hasTree || next.value.kind === "acl") this.#pending.push(next.value);
      else this.#add(next.value);
    }
    if (this.#setting === undefined) {
      const problem = "The setting does not stand before the trees";
      throw new UnsortedTreeError("DECANT_E_TREE_ORDER", problem, this.#side);
    }
    return { setting: this.#setting, counters: this.#counters, quotas: this.#quotas };
  }

  /** Ends the reading, at any time. */
  async close(): Promise<void> {
    await this.#records.return?.();
  }

  /** The trees and their ACL rules. */
  async *trees(): RecordStream {
    yield* this.#pending.splice(0);
    for (;;) {
      const next = await this.#records.next();
      if (next.done) return;
      if (next.value.kind === "tree" || next.value.kind === "acl") {
        yield next.value;
      } else if (next.value.kind !== "changeLog") {
        const problem = `There is a section (${next.value.kind}) behind the trees`;
        throw new UnsortedTreeError("DECANT_E_TREE_ORDER", problem, this.#side);
      }
    }
  }

  #add(batch: RecordBatch): void {
    switch (batch.kind) {
      case "setting":
        for (const { json } of unpackBatch("setting", batch)) this.#setting = parseSetting(json);
        return;
      case "counter":
        for (const { name, value } of unpackBatch("counter", batch)) this.#counters.set(name, value);
        return;
      case "delFile":
        this.#deleted.add(this.#side, batch);
        return;
      case "quota":
        for (const quota of unpackBatch("quota", batch)) this.#addQuota("quota", quota);
        return;
      case "userQuota":
        for (const quota of unpackBatch("userQuota", batch)) this.#addQuota("user-quota", quota);
        return;
      case "groupQuota":
        for (const quota of unpackBatch("groupQuota", batch)) this.#addQuota("group-quota", quota);
        return;
      default:
        return; // Sessions and logs are no part of what a load keeps.
    }
  }

  /** Records without a limit only track usage; whether a dump has them depends on the engine (docs/spec/json-dump.md §7). */
  #addQuota(kind: QuotaKind, quota: QuotaRecord): void {
    if (quota.maxSpace === -1n && quota.maxInodes === -1n) return;
    this.#quotas[kind].set(quota.key, `${limitText(quota.maxSpace)} bytes, ${limitText(quota.maxInodes)} inodes`);
  }
}

function limitText(limit: bigint): string {
  return limit === -1n ? "unlimited" : limit.toString();
}

/** Counters that differ. */
export function compareCounters(from: HeadValues, to: HeadValues): ValueChange[] {
  return COUNTERS.flatMap(([record, name]) => {
    const before = from.counters.get(record) ?? 0n;
    const after = to.counters.get(record) ?? 0n;
    return before === after ? [] : [valueChange("counter", name, before.toString(), after.toString())];
  });
}

/** Limits that differ. */
export function compareQuotas(from: HeadValues, to: HeadValues): ValueChange[] {
  return QUOTA_KINDS.flatMap((kind) => {
    const before = from.quotas[kind];
    const after = to.quotas[kind];
    const keys = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => (a < b ? -1 : 1));
    return keys
      .filter((key) => before.get(key) !== after.get(key))
      .map((key) => valueChange(kind, key.toString(), before.get(key), after.get(key)));
  });
}

function valueChange(
  kind: ValueChange["kind"],
  name: string,
  from: string | undefined,
  to: string | undefined,
): ValueChange {
  return { kind, name, from, to, secret: false };
}

/** u32 size, u64 inode, u8 side, u64 length, s64 expire. */
const DELETED_BYTES = 29;
const DELETED_SIDE = 12;
const DELETED_LENGTH = 13;
const DELETED_EXPIRE = 21;

/** Files waiting for deletion on both sides, of any number: sorted by inode. */
export class DeletedFiles {
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #records: RecordSorter;

  constructor(maxBytes: number, tmpDir: string) {
    this.#budget = new MemoryBudget(maxBytes);
    this.#spill = new SpillFile(tmpDir);
    this.#records = new RecordSorter({
      budget: this.#budget,
      spill: this.#spill,
      pieceBytes: Math.max(PAGE_BYTES * 4, Math.floor(maxBytes / 4)),
    });
  }

  add(side: Side, batch: RecordBatch): void {
    for (const { inode, length, expire } of unpackBatch("delFile", batch)) {
      const at = this.#records.reserve(DELETED_BYTES);
      const { page, view } = this.#records;
      view.setBigUint64(at + 4, inode);
      page[at + DELETED_SIDE] = side;
      view.setBigUint64(at + DELETED_LENGTH, length);
      view.setBigInt64(at + DELETED_EXPIRE, expire);
    }
    recycle(batch.bytes);
  }

  *changes(): Generator<ValueChange> {
    const records = this.#records;
    let old: { inode: bigint; text: string } | undefined;
    for (let more = records.next(); more; more = records.next()) {
      const { bytes, start } = records;
      const inode = bytes.readBigUInt64BE(start + 4);
      const text = `length ${bytes.readBigUInt64BE(start + DELETED_LENGTH)}, since ${bytes.readBigInt64BE(start + DELETED_EXPIRE)}`;
      if (old !== undefined && old.inode === inode && bytes[start + DELETED_SIDE] === NEW_SIDE) {
        if (old.text !== text) yield valueChange("deleted-file", inode.toString(), old.text, text);
        old = undefined;
        continue;
      }
      if (old !== undefined) yield valueChange("deleted-file", old.inode.toString(), old.text, undefined);
      old = undefined;
      if (bytes[start + DELETED_SIDE] === OLD_SIDE) old = { inode, text };
      else yield valueChange("deleted-file", inode.toString(), undefined, text);
    }
    if (old !== undefined) yield valueChange("deleted-file", old.inode.toString(), old.text, undefined);
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }
}
