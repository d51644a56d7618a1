import { InternalError } from "../base/errors.ts";
import type { RecordBatch } from "../volume/records.ts";

type Write = (batch: RecordBatch) => Promise<void>;

/** Writes what belongs to inodes, of which there are millions. */
export interface InodeRecordWriter {
  readonly nodes: Write;
  readonly edges: Write;
  readonly chunks: Write;
  readonly symlinks: Write;
  readonly xattrs: Write;
  readonly parents: Write;
}

/** Writes the other kinds. */
export interface RareRecordWriter {
  readonly sliceRefs: Write;
  readonly dirStats: Write;
  readonly counters: Write;
  readonly aclRules: Write;
  readonly sustained: Write;
  readonly delFiles: Write;
  readonly quotas: Write;
}

/** Hands a batch to the writer of its kind, for engines that store records as keys with values. */
export function writeBatch(batch: RecordBatch, records: InodeRecordWriter, rare: RareRecordWriter): Promise<void> {
  switch (batch.kind) {
    case "node":
      return records.nodes(batch);
    case "edge":
      return records.edges(batch);
    case "chunk":
      return records.chunks(batch);
    case "symlink":
      return records.symlinks(batch);
    case "xattr":
      return records.xattrs(batch);
    case "parent":
      return records.parents(batch);
    default:
      return writeRare(batch, rare);
  }
}

async function writeRare(batch: RecordBatch, rare: RareRecordWriter): Promise<void> {
  switch (batch.kind) {
    case "sliceRef":
      return rare.sliceRefs(batch);
    case "dirStat":
      return rare.dirStats(batch);
    case "counter":
      return rare.counters(batch);
    case "acl":
      return rare.aclRules(batch);
    case "sustained":
      return rare.sustained(batch);
    case "delFile":
      return rare.delFiles(batch);
    case "quota":
    case "userQuota":
    case "groupQuota":
      return rare.quotas(batch);
    default:
      throw new InternalError("DECANT_E_RECORD_KIND", `A loader does not take ${batch.kind} records`);
  }
}
