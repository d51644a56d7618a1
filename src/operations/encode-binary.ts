import { recycle, viewOf } from "../base/bytes.ts";
import { type BinaryEncodeResult, encodeBinaryDump } from "../formats/binary/encode.ts";
import type { KindOrder } from "../tree/kind-order.ts";
import type { FindingList } from "../volume/findings.ts";
import { printableName } from "../volume/path.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";

export interface EncodeBinaryOptions {
  /** As it shall stand in the dump. */
  readonly setting: Buffer;
  /** See `BinaryEncodeOptions`. */
  readonly rawXattrNames: boolean;
  readonly findings: FindingList;
}

/** The pieces of a binary dump of what was brought into order, with progress and findings. `result` grows with them. */
export async function* encodeInOrder(
  order: KindOrder,
  { setting, rawXattrNames, findings }: EncodeBinaryOptions,
  context: OperationContext,
  result: BinaryEncodeResult,
): AsyncGenerator<Buffer> {
  const writing = context.progress.begin("Writing records");
  const pieces = encodeBinaryDump(
    ordered(order, context.signal),
    {
      setting,
      rawXattrNames,
      onXattrName: (inode, name) => findings.add("xattr-left-out", () => `inode ${inode}, ${printableName(name)}`),
    },
    result,
  );
  for await (const piece of pieces) {
    writing.bytes = result.bytes;
    yield piece;
  }
  context.progress.end(writing);
}

async function* ordered(order: KindOrder, signal: AbortSignal): RecordStream {
  for (const batch of order.drain()) {
    signal.throwIfAborted();
    yield batch;
    recycle(batch.bytes);
  }
}

/** Packed slice reference: u64 id, u32 size, s64 refs. */
const SLICE_REF_BYTES = 20;
const SLICE_REFS = 12;

/** A dump names only slices whose number of references is not 1 (docs/spec/binary-dump.md §4): few of all. Takes the batch over. */
export function sharedSlices({ bytes }: RecordBatch): RecordBatch {
  const view = viewOf(bytes);
  let end = 0;
  for (let at = 0; at < bytes.length; at += SLICE_REF_BYTES) {
    if (view.getUint32(at + SLICE_REFS) === 0 && view.getUint32(at + SLICE_REFS + 4) === 1) continue;
    bytes.copyWithin(end, at, at + SLICE_REF_BYTES);
    end += SLICE_REF_BYTES;
  }
  return { kind: "sliceRef", count: end / SLICE_REF_BYTES, bytes: bytes.subarray(0, end) };
}
