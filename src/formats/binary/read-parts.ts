import { type FileHandle, open } from "node:fs/promises";
import { DataError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { decodeFooter, type Footer, footerError } from "./footer.ts";
import { InputWindow } from "./input-window.ts";
import { EOS, FOOTER_LENGTH_BYTES, SEGMENT_HEADER_BYTES, type SegmentType, segmentTypeOf } from "./segment-types.ts";

/** A footer is held whole: room for the offsets of millions of segments. */
const MAX_FOOTER_BYTES = 64 * 1024 * 1024;
/** A segment that is shown is held whole; those of the reference have up to 100,000 records. */
const MAX_SHOWN_BYTES = 512 * 1024 * 1024;

/**
 * Reads the footer of a plain file from its end, and nothing else of it. Throws `DataError` when the file does not end as a
 * binary dump does, `FileError` when it cannot be read.
 */
export async function readFooterOfFile(path: string): Promise<Footer> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw fileError("read", path, error);
  });
  try {
    const { size } = await handle.stat();
    if (size < 4 + FOOTER_LENGTH_BYTES) throw footerError(`the whole file has ${size} bytes`, size);
    const length = (await readAt(handle, path, size - FOOTER_LENGTH_BYTES, FOOTER_LENGTH_BYTES)).readBigUInt64BE();
    const room = size - 4 - FOOTER_LENGTH_BYTES;
    if (length > BigInt(Math.min(room, MAX_FOOTER_BYTES))) {
      throw footerError(
        `its last 8 bytes, the length of the footer, say ${length}, but the whole file has ${size} bytes: it is cut off, or something follows its end`,
        size,
      );
    }
    const offset = size - FOOTER_LENGTH_BYTES - Number(length);
    const bytes = await readAt(handle, path, offset - 4, size - offset + 4);
    if (bytes.readUInt32BE() !== EOS) {
      throw footerError("no end mark stands before the footer: it is cut off, or damaged", offset - 4);
    }
    return decodeFooter(bytes.subarray(4), offset);
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, path: string, position: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await handle.read(bytes, at, size - at, position + at).catch((error: unknown) => {
      throw fileError("read", path, error);
    });
    if (bytesRead === 0) throw footerError("the file has become shorter while it was read", position + at);
    at += bytesRead;
  }
  return bytes;
}

/** Reads a dump up to its footer, of segments only the headers. For inputs that cannot be read from the end. */
export async function readFooterOfStream(input: AsyncIterable<Buffer>): Promise<Footer> {
  const window = new InputWindow(input);
  try {
    while ((await holdNumber(window)) !== EOS) {
      const { length } = await readHeader(window);
      await skip(window, length);
    }
    window.at += 4;
    const offset = window.offset;
    if (await window.hold(MAX_FOOTER_BYTES)) throw footerError("too much follows the end mark", offset);
    return decodeFooter(window.bytes.subarray(window.at, window.end), offset);
  } finally {
    await window.close();
  }
}

/** One segment of a dump: its type and its whole body. */
export interface RawSegment {
  readonly type: SegmentType;
  readonly body: Buffer;
}

/**
 * Reads the segment that begins `offset` bytes behind the beginning of a dump, of which `input` gives the part from `start`
 * on. Throws `DataError` when none begins there.
 */
export async function readSegmentAt(
  input: AsyncIterable<Buffer>,
  offset: number,
  start: number = 0,
): Promise<RawSegment> {
  const window = new InputWindow(input);
  window.base = start;
  try {
    await skip(window, offset - start);
    const { type, length } = await readHeader(window);
    if (length > MAX_SHOWN_BYTES) throw badPosition(`a segment of ${length} bytes`, window.offset);
    if (!(await window.hold(length))) throw badPosition("a segment that is cut off", window.offset);
    return { type, body: Buffer.from(window.bytes.subarray(window.at, window.at + length)) };
  } finally {
    await window.close();
  }
}

async function holdNumber(window: InputWindow): Promise<number> {
  if (!(await window.hold(4))) throw badPosition("the end of the dump", window.offset);
  return window.bytes.readUInt32BE(window.at);
}

async function readHeader(window: InputWindow): Promise<{ type: SegmentType; length: number }> {
  const number = await holdNumber(window);
  const type = segmentTypeOf(number);
  if (type === undefined) {
    throw badPosition(number === EOS ? "the end mark" : `type ${number}, which is not known`, window.offset);
  }
  if (!(await window.hold(SEGMENT_HEADER_BYTES))) throw badPosition("a header that is cut off", window.offset);
  const length = Number(window.bytes.readBigUInt64BE(window.at + 4));
  window.at += SEGMENT_HEADER_BYTES;
  return { type, length };
}

async function skip(window: InputWindow, size: number): Promise<void> {
  for (let left = size; left > 0; ) {
    if (!(await window.hold(1))) throw badPosition("the end of the dump", window.offset);
    const step = Math.min(left, window.held);
    window.at += step;
    left -= step;
  }
}

function badPosition(found: string, offset: number): DataError {
  return new DataError("DECANT_E_BINARY_SEGMENT", `failed to read segment: at offset ${offset} stands ${found}`, {
    hint: "--stat --offset=-1 lists where segments begin; if that fails too, the dump is damaged",
    location: { offset },
  });
}
