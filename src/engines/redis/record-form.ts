import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";
import { filledChunks, type RecordForm, readCounters, sharedSlices } from "../record-form.ts";

/** Keys hold the bytes of the records; what is not written, not read or changed is told here (docs/spec/redis.md §12). */
export const redisRecordForm: RecordForm = {
  computed: new Set(),

  missing: new Map([
    ["sliceRef", "slices with one reference or none, which Redis does not list"],
    ["chunk", "chunks without slices, which have no key"],
    ["counter", "counters that only other versions know, or of the change log"],
  ]),

  stored(batch: RecordBatch): RecordBatch {
    switch (batch.kind) {
      case "sliceRef":
        return sharedSlices(batch, (_, refs) => refs > 1n);
      case "chunk":
        return filledChunks(batch);
      case "counter":
        return readCounters(batch, false);
      case "delFile":
        return withScores(batch);
      default:
        return batch;
    }
  },
};

/** The time of a deletion is a score, a double: above 2^53 it is rounded (docs/spec/redis.md §9.4). */
function withScores(batch: RecordBatch): RecordBatch {
  const records = [...unpackBatch("delFile", batch)];
  const isExact = records.every(({ expire }) => BigInt(Number(expire)) === expire);
  if (isExact) return batch;
  return packBatch(
    "delFile",
    records.map((record) => ({ ...record, expire: BigInt(Number(record.expire)) })),
  );
}
