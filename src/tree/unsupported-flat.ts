import { viewOf } from "../base/bytes.ts";
import { ATTR_GID, ATTR_RDEV, ATTR_TYPE_MODE, ATTR_UID } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import { SLICE_BYTES } from "../volume/slices.ts";
import { OVERFLOW_OWNER, type UnsupportedValue, type ValueLimits } from "../volume/value-limits.ts";

const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
const NODE_HEADER = 10;
const CHUNK_HEADER = 16;
const SYMLINK_HEADER = 12;
const XATTR_HEADER = 14;

/**
 * The stage of tree/unsupported-values.ts for flat records, which have no paths: values are named by their inode.
 *
 *   uid, gid, rdev      replaced by OVERFLOW_OWNER, without the set-id bit; a device gets the number 0
 *   symlink             the link stays without its target
 *   extended attribute, chunk
 *                       left out
 */
export async function* leaveOutUnsupportedFlat(
  records: RecordStream,
  limits: ValueLimits,
  onValue: (value: UnsupportedValue) => void,
): RecordStream {
  const filter = new FlatFilter(limits, onValue);
  for await (const batch of records) yield await filter.apply(batch);
}

class FlatFilter {
  readonly #limits: ValueLimits;
  readonly #onValue: (value: UnsupportedValue) => void;

  constructor(limits: ValueLimits, onValue: (value: UnsupportedValue) => void) {
    this.#limits = limits;
    this.#onValue = onValue;
  }

  async apply(batch: RecordBatch): Promise<RecordBatch> {
    switch (batch.kind) {
      case "node":
        this.#nodes(batch);
        return batch;
      case "symlink":
        return this.#keep(batch, (at) => this.#symlink(batch.bytes, at));
      case "chunk":
        return this.#keep(batch, (at) => this.#chunk(batch.bytes, at));
      case "xattr":
        return this.#xattrs(batch);
      default:
        return batch;
    }
  }

  #nodes({ bytes, count }: RecordBatch): void {
    const { maxNumber } = this.#limits;
    const view = viewOf(bytes);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const attributes = at + NODE_HEADER;
      const uid = view.getUint32(attributes + ATTR_UID);
      const gid = view.getUint32(attributes + ATTR_GID);
      const rdev = view.getUint32(attributes + ATTR_RDEV);
      if (uid > maxNumber) this.#owner(view, at, "uid", uid, ATTR_UID, SET_USER_ID);
      if (gid > maxNumber) this.#owner(view, at, "gid", gid, ATTR_GID, SET_GROUP_ID);
      if (rdev > maxNumber) {
        this.#found(bytes, at, { kind: "rdev", value: rdev, reason: `the largest number is ${maxNumber}` });
        view.setUint32(attributes + ATTR_RDEV, 0);
      }
      at = attributes + view.getUint16(at + 8);
    }
  }

  #owner(view: DataView, at: number, kind: "uid" | "gid", value: number, offset: number, bit: number): void {
    const attributes = at + NODE_HEADER;
    const reason = `the largest number is ${this.#limits.maxNumber}`;
    this.#onValue({ ...placeOf(view.getBigUint64(at)), kind, value, reason });
    view.setUint32(attributes + offset, OVERFLOW_OWNER);
    const typeMode = view.getUint16(attributes + ATTR_TYPE_MODE);
    if (typeMode >> 12 !== FileType.directory) view.setUint16(attributes + ATTR_TYPE_MODE, typeMode & ~bit);
  }

  /** Keeps the records for which `judge` says so; it returns where the record ends, negative when it is left out. */
  #keep(batch: RecordBatch, judge: (at: number) => number): RecordBatch {
    const { bytes } = batch;
    let count = 0;
    let to = 0;
    let at = 0;
    for (let i = 0; i < batch.count; i++) {
      const judged = judge(at);
      const end = Math.abs(judged);
      if (judged > 0) {
        if (to !== at) bytes.copyWithin(to, at, end);
        to += end - at;
        count++;
      }
      at = end;
    }
    return count === batch.count ? batch : { kind: batch.kind, count, bytes: bytes.subarray(0, to) };
  }

  #symlink(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32BE(at + 8);
    const end = at + SYMLINK_HEADER + size;
    if (size <= this.#limits.maxSymlinkBytes) return end;
    const value = Buffer.from(bytes.subarray(at + SYMLINK_HEADER, end));
    const reason = `it has ${size} bytes, ${this.#limits.maxSymlinkBytes} are possible`;
    this.#found(bytes, at, { kind: "symlink", value, reason });
    return -end;
  }

  #chunk(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32BE(at + 12);
    const end = at + CHUNK_HEADER + size;
    const { maxSlicesBytes } = this.#limits;
    if (size <= maxSlicesBytes) return end;
    const reason = `it has ${size / SLICE_BYTES} slices, ${Math.floor(maxSlicesBytes / SLICE_BYTES)} are possible`;
    const value = Buffer.from(bytes.subarray(at + CHUNK_HEADER, end));
    this.#found(bytes, at, { kind: "chunk", index: bytes.readUInt32BE(at + 8), value, reason });
    return -end;
  }

  /** Asks about the names of neighbours of one inode together, once for a whole batch. */
  async #xattrs(batch: RecordBatch): Promise<RecordBatch> {
    const { bytes } = batch;
    const lists: Buffer[][] = [];
    const places: (readonly [list: number, index: number])[] = [];
    let inode = -1n;
    for (let i = 0, at = 0; i < batch.count; i++) {
      const name = at + XATTR_HEADER;
      const value = name + bytes.readUInt16BE(at + 8);
      const of = bytes.readBigUInt64BE(at);
      if (of !== inode) lists.push([]);
      inode = of;
      const list = lists[lists.length - 1]!;
      places.push([lists.length - 1, list.length]);
      list.push(bytes.subarray(name, value));
      at = value + bytes.readUInt32BE(at + 10);
    }
    const problems = await this.#limits.xattrNameProblems(lists);
    let i = 0;
    return this.#keep(batch, (at) => {
      const [list, index] = places[i++]!;
      return this.#xattr(bytes, at, problems[list]?.get(index));
    });
  }

  #xattr(bytes: Buffer, at: number, nameProblem: string | undefined): number {
    const value = at + XATTR_HEADER + bytes.readUInt16BE(at + 8);
    const size = bytes.readUInt32BE(at + 10);
    const end = value + size;
    const { maxXattrValueBytes } = this.#limits;
    const tooLong = size > maxXattrValueBytes ? `it has ${size} bytes, ${maxXattrValueBytes} are possible` : undefined;
    const reason = nameProblem ?? tooLong;
    if (reason === undefined) return end;
    const name = Buffer.from(bytes.subarray(at + XATTR_HEADER, value));
    this.#found(bytes, at, { kind: "xattr", name, value: Buffer.from(bytes.subarray(value, end)), reason });
    return -end;
  }

  #found(bytes: Buffer, at: number, value: Omit<UnsupportedValue, "path" | "inode">): void {
    this.#onValue({ ...placeOf(bytes.readBigUInt64BE(at)), ...value });
  }
}

function placeOf(inode: bigint): Pick<UnsupportedValue, "path" | "inode"> {
  return { path: `inode ${inode}`, inode };
}
