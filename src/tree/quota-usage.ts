import type { FindingList } from "../volume/findings.ts";
import type { QuotaRecord } from "../volume/records.ts";
import type { RecordSorter } from "./record-sorter.ts";

/** What lies below a directory: blocks of 4096 bytes and inodes. */
export interface Below {
  readonly blocks: number;
  readonly inodes: number;
}

/** What becomes of quotas of directories that are not in the tree; when they are kept, that is a finding. */
export type StrayQuotas = "keep" | "leave-out";

/** u32 size, u64 inode, f64 blocks, f64 inodes. */
const TOTALS_BYTES = 28;

/**
 * Usage of directory quotas. Quotas may also come after the tree: until one is known, every directory's sums are noted in a
 * sorter that can spill.
 */
export class QuotaUsage {
  /** Limits by inode, as far as they are known. */
  readonly quotas: Map<bigint, QuotaRecord> = new Map();
  readonly #usage: Map<bigint, Below> = new Map();
  readonly #totals: RecordSorter;
  readonly #findings: FindingList;

  readonly #stray: StrayQuotas;

  constructor(totals: RecordSorter, findings: FindingList, stray: StrayQuotas) {
    this.#totals = totals;
    this.#findings = findings;
    this.#stray = stray;
  }

  /** Takes the sums of one directory; those of the trash count as nothing (docs/spec/json-dump.md §11). */
  account(inode: bigint, below: Below): void {
    if (this.quotas.size > 0) {
      if (this.quotas.has(inode)) this.#usage.set(inode, below);
      return;
    }
    const at = this.#totals.reserve(TOTALS_BYTES);
    const page = this.#totals.page;
    page.writeBigUInt64BE(inode, at + 4);
    page.writeDoubleBE(below.blocks, at + 12);
    page.writeDoubleBE(below.inodes, at + 20);
  }

  /** The quotas with their usage; those of directories that are not in the tree have none. Call it once, at the end. */
  *records(): Generator<QuotaRecord> {
    if (this.#usage.size < this.quotas.size) this.#readTotals();
    for (const quota of this.quotas.values()) {
      const usage = this.#usage.get(quota.key);
      if (usage === undefined) {
        if (this.#stray === "leave-out") continue;
        this.#findings.add("quota-without-directory", () => `inode ${quota.key}`);
      }
      const usedSpace = BigInt(usage?.blocks ?? 0) * 4096n;
      yield { ...quota, usedSpace, usedInodes: BigInt(usage?.inodes ?? 0) };
    }
  }

  #readTotals(): void {
    const totals = this.#totals;
    while (totals.next()) {
      const inode = totals.bytes.readBigUInt64BE(totals.start + 4);
      if (!this.quotas.has(inode)) continue;
      const blocks = totals.bytes.readDoubleBE(totals.start + 12);
      this.#usage.set(inode, { blocks, inodes: totals.bytes.readDoubleBE(totals.start + 20) });
    }
  }
}
