import { compareUint64 } from "../base/bytes.ts";
import type { FlatKind } from "../volume/records.ts";

/** What sorting must know of the packed records of one kind (volume/records.ts). */
export interface RecordLayout {
  /** Size of the record at `at`. */
  readonly size: (view: DataView, at: number) => number;
  /** The number at offset 0 that decides first: u64, or u32 where `isNarrow`. Undefined: only the name decides. */
  readonly first?: { readonly isNarrow: boolean };
  /** Offset of a u64 further on that decides between first ones, where many are equal. */
  readonly second?: { readonly at: number };
  /** A name that decides before the rest of the bytes does: offset of its u16 size, and of itself. */
  readonly name?: { readonly sizeAt: number; readonly at: number };
}

const fixed =
  (size: number): RecordLayout["size"] =>
  () =>
    size;
const WIDE = { isNarrow: false } as const;
const QUOTA: RecordLayout = { size: fixed(40), first: WIDE };

/** Order of dumps: by the numbers that a record belongs to, then by name, then by all bytes. */
export const RECORD_LAYOUTS: Readonly<Record<Exclude<FlatKind, "setting">, RecordLayout>> = {
  counter: { size: (view, at) => 10 + view.getUint16(at), name: { sizeAt: 0, at: 10 } },
  node: { size: (view, at) => 10 + view.getUint16(at + 8), first: WIDE },
  edge: { size: (view, at) => 19 + view.getUint16(at + 17), first: WIDE, second: { at: 8 } },
  chunk: { size: (view, at) => 16 + view.getUint32(at + 12), first: WIDE },
  symlink: { size: (view, at) => 12 + view.getUint32(at + 8), first: WIDE },
  xattr: {
    size: (view, at) => 14 + view.getUint16(at + 8) + view.getUint32(at + 10),
    first: WIDE,
    name: { sizeAt: 8, at: 14 },
  },
  parent: { size: fixed(24), first: WIDE, second: { at: 8 } },
  sliceRef: { size: fixed(20), first: WIDE },
  acl: { size: (view, at) => 8 + view.getUint32(at + 4), first: { isNarrow: true } },
  sustained: { size: fixed(16), first: WIDE, second: { at: 8 } },
  delFile: { size: fixed(24), first: WIDE },
  dirStat: { size: fixed(32), first: WIDE },
  quota: QUOTA,
  userQuota: QUOTA,
  groupQuota: QUOTA,
  changeLog: { size: (view, at) => 12 + view.getUint32(at + 8), first: WIDE },
};

/** Compares two whole records, `a[aAt..aEnd)` and `b[bAt..bEnd)`: a total order. */
export function compareRecords(
  layout: RecordLayout,
  a: Buffer,
  aAt: number,
  aEnd: number,
  b: Buffer,
  bAt: number,
  bEnd: number,
): number {
  const { name, first } = layout;
  if (first?.isNarrow === false) {
    const order = compareUint64(a, aAt, b, bAt);
    if (order !== 0) return order;
  }
  if (name !== undefined) {
    const head = a.compare(b, bAt, bAt + name.sizeAt, aAt, aAt + name.sizeAt);
    if (head !== 0) return head;
    const [aName, bName] = [aAt + name.at, bAt + name.at];
    const aNameEnd = aName + a.readUInt16BE(aAt + name.sizeAt);
    const bNameEnd = bName + b.readUInt16BE(bAt + name.sizeAt);
    const names = a.compare(b, bName, bNameEnd, aName, aNameEnd);
    if (names !== 0) return names;
  }
  return a.compare(b, bAt, bEnd, aAt, aEnd);
}
