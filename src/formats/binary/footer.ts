import { DataError } from "../../base/errors.ts";
import { bytesSize, fieldSize, putField, putVarint32, varintSize } from "../../base/varint.ts";
import { EOS, FOOTER_LENGTH_BYTES, FORMAT_VERSION, SEGMENT_TYPES } from "./segment-types.ts";
import { WIRE_BYTES, WIRE_VARINT, WireReader } from "./wire-reader.ts";

/** What a footer says of the segments of one type. */
export interface SegmentInfo {
  /** Number of records in all of them. */
  readonly records: number;
  /** Where they begin, in bytes from the beginning of the document. */
  readonly offsets: readonly number[];
}

/** The footer of a dump (docs/spec/binary-dump.md §2): version, and what there is by name of segment. */
export interface Footer {
  readonly version: number;
  readonly segments: ReadonlyMap<string, SegmentInfo>;
}

const DAMAGE_HINT = "The dump is cut off or damaged; copy it again or take an earlier backup";

/** An error about the footer, or about a dump that is not as its footer says. */
export function footerError(problem: string, offset: number, hint: string = DAMAGE_HINT): DataError {
  return new DataError("DECANT_E_BINARY_FOOTER", `The end of the binary dump is not as it must be: ${problem}`, {
    hint,
    location: { offset },
  });
}

/** Encodes a footer with its length behind it; segments in the order of their names. */
export function encodeFooter(segments: ReadonlyMap<string, SegmentInfo>): Buffer {
  const entries = [...segments].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, info]) => encodeEntry(name, info));
  const head = Buffer.alloc(16);
  let headSize = putField(head, 0, 0x08, 0, EOS);
  headSize = putField(head, headSize, 0x10, 0, FORMAT_VERSION);
  const body = Buffer.concat([head.subarray(0, headSize), ...entries]);
  const length = Buffer.alloc(FOOTER_LENGTH_BYTES);
  length.writeBigUInt64BE(BigInt(body.length));
  return Buffer.concat([body, length]);
}

const highOf = (value: number): number => Math.floor(value / 0x1_0000_0000);
const lowOf = (value: number): number => value >>> 0;

/** One entry of the map: 3 = { 1 name, 2 { 1 packed offsets, 2 records } }. */
function encodeEntry(name: string, info: SegmentInfo): Buffer {
  const offsetsSize = info.offsets.reduce((sum, offset) => sum + varintSize(highOf(offset), lowOf(offset)), 0);
  const infoSize = bytesSize(offsetsSize) + fieldSize(highOf(info.records), lowOf(info.records));
  const nameBytes = Buffer.from(name);
  const entrySize = bytesSize(nameBytes.length) + 1 + varintSize(0, infoSize) + infoSize;
  const out = Buffer.alloc(bytesSize(entrySize));
  let at = 0;
  const head = (tag: number, size: number): void => {
    out[at] = tag;
    at = putVarint32(out, at + 1, size);
  };
  head(0x1a, entrySize);
  head(0x0a, nameBytes.length);
  at += nameBytes.copy(out, at);
  head(0x12, infoSize);
  if (offsetsSize > 0) head(0x0a, offsetsSize);
  for (const offset of info.offsets) at = putVarint64(out, at, offset);
  putField(out, at, 0x10, highOf(info.records), lowOf(info.records));
  return out;
}

function putVarint64(out: Buffer, at: number, value: number): number {
  let to = at;
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out[to++] = (rest % 0x80) | 0x80;
  out[to] = rest;
  return to + 1;
}

/**
 * Decodes all that follows the end mark: the footer's body and its length. `offset` is where it stands in the document.
 * Throws `DataError` for anything that is not as the format demands.
 */
export function decodeFooter(bytes: Buffer, offset: number): Footer {
  const size = bytes.length - FOOTER_LENGTH_BYTES;
  if (size < 0) throw footerError(`it is cut off in the footer, ${bytes.length} bytes behind the end mark`, offset);
  const announced = bytes.readBigUInt64BE(size);
  if (announced !== BigInt(size)) {
    throw footerError(
      `the footer has ${size} bytes, but says that it has ${announced}: it is cut off, or something follows it`,
      offset + size,
    );
  }
  const reader = new WireReader();
  reader.open(bytes, offset);
  reader.segment = "footer";
  reader.end = size;
  return readFooter(reader, offset);
}

