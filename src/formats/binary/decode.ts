import { DataError } from "../../base/errors.ts";
import { BatchBuilder, type FlatKind, packBatch, type RecordBatch, type RecordStream } from "../../volume/records.ts";
import { DecodeNotes, type OnNote } from "./decode-notes.ts";
import { RECORD_DECODERS, type RecordDecoder } from "./decode-record.ts";
import { compareFooter, decodeFooter, type Footer, footerError, type SegmentInfo } from "./footer.ts";
import { InputWindow } from "./input-window.ts";
import { EOS, FORMAT_SEGMENT, SEGMENT_HEADER_BYTES, type SegmentType, segmentTypeOf } from "./segment-types.ts";
import { WIRE_BYTES, WireReader } from "./wire-reader.ts";

export interface BinaryDecodeOptions {
  readonly signal: AbortSignal;
  /** Gets everything that was kept although it cannot be right. */
  readonly onNote: OnNote;
  /** Length of the document in bytes, where it is known: no segment can be longer than what is left. */
  readonly totalBytes?: number;
  /**
   * Go on behind a record that cannot be understood, or else behind its segment: it is left out, and its error given here.
   * Where nothing can be read any more the stream ends with an error as ever, after all that was read.
   */
  readonly onLeftOut?: (error: DataError) => void;
  /** Filled when the stream ends. */
  readonly result?: { footer?: Footer };
}

/** For tests. */
export interface BinaryDecodeTuning {
  readonly maxRecordBytes?: number;
  readonly maxFooterBytes?: number;
}

/** No value in a volume is nearly as large: a greater length is damage, and is not waited for. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024;
/** Room for the offsets of millions of segments. */
const MAX_FOOTER_BYTES = 64 * 1024 * 1024;
/** Tag and length of an item of a Batch: two varints. */
const MAX_ITEM_HEADER_BYTES = 20;

/**
 * Reads a binary dump (docs/spec/binary-dump.md) into batches, in the order of the document: `setting`, then records of any
 * flat kind, exactly as they are stored; sliceRef records of slice 0 are left out. Counters come in the SQL sense.
 *
 * Segments may come in any order, be of any length, and follow each other in any number; the input in pieces of any size.
 * Memory is bounded by the largest record. The document is only complete when the stream ends without an error: the footer is
 * then checked, and every count and offset in it compared with what was read.
 *
 * Throws `DataError` with the offset and the name of the segment for everything that is damaged, unknown or cut off.
 */
export async function* decodeBinaryDump(
  input: AsyncIterable<Buffer>,
  options: BinaryDecodeOptions,
  tuning: BinaryDecodeTuning = {},
): RecordStream {
  const window = new InputWindow(input);
  try {
    yield* new DumpDecoder(window, options, tuning).run();
  } finally {
    await window.close();
  }
}

interface Tally {
  records: number;
  readonly offsets: number[];
}

interface SegmentList {
  readonly builder: BatchBuilder;
  readonly decode: RecordDecoder;
}

class DumpDecoder {
  readonly #window: InputWindow;
  readonly #options: BinaryDecodeOptions;
  readonly #notes: DecodeNotes;
  readonly #reader = new WireReader();
  readonly #found: Map<string, Tally> = new Map();
  /** Used for all segments: a dump made from Redis by the reference has a thousand short ones. */
  readonly #builders: Map<FlatKind, BatchBuilder> = new Map();
  readonly #maxRecordBytes: number;
  readonly #maxFooterBytes: number;
  #ready: RecordBatch[] = [];
  /** Body bytes of the segment at hand that were not read yet. */
  #left = 0;

  constructor(window: InputWindow, options: BinaryDecodeOptions, tuning: BinaryDecodeTuning) {
    this.#window = window;
    this.#options = options;
    this.#notes = new DecodeNotes(options.onNote);
    this.#maxRecordBytes = tuning.maxRecordBytes ?? MAX_RECORD_BYTES;
    this.#maxFooterBytes = tuning.maxFooterBytes ?? MAX_FOOTER_BYTES;
  }

