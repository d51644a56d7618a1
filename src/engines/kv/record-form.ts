import type { RecordBatch } from "../../volume/records.ts";
import { filledChunks, type RecordForm, readCounters, SINGLE_REFERENCES, sharedSlices } from "../record-form.ts";

/** Pairs hold the bytes of the records; what is not written, or not read, is told here (docs/spec/kv.md §5, §9). */
export const kvRecordForm: RecordForm = {
  computed: new Set(),

  missing: new Map([
    ["sliceRef", SINGLE_REFERENCES],
    ["chunk", "chunks without slices, which have no key"],
    ["counter", "counters that only other versions know, or of the change log"],
  ]),

  stored(batch: RecordBatch): RecordBatch {
    switch (batch.kind) {
      case "sliceRef":
        return sharedSlices(batch, () => true);
      case "chunk":
        return filledChunks(batch);
      case "counter":
        return readCounters(batch, false);
      default:
        return batch;
    }
  },
};
