import {
  type FlatKind,
  type RecordKind,
  type RecordStream,
  type RecordTypes,
  unpackBatch,
} from "../../src/volume/records.ts";

/** All kinds that an engine may be asked for. */
export const ENGINE_KINDS: ReadonlySet<RecordKind> = new Set<RecordKind>([
  "counter",
  "node",
  "edge",
  "chunk",
  "symlink",
  "xattr",
  "parent",
  "sliceRef",
  "acl",
  "sustained",
  "delFile",
  "dirStat",
  "quota",
  "userQuota",
  "groupQuota",
]);

/** Decodes a whole stream, by kind; buffers are copies of nothing and live as long as the batches. */
export async function collectRecords(stream: RecordStream): Promise<Map<FlatKind, RecordTypes[FlatKind][]>> {
  const records = new Map<FlatKind, RecordTypes[FlatKind][]>();
  for await (const batch of stream) {
    const kind = batch.kind as FlatKind;
    const list = records.get(kind) ?? [];
    for (const record of unpackBatch(kind, batch)) list.push(record);
    records.set(kind, list);
  }
  return records;
}
