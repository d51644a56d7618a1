import { ByteWriter, viewOf } from "../../base/bytes.ts";
import { InternalError } from "../../base/errors.ts";
import { bytesSize, putVarint32 } from "../../base/varint.ts";
import type { FlatKind, RecordBatch, RecordStream } from "../../volume/records.ts";
import { type EncodeContext, encodeSustained, RECORD_ENCODERS, type RecordEncoder } from "./encode-record.ts";
import { encodeFooter } from "./footer.ts";
import { EOS, FORMAT_SEGMENT, SEGMENT_HEADER_BYTES, SEGMENT_TYPES, type SegmentType } from "./segment-types.ts";

export interface BinaryEncodeOptions {
  /** The setting as JSON text, as it shall be stored. */
  readonly setting: Buffer;
  /**
   * Write names of extended attributes that are no UTF-8 as they are: decant reads them back, the reference cannot read such a
   * file at all. Else they are left out.
   */
  readonly rawXattrNames: boolean;
  /** Called for every extended attribute that was left out. */
  onXattrName(inode: bigint, name: Buffer): void;
}

export interface BinaryEncodeResult {
  /** Records written by kind; sustained inodes one by one. */
  readonly counts: Map<FlatKind, number>;
  /** Bytes of the document. */
  bytes: number;
}

/** For tests. */
export interface BinaryEncodeTuning {
  readonly segmentRecords?: number;
  readonly segmentBytes?: number;
}

/** Records per segment, as the reference has them from SQL engines. */
const SEGMENT_RECORDS = 100_000;
/** A segment ends here even with fewer records: it is held in memory until its length is known, here and by who reads it. */
const SEGMENT_BYTES = 16 * 1024 * 1024;

/**
 * Encodes flat records as a binary dump (docs/spec/binary-dump.md). Kinds must come in the order of `DUMP_ORDER`, and within
 * a kind in the order in which they shall stand: what is given in one order always gives the same bytes. Empty kinds are
 * written as the reference does for SQL engines: an empty segment, but none for quotas and the change log.
 *
 * The pieces are handed over; `bytes` and `counts` of the result grow with them.
 */
export async function* encodeBinaryDump(
  records: RecordStream,
  options: BinaryEncodeOptions,
  result: BinaryEncodeResult,
  tuning: BinaryEncodeTuning = {},
): AsyncGenerator<Buffer> {
  const encoder = new DumpEncoder(options, result, tuning);
  yield encoder.format();
  for await (const batch of records) yield* encoder.add(batch);
  yield* encoder.end();
}

/** Types of which no segment is written when there is no record. */
const OMITTED_WHEN_EMPTY: ReadonlySet<string> = new Set(["quota", "changeLog"]);

interface Tally {
  records: number;
  readonly offsets: number[];
}

class DumpEncoder {
  readonly #options: BinaryEncodeOptions;
  readonly #result: BinaryEncodeResult;
  readonly #segmentRecords: number;
  readonly #segmentBytes: number;
  readonly #writer: ByteWriter = new ByteWriter(1024 * 1024);
  readonly #tallies: Map<string, Tally> = new Map();
  /** Position in SEGMENT_TYPES, and in the lists of that type. */
  #position = 1;
  #list = 0;
  /** Messages in the segment at hand. */
  #messages = 0;

  constructor(options: BinaryEncodeOptions, result: BinaryEncodeResult, tuning: BinaryEncodeTuning) {
    this.#options = options;
    this.#result = result;
    this.#segmentRecords = tuning.segmentRecords ?? SEGMENT_RECORDS;
    this.#segmentBytes = tuning.segmentBytes ?? SEGMENT_BYTES;
    this.#beginSegment();
  }

  /** Format: 1 the setting. */
  format(): Buffer {
    const { setting } = this.#options;
    const writer = this.#writer;
    writer.reserve(bytesSize(setting.length));
    writer.writeU8(0x0a);
    writer.length = putVarint32(writer.buffer, writer.length, setting.length);
    writer.writeBytes(setting);
    this.#messages = 1;
    return this.#endSegment(SEGMENT_TYPES[FORMAT_SEGMENT - 1]!);
  }

