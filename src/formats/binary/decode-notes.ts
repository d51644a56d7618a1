import {
  ATTR_ATIME,
  ATTR_ATIMENSEC,
  ATTR_CTIME,
  ATTR_CTIMENSEC,
  ATTR_MAX_BYTES,
  ATTR_MTIME,
  ATTR_MTIMENSEC,
} from "../../volume/attribute.ts";

const SLASH = 0x2f;
const DOT = 0x2e;
const MAX_NAME_BYTES = 255;
const MAX_TYPE = 7;
const NANOSECONDS = 1_000_000_000;
/** For times before 1970 the reference's SQL engines give negative nanoseconds, as unsigned numbers. */
const NEGATIVE_NANOSECONDS = 0x1_0000_0000 - NANOSECONDS;
/** Upper half of a time: beyond ±2148 · 2^32 seconds, in the year 294,000, no engine of microseconds can hold it. */
const FAR_HIGH = 2148;

/** Takes what was read although it cannot be right; `example` makes the words for the first few. */
export type OnNote = (kind: string, text: string, loss: boolean, example: () => string) => void;

export const NAME_NOTE =
  "The name of an entry contains / or NUL, is . or .., or has more than 255 bytes: it was kept, but no client can reach it";
export const TYPE_NOTE = "An entry has a type that is not known: it was kept as it is";
export const TIME_NOTE = "A time has more than 999,999,999 nanoseconds: the dump is damaged, the value was kept";
export const ATTRIBUTE_NOTE =
  "An attribute record is longer than any that this version knows: the rest of it may be lost";

/**
 * Looks at records in passing for what no client could have written. A dump has no checksum: this is how a flipped bit shows,
 * if it does. Records are kept as they are.
 */
export class DecodeNotes {
  readonly #onNote: OnNote;

  constructor(onNote: OnNote) {
    this.#onNote = onNote;
  }

  /** The attribute record of `size` bytes at `start`, 63 or more. */
  node(view: DataView, start: number, size: number, hi: number, lo: number): void {
    if (
      isImpossibleTime(view, start + ATTR_ATIME, start + ATTR_ATIMENSEC) ||
      isImpossibleTime(view, start + ATTR_MTIME, start + ATTR_MTIMENSEC) ||
      isImpossibleTime(view, start + ATTR_CTIME, start + ATTR_CTIMENSEC)
    ) {
      this.#onNote("impossible-time", TIME_NOTE, true, () => `inode ${inodeText(hi, lo)}`);
    }
    if (size > ATTR_MAX_BYTES) {
      this.#onNote("attribute-size", ATTRIBUTE_NOTE, true, () => `inode ${inodeText(hi, lo)}, ${size} bytes`);
    }
  }

  /** The name of `size` bytes at `start`, at least one. */
  edge(bytes: Buffer, start: number, size: number, type: number, parentHi: number, parentLo: number): void {
    if (isImpossibleName(bytes, start, size)) {
      const shown = (): string =>
        `${JSON.stringify(bytes.toString("utf8", start, start + Math.min(size, 64)))} in directory ${inodeText(parentHi, parentLo)}`;
      this.#onNote("entry-name", NAME_NOTE, true, shown);
    }
    if (type === 0 || type > MAX_TYPE) {
      const shown = (): string => `type ${type} in directory ${inodeText(parentHi, parentLo)}`;
      this.#onNote("entry-type", TYPE_NOTE, true, shown);
    }
  }
}

function isImpossibleTime(view: DataView, secondsAt: number, nanosecondsAt: number): boolean {
  const high = view.getInt32(secondsAt);
  const nanoseconds = view.getUint32(nanosecondsAt);
  const isFraction = nanoseconds < NANOSECONDS || nanoseconds > NEGATIVE_NANOSECONDS;
  return !isFraction || high >= FAR_HIGH || high < -FAR_HIGH;
}

function isImpossibleName(bytes: Buffer, start: number, size: number): boolean {
  if (size > MAX_NAME_BYTES) return true;
  if (bytes[start] === DOT && (size === 1 || (size === 2 && bytes[start + 1] === DOT))) return true;
  const end = start + size;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === SLASH || byte === 0) return true;
  }
  return false;
}

function inodeText(hi: number, lo: number): string {
  return String((BigInt(hi) << 32n) | BigInt(lo));
}
