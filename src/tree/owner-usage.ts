import { packBatch, type QuotaRecord, type RecordBatch } from "../volume/records.ts";

/** Usage of one uid or gid: space in blocks of 4096 bytes. */
interface Usage {
  blocks: number;
  inodes: number;
}

/**
 * Usage per user and group as the reference's scan counts it (docs/spec/json-dump.md §11): regular files and directories,
 * each inode once; other types count nothing but make their owner appear. Memory: one entry per uid and gid.
 */
export class OwnerUsage {
  readonly #users: Map<number, Usage> = new Map();
  readonly #groups: Map<number, Usage> = new Map();
  #lastUid = -1;
  #lastUser: Usage = { blocks: 0, inodes: 0 };
  #lastGid = -1;
  #lastGroup: Usage = { blocks: 0, inodes: 0 };

  /** Adds (or, with negative numbers, takes away) what one inode uses. */
  add(uid: number, gid: number, blocks: number, inodes: number): void {
    if (uid !== this.#lastUid) {
      this.#lastUid = uid;
      this.#lastUser = usageOf(this.#users, uid);
    }
    if (gid !== this.#lastGid) {
      this.#lastGid = gid;
      this.#lastGroup = usageOf(this.#groups, gid);
    }
    this.#lastUser.blocks += blocks;
    this.#lastUser.inodes += inodes;
    this.#lastGroup.blocks += blocks;
    this.#lastGroup.inodes += inodes;
  }

  /** Adds all of another tally. */
  addAll(other: OwnerUsage): void {
    for (const [from, to] of [
      [other.#users, this.#users],
      [other.#groups, this.#groups],
    ] as const) {
      for (const [id, usage] of from) {
        const mine = usageOf(to, id);
        mine.blocks += usage.blocks;
        mine.inodes += usage.inodes;
      }
    }
  }

  userQuotas(limits: readonly QuotaRecord[]): RecordBatch {
    return packBatch("userQuota", withUsage(limits, this.#users));
  }

  groupQuotas(limits: readonly QuotaRecord[]): RecordBatch {
    return packBatch("groupQuota", withUsage(limits, this.#groups));
  }
}

function usageOf(map: Map<number, Usage>, id: number): Usage {
  let usage = map.get(id);
  if (usage === undefined) {
    usage = { blocks: 0, inodes: 0 };
    map.set(id, usage);
  }
  return usage;
}

/** Every id with a limit or a file: without a limit -1/-1, without a file 0/0. Ascending by id. */
function withUsage(limits: readonly QuotaRecord[], usages: ReadonlyMap<number, Usage>): QuotaRecord[] {
  const records = new Map<bigint, QuotaRecord>();
  for (const [id, { blocks, inodes }] of usages) {
    const usedSpace = BigInt(blocks) * 4096n;
    records.set(BigInt(id), { key: BigInt(id), maxSpace: -1n, maxInodes: -1n, usedSpace, usedInodes: BigInt(inodes) });
  }
  for (const limit of limits) {
    const usage = records.get(limit.key);
    records.set(limit.key, { ...limit, usedSpace: usage?.usedSpace ?? 0n, usedInodes: usage?.usedInodes ?? 0n });
  }
  return [...records.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}
