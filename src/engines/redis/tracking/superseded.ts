import { viewOf } from "../../../base/bytes.ts";
import { RECORD_LAYOUTS } from "../../../tree/record-layout.ts";
import type { FlatKind, RecordBatch } from "../../../volume/records.ts";
import { FAMILY_CHUNK } from "../redis-keys.ts";
import type { DirtyKeys } from "./dirty-keys.ts";

/**
 * The batch without the records of keys that were read again later, in place; undefined when nothing is left. For the kinds of
 * inodes: each record begins with the inode that its key names.
 */
export function withoutSuperseded(batch: RecordBatch, family: number, later: DirtyKeys): RecordBatch | undefined {
  if (!later.hasFamily(family)) return batch;
  const { size } = RECORD_LAYOUTS[batch.kind as Exclude<FlatKind, "setting">];
  const { bytes } = batch;
  const view = viewOf(bytes);
  let count = 0;
  let to = 0;
  let keptFrom = 0;
  let at = 0;
  const keep = (): void => {
    if (to !== keptFrom) bytes.copyWithin(to, keptFrom, at);
    to += at - keptFrom;
  };
  for (let i = 0; i < batch.count; i++) {
    const next = at + size(view, at);
    const index = family === FAMILY_CHUNK ? view.getUint32(at + 8) : 0;
    if (later.hasInode(family, view.getUint32(at), view.getUint32(at + 4), index)) {
      keep();
      keptFrom = next;
    } else count++;
    at = next;
  }
  keep();
  return count === 0 ? undefined : { kind: batch.kind, count, bytes: bytes.subarray(0, to) };
}
