import { recycle, viewOf } from "../base/bytes.ts";
import type { FindingList } from "../volume/findings.ts";
import { isTrashInode, TRASH_INODE } from "../volume/inode.ts";
import {
  type DelFileRecord,
  packBatch,
  type QuotaRecord,
  type RecordBatch,
  type RecordStream,
  unpackBatch,
} from "../volume/records.ts";
import { EntryConsolidator } from "./consolidate-entries.ts";
import { FlatWriter } from "./flat-writer.ts";
import { type LinkCounts, LinkTable, type NodeRepair } from "./link-table.ts";
import { MemoryBudget } from "./memory-budget.ts";
import { OwnerUsage } from "./owner-usage.ts";
import { MAX_PIECE_BYTES } from "./piece-sorter.ts";
import { QuotaUsage, type StrayQuotas } from "./quota-usage.ts";
import { RecordSorter } from "./record-sorter.ts";
import { SliceReferences } from "./slice-references.ts";
import { SpillFile } from "./spill-file.ts";

export interface ConsolidateOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly findings: FindingList;
  /** For the rare file that has more places than its source says. */
  readonly repair: NodeRepair;
  /** The setting's TrashDays, asked for when the tree has ended: with 0, what is in the trash counts for no owner. */
  readonly trashDays: () => bigint;
  /** `keep` for a copy that shall be turned back into the same source. Default `compute`. */
  readonly linkCounts?: LinkCounts;
  /** `leave-out` where the tree is known to be a part of a volume. Default `keep`, as the reference's load does. */
  readonly strayQuotas?: StrayQuotas;
}

/** The volume as it was consolidated. */
export interface Consolidated {
  readonly source: Map<string, bigint>;
  readonly loaded: Map<string, bigint>;
  entries: number;
  /** The roots included. */
  directories: number;
  /** 1, or 2 with a trash. */
  roots: number;
}

/** Counters above this cannot come from any volume and would leave no room for new numbers. */
const MAX_COUNTER = 1n << 62n;

/**
 * Turns a tree, whatever it says of itself, into the flat records of one consistent volume (docs/spec/json-dump.md §11): link
 * counts, parents, ACL ids, counters, statistics, quota usage and slice references are computed, never taken over. The
 * setting and the source's counters are kept out of the stream: they are for the caller.
 *
 * Records come in an order that loaders like: what belongs to a directory together, slice references ascending. Node records
 * of files with several places come at the end. Await the writing of each batch before the next one is taken.
 */
export async function* consolidate(
  records: RecordStream,
  options: ConsolidateOptions,
  result: Consolidated,
): AsyncGenerator<RecordBatch> {
  const { maxBytes, tmpDir, findings, linkCounts = "compute" } = options;
  const budget = new MemoryBudget(maxBytes);
  const pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(1024 * 1024, Math.floor(maxBytes / 8)));
  const spill = new SpillFile(tmpDir);
  const links = new LinkTable(budget, spill, pieceBytes, findings, linkCounts);
  const slices = new SliceReferences(budget, spill, pieceBytes);
  const totals = new RecordSorter({
    budget,
    spill,
    pieceBytes,
  });
  const quotas = new QuotaUsage(totals, findings, options.strayQuotas ?? "keep");
  const writer = new FlatWriter(slices);
  const head = new HeadRecords(findings, result.source, quotas.quotas);
  const entries = new EntryConsolidator({ writer, findings, links, linkCounts, quotas });
  try {
    for await (const batch of records) {
      if (batch.kind === "tree") {
        entries.write(batch);
        recycle(batch.bytes);
        yield* writer.takeFull();
      } else if (batch.kind === "acl") {
        for (const { id, rule } of unpackBatch("acl", batch)) entries.acls.define(id, rule);
      } else {
        head.add(batch);
      }
    }
    entries.end();
    if (!entries.hasTrash) writeTrashRoot(writer, entries.newTrashRoot());
    yield* writer.takeRest();
    yield* links.drain(options.repair);
    yield* slices.drain();
    yield* pendingDeletions(head, entries, findings);
    yield* summary(head, entries, quotas, options, result);
    countCounters(result, head, entries, slices, findings);
    yield packBatch(
      "counter",
      [...result.loaded].map(([name, value]) => ({ name, value })),
    );
  } finally {
    spill.close();
    budget.close();
  }
}

function writeTrashRoot(writer: FlatWriter, attribute: Buffer): void {
  const inode = Buffer.alloc(8);
  inode.writeBigUInt64BE(TRASH_INODE);
  writer.node(viewOf(inode), 0, viewOf(attribute));
}

/**
 * Files waiting for deletion, without those that stand in the tree: clients delete the data of every inode in this list, so
 * a file in both, from a dump that mixed two moments, would lose its contents soon after the load.
 */