  async *run(): AsyncGenerator<RecordBatch> {
    const window = this.#window;
    if (!(await window.hold(1))) throw notBinary("the input is empty", window.offset);
    for (;;) {
      if (!(await window.hold(4))) this.#failCutOff("a segment");
      const type = window.bytes.readUInt32BE(window.at);
      if (type === EOS) break;
      yield* this.#segment(type);
    }
    const offset = window.offset + 4;
    window.at += 4;
    const footer = await this.#readFooter(offset);
    compareFooter(footer, this.#found, offset);
    if (this.#options.result !== undefined) this.#options.result.footer = footer;
  }

  async *#segment(typeNumber: number): AsyncGenerator<RecordBatch> {
    const window = this.#window;
    const offset = window.offset;
    const type = segmentTypeOf(typeNumber);
    if (type === undefined) throw this.#unknownSegment(typeNumber, offset);
    if (!(await window.hold(SEGMENT_HEADER_BYTES))) this.#failCutOff(`the header of a ${type.name} segment`);
    this.#left = this.#bodyLength(type, offset);
    window.at += SEGMENT_HEADER_BYTES;
    const tally = this.#found.get(type.name) ?? { records: 0, offsets: [] };
    tally.offsets.push(offset);
    this.#found.set(type.name, tally);
    this.#reader.segment = type.name;
    if (type.type === FORMAT_SEGMENT) yield await this.#format(tally, offset);
    else yield* this.#batches(type, tally);
  }

  #bodyLength(type: SegmentType, offset: number): number {
    const { bytes, at } = this.#window;
    const high = bytes.readUInt32BE(at + 4);
    const length = high * 0x1_0000_0000 + bytes.readUInt32BE(at + 8);
    const { totalBytes } = this.#options;
    const room = totalBytes === undefined ? Number.MAX_SAFE_INTEGER : totalBytes - offset - SEGMENT_HEADER_BYTES;
    if (length > room) {
      throw new DataError(
        "DECANT_E_BINARY_TRUNCATED",
        `The ${type.name} segment at offset ${offset} of the dump says that it has ${length} bytes, more than the whole dump`,
        { hint: "The dump is cut off or damaged; copy it again or take an earlier backup", location: { offset } },
      );
    }
    return length;
  }

  /** Format: 1 the setting as JSON text. */
  async #format(tally: Tally, offset: number): Promise<RecordBatch> {
    const window = this.#window;
    const size = this.#left;
    if (tally.offsets.length > 1) throw structureError("a second format segment", offset);
    if (size > this.#maxRecordBytes) throw structureError(`a format segment of ${size} bytes`, offset);
    if (!(await window.hold(size))) this.#failCutOff("the format segment");
    const reader = this.#reader;
    reader.open(window.bytes, window.base);
    reader.at = window.at;
    reader.end = window.at + size;
    let json: Buffer | undefined;
    while (reader.next()) {
      if (reader.field !== 1 || reader.wireType !== WIRE_BYTES) reader.failField();
      json = Buffer.from(reader.bytes.subarray(reader.start, reader.at));
    }
    if (json === undefined) throw structureError("a format segment without a setting", offset);
    window.at += size;
    tally.records++;
    return packBatch("setting", [{ json }]);
  }

  async *#batches(type: SegmentType, tally: Tally): AsyncGenerator<RecordBatch> {
    const lists = new Map<number, SegmentList>();
    for (const { field, kind } of type.lists) {
      const decode = RECORD_DECODERS[kind as keyof typeof RECORD_DECODERS];
      const builder = this.#builders.get(kind) ?? new BatchBuilder(kind);
      this.#builders.set(kind, builder);
      lists.set(field, { builder, decode });
    }
    try {
      yield* this.#readLists(type, lists, tally);
    } catch (error) {
      if (this.#options.onLeftOut === undefined || !(error instanceof DataError)) throw error;
      yield* this.#takeReady(lists);
      if (error.code === "DECANT_E_BINARY_TRUNCATED") throw error;
      this.#options.onLeftOut(error);
      await this.#skipSegment(type);
    }
    yield* this.#takeReady(lists);
  }