function readFooter(reader: WireReader, offset: number): Footer {
  const numbers = [0, 0, 0];
  const segments = new Map<string, SegmentInfo>();
  while (reader.next()) {
    const { field, wireType } = reader;
    if (wireType === WIRE_VARINT && field <= 2) numbers[field] = reader.uint32();
    else if (wireType === WIRE_BYTES && field === 3) readEntry(reader, segments, offset);
    else reader.failField();
  }
  if (numbers[1] !== EOS) throw footerError(`invalid magic number ${numbers[1]}, expect ${EOS}`, offset);
  if (numbers[2] !== FORMAT_VERSION) {
    throw new DataError(
      "DECANT_E_BINARY_VERSION",
      `The binary dump has version ${numbers[2]} of the format, this decant knows version ${FORMAT_VERSION}`,
      { hint: "Load it with a newer decant, or with the juicefs that wrote it", location: { offset } },
    );
  }
  return { version: FORMAT_VERSION, segments };
}

function readEntry(reader: WireReader, segments: Map<string, SegmentInfo>, offset: number): void {
  const { at: end, end: outerEnd } = reader;
  enter(reader);
  let name = "";
  let info: SegmentInfo = { records: 0, offsets: [] };
  while (reader.next()) {
    if (reader.wireType !== WIRE_BYTES || reader.field > 2) reader.failField();
    if (reader.field === 1) name = reader.bytes.toString("utf8", reader.start, reader.at);
    else info = readInfo(reader);
  }
  leave(reader, end, outerEnd);
  if (!SEGMENT_TYPES.some((type) => type.name === name)) {
    throw footerError(`it lists segments of a kind that is not known: ${JSON.stringify(name)}`, offset, NEWER_HINT);
  }
  if (segments.has(name)) throw footerError(`it lists the ${name} segments twice`, offset);
  segments.set(name, info);
}

const NEWER_HINT = "The dump is damaged, or of a newer version of the format: load it with a newer decant";

function readInfo(reader: WireReader): SegmentInfo {
  const { at: end, end: outerEnd } = reader;
  enter(reader);
  const offsets: number[] = [];
  let records = 0;
  while (reader.next()) {
    const { field, wireType } = reader;
    if (field === 2 && wireType === WIRE_VARINT) records = safeNumber(reader);
    else if (field === 1 && wireType === WIRE_VARINT) offsets.push(safeNumber(reader));
    else if (field === 1) readOffsets(reader, offsets);
    else reader.failField();
  }
  leave(reader, end, outerEnd);
  return { records, offsets };
}

function readOffsets(reader: WireReader, offsets: number[]): void {
  const end = reader.at;
  reader.at = reader.start;
  while (reader.at < end) {
    reader.readVarint();
    if (reader.at > end) reader.fail("a list of offsets is cut off");
    offsets.push(safeNumber(reader));
  }
}

/** Goes into the message that is the bytes field at hand. */
function enter(reader: WireReader): void {
  reader.end = reader.at;
  reader.at = reader.start;
}

function leave(reader: WireReader, at: number, end: number): void {
  reader.at = at;
  reader.end = end;
}

function safeNumber(reader: WireReader): number {
  if (reader.hi >= 0x20_0000) reader.fail("a number in the footer is greater than any file");
  return reader.hi * 0x1_0000_0000 + reader.lo;
}

/** Throws `DataError` unless both say the same of every segment; the order of the offsets of one type does not matter. */
export function compareFooter(footer: Footer, found: ReadonlyMap<string, SegmentInfo>, offset: number): void {
  for (const { name } of SEGMENT_TYPES) {
    const listed = footer.segments.get(name);
    const seen = found.get(name);
    if ((listed?.records ?? 0) !== (seen?.records ?? 0)) {
      throw footerError(
        `it lists ${listed?.records ?? 0} records of ${name}, but there are ${seen?.records ?? 0}`,
        offset,
      );
    }
    const [a, b] = [listed, seen].map((info) => [...(info?.offsets ?? [])].sort((x, y) => x - y));
    if (a!.length !== b!.length || a!.some((value, i) => value !== b![i])) {
      throw footerError(`it lists ${name} segments at other places than those where they stand`, offset);
    }
  }
}