  *add(batch: RecordBatch): Generator<Buffer> {
    yield* this.#goTo(batch.kind as FlatKind);
    const { field } = this.#type.lists[this.#list]!;
    const kind = batch.kind as FlatKind;
    this.#result.counts.set(kind, (this.#result.counts.get(kind) ?? 0) + batch.count);
    const tag = (field << 3) | 2;
    if (kind === "sustained") {
      this.#messages += encodeSustained(batch, this.#writer, tag);
      if (this.#isFull) yield this.#endSegment(this.#type);
      return;
    }
    yield* this.#encode(batch, RECORD_ENCODERS[kind as keyof typeof RECORD_ENCODERS], tag);
  }

  /** Ends the last segment and writes end mark and footer. */
  *end(): Generator<Buffer> {
    while (this.#position < SEGMENT_TYPES.length) yield* this.#endType();
    this.#writer.length = 0;
    this.#writer.writeU32(EOS);
    const infos = new Map([...this.#tallies].map(([name, tally]) => [name, tally]));
    this.#writer.writeBytes(encodeFooter(infos));
    this.#result.bytes += this.#writer.length;
    yield this.#writer.take();
  }

  get #type(): SegmentType {
    return SEGMENT_TYPES[this.#position]!;
  }

  get #isFull(): boolean {
    return this.#messages >= this.#segmentRecords || this.#writer.length >= this.#segmentBytes;
  }

  /** Ends the types before that of `kind`. */
  *#goTo(kind: FlatKind): Generator<Buffer> {
    for (;;) {
      const type = this.#type as SegmentType | undefined;
      if (type === undefined) break;
      const list = type.lists.findIndex((found, i) => i >= this.#list && found.kind === kind);
      if (list >= 0) {
        this.#list = list;
        return;
      }
      yield* this.#endType();
    }
    throw new InternalError("DECANT_E_RECORD_ORDER", `Records of kind ${kind} come too late for a binary dump`);
  }

  *#endType(): Generator<Buffer> {
    const type = this.#type;
    const isWritten = this.#tallies.has(type.name);
    if (this.#messages > 0 || !(isWritten || OMITTED_WHEN_EMPTY.has(type.name))) yield this.#endSegment(type);
    this.#position++;
    this.#list = 0;
  }

  *#encode(batch: RecordBatch, encode: RecordEncoder, tag: number): Generator<Buffer> {
    const { bytes, count } = batch;
    const writer = this.#writer;
    const context: EncodeContext = {
      bytes,
      view: viewOf(bytes),
      writer,
      rawXattrNames: this.#options.rawXattrNames,
      onXattrName: (inode, name) => {
        this.#result.counts.set("xattr", this.#result.counts.get("xattr")! - 1);
        this.#options.onXattrName(inode, name);
      },
    };
    let at = 0;
    for (let i = 0; i < count; i++) {
      const before = writer.length;
      at = encode(context, at, tag);
      if (writer.length === before) continue;
      if (++this.#messages >= this.#segmentRecords || writer.length >= this.#segmentBytes) {
        yield this.#endSegment(this.#type);
      }
    }
  }

  #beginSegment(): void {
    this.#writer.length = SEGMENT_HEADER_BYTES;
    this.#messages = 0;
  }

  #endSegment(type: SegmentType): Buffer {
    const writer = this.#writer;
    writer.view.setUint32(0, type.type);
    const body = writer.length - SEGMENT_HEADER_BYTES;
    writer.view.setUint32(4, 0);
    writer.view.setUint32(8, body);
    const tally = this.#tallies.get(type.name) ?? { records: 0, offsets: [] };
    tally.records += this.#messages;
    tally.offsets.push(this.#result.bytes);
    this.#tallies.set(type.name, tally);
    this.#result.bytes += writer.length;
    const piece = writer.take();
    this.#beginSegment();
    return piece;
  }
}