  async *#readLists(
    type: SegmentType,
    lists: ReadonlyMap<number, SegmentList>,
    tally: Tally,
  ): AsyncGenerator<RecordBatch> {
    const window = this.#window;
    while (this.#left > 0) {
      const wanted = this.#decodeHeld(lists, tally);
      if (this.#ready.length > 0) {
        yield* this.#ready;
        this.#ready = [];
      }
      this.#options.signal.throwIfAborted();
      if (wanted > 0 && !(await window.hold(wanted))) this.#failCutOff(`the ${type.name} segment`);
    }
  }

  /** Everything that was read of a segment and not given yet. */
  *#takeReady(lists: ReadonlyMap<number, SegmentList>): Generator<RecordBatch> {
    yield* this.#ready;
    this.#ready = [];
    for (const { builder } of lists.values()) {
      const rest = builder.take();
      if (rest !== undefined) yield rest;
    }
  }

  /** Passes over what is left of a segment. */
  async #skipSegment(type: SegmentType): Promise<void> {
    const window = this.#window;
    while (this.#left > 0) {
      if (!(await window.hold(1))) this.#failCutOff(`the ${type.name} segment`);
      const size = Math.min(this.#left, window.end - window.at);
      window.at += size;
      this.#left -= size;
    }
  }

  /** Decodes all records that are held whole; returns how many bytes must be held to go on, 0 at the segment's end. */
  #decodeHeld(lists: ReadonlyMap<number, SegmentList>, tally: Tally): number {
    const window = this.#window;
    const reader = this.#reader;
    const end = Math.min(window.end, window.at + this.#left);
    const isLast = end === window.at + this.#left;
    reader.open(window.bytes, window.base);
    let list: SegmentList | undefined;
    let field = 0;
    let at = window.at;
    let wanted = 0;
    while (at < end) {
      if (!isLast && end - at < MAX_ITEM_HEADER_BYTES) {
        wanted = Math.min(MAX_ITEM_HEADER_BYTES, this.#left - (at - window.at));
        break;
      }
      reader.at = at;
      reader.end = end;
      reader.readVarint();
      if ((reader.lo & 7) !== WIRE_BYTES || reader.hi !== 0) this.#failItem(reader);
      if (reader.lo >>> 3 !== field) {
        field = reader.lo >>> 3;
        list = lists.get(field);
      }
      if (list === undefined) this.#failItem(reader);
      reader.readVarint();
      const size = reader.hi === 0 ? reader.lo : Number.POSITIVE_INFINITY;
      const next = reader.at + size;
      if (next > end) {
        wanted = this.#sizeToHold(reader, at, next, isLast);
        break;
      }
      reader.end = next;
      if (this.#decodeRecord(reader, list)) this.#ready.push(list.builder.take()!);
      tally.records++;
      at = next;
    }
    this.#left -= at - window.at;
    window.at = at;
    return wanted === 0 && this.#left > 0 ? 1 : wanted;
  }

  /** Decodes the record at hand; true when the batch is full. Nothing stays of a record that is refused. */
  #decodeRecord(reader: WireReader, { builder, decode }: SegmentList): boolean {
    const { count } = builder;
    const { length } = builder.writer;
    try {
      return decode(reader, builder, this.#notes) && builder.commit();
    } catch (error) {
      if (this.#options.onLeftOut === undefined || !(error instanceof DataError)) throw error;
      // Of one message that is many records, the first ones may have been written.
      builder.count = count;
      builder.writer.length = length;
      this.#options.onLeftOut(error);
      return false;
    }
  }

  /** Checks the length of a record that is not held whole before anything is waited for. */
  #sizeToHold(reader: WireReader, at: number, next: number, isLast: boolean): number {
    const size = next - at;
    if (isLast || size > this.#left - (at - this.#window.at))
      reader.fail("a record ends behind the end of its segment");
    if (size > this.#maxRecordBytes) {
      reader.fail(`a record says that it has ${size} bytes, more than the ${this.#maxRecordBytes} that any can have`);
    }
    return size;
  }

  #failItem(reader: WireReader): never {
    reader.field = Math.floor((reader.hi * 0x1_0000_0000 + reader.lo) / 8);
    reader.wireType = reader.lo & 7;
    reader.failField();
  }

  async #readFooter(offset: number): Promise<Footer> {
    const window = this.#window;
    if (await window.hold(this.#maxFooterBytes)) throw footerError("too much follows the end mark", offset);
    return decodeFooter(window.bytes.subarray(window.at, window.end), offset);
  }

  #failCutOff(where: string): never {
    const offset = this.#window.base + this.#window.end;
    throw new DataError("DECANT_E_BINARY_TRUNCATED", `The binary dump ends at offset ${offset}, in ${where}`, {
      hint: "The dump is incomplete; copy it again or take an earlier backup",
      location: { offset },
    });
  }

  #unknownSegment(type: number, offset: number): DataError {
    if (offset === 0) return notBinary(`it begins with ${beginning(this.#window)} instead of a segment`, offset);
    return structureError(
      `a segment of type ${type}, which is not known`,
      offset,
      "The dump is damaged, or of a newer version of the format: load it with a newer decant",
    );
  }
}

function structureError(
  what: string,
  offset: number,
  hint: string = "The dump is damaged; copy it again or take an earlier backup",
): DataError {
  return new DataError("DECANT_E_BINARY_SEGMENT", `The binary dump has ${what}, at offset ${offset}`, {
    hint,
    location: { offset },
  });
}

/** An error for an input that is something else. */
function notBinary(problem: string, offset: number): DataError {
  return new DataError("DECANT_E_BINARY_FORMAT", `This is not a binary dump: ${problem}`, {
    hint: "Give the file that `dump --binary` has written; a JSON dump is loaded without --binary",
    location: { offset },
  });
}

function beginning(window: InputWindow): string {
  const bytes = window.bytes.subarray(window.at, Math.min(window.end, window.at + 12));
  const isText = bytes.every(
    (byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09,
  );
  return isText ? JSON.stringify(bytes.toString("latin1")) : `bytes ${bytes.toString("hex")}`;
}

export type { Footer, SegmentInfo };
