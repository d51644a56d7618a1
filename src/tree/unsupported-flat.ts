import { viewOf } from "../base/bytes.ts";
import { ATTR_TYPE_MODE } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import type { UnsupportedValue, ValueLimits } from "../volume/value-limits.ts";
import { KindOrder } from "./kind-order.ts";
import { type FoundValue, UnsupportedRules } from "./unsupported-rules.ts";

const NODE_HEADER = 10;
const CHUNK_HEADER = 16;
const SYMLINK_HEADER = 12;
const XATTR_HEADER = 14;

/** What the sorting of extended attributes may take. */
export interface FlatStageMemory {
  readonly maxBytes: number;
  readonly tmpDir: string;
}

/**
 * The stage of tree/unsupported-values.ts for flat records, which have no paths: values are named by their inode.
 *
 *   uid, gid, rdev      replaced by OVERFLOW_OWNER, without the set-id bit; a device gets the number 0
 *   symlink             the link stays without its target
 *   extended attribute, chunk
 *                       left out
 *
 * A name is judged beside the others of its inode, wherever in the source they stand: extended attributes come last, sorted.
 */
export async function* leaveOutUnsupportedFlat(
  records: RecordStream,
  limits: ValueLimits,
  onValue: (value: UnsupportedValue) => void,
  memory: FlatStageMemory,
): RecordStream {
  const filter = new FlatFilter(limits, onValue);
  const xattrs = new KindOrder({ kinds: ["xattr"], ...memory });
  try {
    for await (const batch of records) {
      if (batch.kind === "xattr") xattrs.add(batch);
      else yield filter.apply(batch);
    }
    for (const batch of xattrs.drain()) yield await filter.applyToXattrs(batch);
  } finally {
    xattrs.close();
  }
}

class FlatFilter {
  readonly #rules: UnsupportedRules;
  readonly #onValue: (value: UnsupportedValue) => void;
  /** The last inode with extended attributes, and all their names so far: the next batch may go on with it. */
  #inode = 0n;
  #names: Buffer[] = [];

  constructor(limits: ValueLimits, onValue: (value: UnsupportedValue) => void) {
    this.#rules = new UnsupportedRules(limits);
    this.#onValue = onValue;
  }

  apply(batch: RecordBatch): RecordBatch {
    switch (batch.kind) {
      case "node":
        this.#nodes(batch);
        return batch;
      case "symlink":
        return this.#keep(batch, (at) => this.#symlink(batch.bytes, at));
      case "chunk":
        return this.#keep(batch, (at) => this.#chunk(batch.bytes, at));
      default:
        return batch;
    }
  }

  /** Batches of extended attributes must come in order of inodes and names. */
  async applyToXattrs(batch: RecordBatch): Promise<RecordBatch> {
    const { bytes } = batch;
    const lists = [this.#names];
    const places: (readonly [list: number, index: number])[] = [];
    for (let i = 0, at = 0; i < batch.count; i++) {
      const name = at + XATTR_HEADER;
      const value = name + bytes.readUInt16BE(at + 8);
      const inode = bytes.readBigUInt64BE(at);
      if (inode !== this.#inode) {
        this.#inode = inode;
        this.#names = [];
        lists.push(this.#names);
      }
      places.push([lists.length - 1, this.#names.length]);
      this.#names.push(Buffer.from(bytes.subarray(name, value)));
      at = value + bytes.readUInt32BE(at + 10);
    }
    await this.#rules.learnNames(lists);
    const problems = lists.map((names) => this.#rules.nameProblems(names));
    let i = 0;
    return this.#keep(batch, (at) => {
      const [list, index] = places[i++]!;
      return this.#xattr(bytes, at, problems[list]?.get(index));
    });
  }

  #nodes({ bytes, count }: RecordBatch): void {
    const view = viewOf(bytes);
    let start = 0;
    const onFound = (value: FoundValue): void => this.#found(bytes, start, value);
    for (let i = 0; i < count; i++) {
      const attributes = start + NODE_HEADER;
      const isDirectory = view.getUint16(attributes + ATTR_TYPE_MODE) >> 12 === FileType.directory;
      this.#rules.replaceNumbers(view, attributes, isDirectory, onFound);
      start = attributes + view.getUint16(start + 8);
    }
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
    const reason = this.#rules.symlink(size);
    if (reason === undefined) return end;
    const value = Buffer.from(bytes.subarray(at + SYMLINK_HEADER, end));
    this.#found(bytes, at, { kind: "symlink", value, reason });
    return -end;
  }

  #chunk(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32BE(at + 12);
    const end = at + CHUNK_HEADER + size;
    const reason = this.#rules.slices(size);
    if (reason === undefined) return end;
    const value = Buffer.from(bytes.subarray(at + CHUNK_HEADER, end));
    this.#found(bytes, at, { kind: "chunk", index: bytes.readUInt32BE(at + 8), value, reason });
    return -end;
  }

  #xattr(bytes: Buffer, at: number, nameProblem: string | undefined): number {
    const value = at + XATTR_HEADER + bytes.readUInt16BE(at + 8);
    const size = bytes.readUInt32BE(at + 10);
    const end = value + size;
    const reason = nameProblem ?? this.#rules.xattrValue(size);
    if (reason === undefined) return end;
    const name = Buffer.from(bytes.subarray(at + XATTR_HEADER, value));
    this.#found(bytes, at, { kind: "xattr", name, value: Buffer.from(bytes.subarray(value, end)), reason });
    return -end;
  }

  #found(bytes: Buffer, at: number, value: FoundValue): void {
    const inode = bytes.readBigUInt64BE(at);
    this.#onValue({ path: `inode ${inode}`, inode, ...value });
  }
}