function* pendingDeletions(
  head: HeadRecords,
  entries: EntryConsolidator,
  findings: FindingList,
): Generator<RecordBatch> {
  const inodeBytes = Buffer.alloc(8);
  for (const batch of head.delFiles) {
    const kept: DelFileRecord[] = [];
    for (const record of unpackBatch("delFile", batch)) {
      inodeBytes.writeBigUInt64BE(record.inode);
      if (entries.has(inodeBytes, 0)) findings.add("deletion-of-entry", () => `inode ${record.inode}`);
      else kept.push(record);
    }
    if (kept.length > 0) yield packBatch("delFile", kept);
  }
}

/** ACL rules, quotas: what is complete only at the end. */
function* summary(
  head: HeadRecords,
  entries: EntryConsolidator,
  quotas: QuotaUsage,
  options: ConsolidateOptions,
  result: Consolidated,
): Generator<RecordBatch> {
  result.entries = entries.entries;
  result.directories = entries.directories;
  result.roots = entries.hasTrash ? 2 : 1;
  const acls = entries.acls.records();
  if (acls.length > 0) yield packBatch("acl", acls);
  const directoryQuotas = [...quotas.records()];
  if (directoryQuotas.length > 0) yield packBatch("quota", directoryQuotas);
  if (head.userQuotas.length === 0 && head.groupQuotas.length === 0) return;
  const usage = new OwnerUsage();
  usage.addAll(entries.treeUsage);
  if (options.trashDays() > 0n) usage.addAll(entries.trashUsage);
  yield usage.userQuotas(head.userQuotas);
  yield usage.groupQuotas(head.groupQuotas);
}

/** Recomputed from what is in use, and never below what the source had handed out (docs/spec/json-dump.md §13.14). */
function countCounters(
  result: Consolidated,
  head: HeadRecords,
  entries: EntryConsolidator,
  slices: SliceReferences,
  findings: FindingList,
): void {
  const atLeast = (name: string, used: bigint): bigint => {
    const source = head.counters.get(name) ?? 0n;
    if (source < 0n || source > MAX_COUNTER) {
      findings.add("counter-ignored", () => `${name} ${source}`);
      return used;
    }
    return source > used ? source : used;
  };
  result.loaded.set("usedSpace", entries.usedSpace);
  result.loaded.set("totalInodes", entries.totalInodes);
  let { largestInode } = entries;
  if (head.largestDelFile > largestInode) largestInode = head.largestDelFile;
  result.loaded.set("nextInode", atLeast("nextInode", largestInode + 1n));
  result.loaded.set("nextChunk", atLeast("nextChunk", slices.largestId + 1n));
  result.loaded.set("nextSession", 0n);
  result.loaded.set("nextTrash", atLeast("nextTrash", entries.largestTrash));
}

/** Records that stand beside the trees. */
class HeadRecords {
  readonly counters: Map<string, bigint>;
  /** Directory quotas by inode. */
  readonly quotas: Map<bigint, QuotaRecord>;
  readonly userQuotas: QuotaRecord[] = [];
  readonly groupQuotas: QuotaRecord[] = [];
  /** Packed, in order of arrival. */
  readonly delFiles: RecordBatch[] = [];
  /** Largest inode of the files waiting for deletion: a new file must not get it, or it would lose its data with them. */
  largestDelFile = 0n;
  readonly #findings: FindingList;

  constructor(findings: FindingList, counters: Map<string, bigint>, quotas: Map<bigint, QuotaRecord>) {
    this.#findings = findings;
    this.counters = counters;
    this.quotas = quotas;
  }

  add(batch: RecordBatch): void {
    switch (batch.kind) {
      case "counter":
        for (const { name, value } of unpackBatch("counter", batch)) this.counters.set(name, value);
        return;
      case "quota":
        for (const quota of unpackBatch("quota", batch)) this.quotas.set(quota.key, quota);
        return;
      case "userQuota":
        for (const quota of unpackBatch("userQuota", batch)) if (hasLimit(quota)) this.userQuotas.push(quota);
        return;
      case "groupQuota":
        for (const quota of unpackBatch("groupQuota", batch)) if (hasLimit(quota)) this.groupQuotas.push(quota);
        return;
      case "sustained":
        this.#findings.add("sustained-dropped", undefined, batch.count);
        return;
      case "delFile":
        this.#findings.add("pending-deletion", undefined, batch.count);
        this.delFiles.push(batch);
        for (const { inode } of unpackBatch("delFile", batch)) {
          if (inode > this.largestDelFile && !isTrashInode(inode)) this.largestDelFile = inode;
        }
        return;
      case "changeLog":
        this.#findings.add("change-log-dropped", undefined, batch.count);
        return;
      default:
        return; // Derived data of a source (statistics, references, parents): computed anew.
    }
  }
}

/** Records without a limit only track usage, which is computed anew. */
function hasLimit(quota: QuotaRecord): boolean {
  return quota.maxSpace !== -1n || quota.maxInodes !== -1n;
}
