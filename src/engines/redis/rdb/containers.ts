import type { RdbText } from "./rdb-text.ts";
import type { ContainerKind } from "./rdb-types.ts";

/**
 * Values that Redis keeps in one piece, and writes so: the entries of listpacks, ziplists, zipmaps and integer sets. A cursor gives
 * one entry after the other; all sizes are checked against the end of the piece.
 */
export interface ContainerCursor {
  /** Reads the next entry into `text`; false at the end. Throws `ContainerDamage`. */
  next(text: RdbText): boolean;
}

/** Bytes of a container that cannot be right; the reader adds place and key. */
export class ContainerDamage extends Error {}

const END = 0xff;

/**
 * Listpack (Redis 7): u32 bytes, u16 entries, then entries and 0xff; numbers little-endian. An entry is its encoding, its content, and
 * its own length backwards.
 */
export class ListpackCursor implements ContainerCursor {
  readonly #piece: RdbText;
  #at: number;
  readonly #end: number;

  constructor(piece: RdbText) {
    if (piece.length < 7) throw new ContainerDamage(`a listpack has 7 bytes at least, this one ${piece.length}`);
    const size = piece.view.getUint32(piece.start, true);
    if (size !== piece.length) throw new ContainerDamage(`a listpack of ${piece.length} bytes says it has ${size}`);
    this.#piece = piece;
    this.#at = piece.start + 6;
    this.#end = piece.end;
  }

  next(text: RdbText): boolean {
    const { bytes, view } = this.#piece;
    const at = this.#at;
    if (at >= this.#end) throw new ContainerDamage("a listpack has no end");
    const first = bytes[at]!;
    if (first === END) {
      if (at + 1 !== this.#end) throw new ContainerDamage("a listpack ends before its last byte");
      return false;
    }
    if ((first & 0x80) === 0) {
      this.#take(1);
      text.setNumber(first);
    } else if ((first & 0xc0) === 0x80) {
      const size = first & 0x3f;
      this.#take(1 + size);
      text.point(bytes, view, at + 1, at + 1 + size);
    } else if ((first & 0xe0) === 0xc0) {
      this.#take(2);
      const value = ((first & 0x1f) << 8) | bytes[at + 1]!;
      text.setNumber(value >= 0x1000 ? value - 0x2000 : value);
    } else if ((first & 0xf0) === 0xe0) {
      this.#need(2);
      const size = ((first & 0x0f) << 8) | bytes[at + 1]!;
      this.#take(2 + size);
      text.point(bytes, view, at + 2, at + 2 + size);
    } else {
      this.#long(first, text);
    }
    return true;
  }

  #long(first: number, text: RdbText): void {
    const { bytes, view } = this.#piece;
    const at = this.#at;
    switch (first) {
      case 0xf0: {
        this.#need(5);
        const size = view.getUint32(at + 1, true);
        this.#take(5 + size);
        text.point(bytes, view, at + 5, at + 5 + size);
        return;
      }
      case 0xf1:
        this.#take(3);
        return text.setNumber(view.getInt16(at + 1, true));
      case 0xf2:
        this.#take(4);
        return text.setNumber(int24(view, at + 1));
      case 0xf3:
        this.#take(5);
        return text.setNumber(view.getInt32(at + 1, true));
      case 0xf4:
        this.#take(9);
        return text.setNumber(view.getBigInt64(at + 1, true));
      default:
        throw new ContainerDamage(`a listpack has an entry of the unknown encoding 0x${first.toString(16)}`);
    }
  }

  #need(size: number): void {
    if (this.#at + size >= this.#end) throw new ContainerDamage("an entry of a listpack reaches beyond its end");
  }

  /** Moves behind an entry of `size` bytes and its length backwards. */
  #take(size: number): void {
    const back = size < 0x80 ? 1 : size < 0x4000 ? 2 : size < 0x20_0000 ? 3 : size < 0x1000_0000 ? 4 : 5;
    this.#need(size + back - 1);
    this.#at += size + back;
  }
}

/**
 * Ziplist (until Redis 6): u32 bytes, u32 offset of the last entry, u16 entries, then entries and 0xff; numbers little-endian but for
 * lengths of strings. An entry is the length of the one before it, its encoding, and its content.
 */
export class ZiplistCursor implements ContainerCursor {
  readonly #piece: RdbText;
  #at: number;
  readonly #end: number;

  constructor(piece: RdbText) {
    if (piece.length < 11) throw new ContainerDamage(`a ziplist has 11 bytes at least, this one ${piece.length}`);
    const size = piece.view.getUint32(piece.start, true);
    if (size !== piece.length) throw new ContainerDamage(`a ziplist of ${piece.length} bytes says it has ${size}`);
    this.#piece = piece;
    this.#at = piece.start + 10;
    this.#end = piece.end;
  }

  next(text: RdbText): boolean {
    const { bytes, view } = this.#piece;
    if (this.#at >= this.#end) throw new ContainerDamage("a ziplist has no end");
    if (bytes[this.#at] === END) {
      if (this.#at + 1 !== this.#end) throw new ContainerDamage("a ziplist ends before its last byte");
      return false;
    }
    this.#skip(bytes[this.#at] === 0xfe ? 5 : 1);
    const at = this.#at;
    const first = bytes[at]!;
    if (first < 0xc0) {
      const head = first < 0x40 ? 1 : first < 0x80 ? 2 : 5;
      this.#skip(head);
      const size = head === 1 ? first : head === 2 ? ((first & 0x3f) << 8) | bytes[at + 1]! : view.getUint32(at + 1);
      this.#skip(size);
      text.point(bytes, view, at + head, at + head + size);
      return true;
    }
    text.setNumber(this.#number(first, at, view));
    return true;
  }

  #number(first: number, at: number, view: DataView): number | bigint {
    switch (first) {
      case 0xc0:
        this.#skip(3);
        return view.getInt16(at + 1, true);
      case 0xd0:
        this.#skip(5);
        return view.getInt32(at + 1, true);
      case 0xe0:
        this.#skip(9);
        return view.getBigInt64(at + 1, true);
      case 0xf0:
        this.#skip(4);
        return int24(view, at + 1);
      case 0xfe:
        this.#skip(2);
        return view.getInt8(at + 1);
      default:
        if (first < 0xf1 || first > 0xfd) {
          throw new ContainerDamage(`a ziplist has an entry of the unknown encoding 0x${first.toString(16)}`);
        }
        this.#skip(1);
        return (first & 0x0f) - 1;
    }
  }

  /** At least the end mark must be left. */
  #skip(size: number): void {
    if (this.#at + size >= this.#end) throw new ContainerDamage("an entry of a ziplist reaches beyond its end");
    this.#at += size;
  }
}

/**
 * Zipmap (until Redis 2.4): u8 entries, then length, field, length, u8 unused bytes, value, unused bytes, and 0xff. A length is a byte,
 * or 0xfe and u32 little-endian.
 */
export class ZipmapCursor implements ContainerCursor {
  readonly #piece: RdbText;
  #at: number;
  readonly #end: number;
  #isValue = false;

  constructor(piece: RdbText) {
    if (piece.length < 2) throw new ContainerDamage(`a zipmap has 2 bytes at least, this one ${piece.length}`);
    this.#piece = piece;
    this.#at = piece.start + 1;
    this.#end = piece.end;
  }

  next(text: RdbText): boolean {
    const { bytes, view } = this.#piece;
    if (this.#at >= this.#end) throw new ContainerDamage("a zipmap has no end");
    if (!this.#isValue && bytes[this.#at] === END) {
      if (this.#at + 1 !== this.#end) throw new ContainerDamage("a zipmap ends before its last byte");
      return false;
    }
    const size = this.#length();
    let unused = 0;
    if (this.#isValue) {
      unused = bytes[this.#at]!;
      this.#skip(1);
    }
    const start = this.#at;
    this.#skip(size + unused);
    text.point(bytes, view, start, start + size);
    this.#isValue = !this.#isValue;
    return true;
  }

  #length(): number {
    const { bytes, view } = this.#piece;
    const first = bytes[this.#at]!;
    this.#skip(1);
    if (first < 0xfe) return first;
    if (first === END) throw new ContainerDamage("a zipmap has a field without value");
    const at = this.#at;
    this.#skip(4);
    return view.getUint32(at, true);
  }

  #skip(size: number): void {
    if (this.#at + size >= this.#end) throw new ContainerDamage("an entry of a zipmap reaches beyond its end");
    this.#at += size;
  }
}

/** Integer set: u32 bytes per number (2, 4 or 8), u32 numbers, then the numbers, ascending; all little-endian. */
export class IntsetCursor implements ContainerCursor {
  readonly #piece: RdbText;
  readonly #width: number;
  #at: number;

  constructor(piece: RdbText) {
    if (piece.length < 8) throw new ContainerDamage(`an integer set has 8 bytes at least, this one ${piece.length}`);
    const width = piece.view.getUint32(piece.start, true);
    const count = piece.view.getUint32(piece.start + 4, true);
    if (width !== 2 && width !== 4 && width !== 8) {
      throw new ContainerDamage(`an integer set has numbers of ${width} bytes`);
    }
    if (8 + width * count !== piece.length) {
      throw new ContainerDamage(
        `an integer set of ${piece.length} bytes says it has ${count} numbers of ${width} bytes`,
      );
    }
    this.#piece = piece;
    this.#width = width;
    this.#at = piece.start + 8;
  }

  next(text: RdbText): boolean {
    const { view, end } = this.#piece;
    const at = this.#at;
    if (at === end) return false;
    this.#at += this.#width;
    if (this.#width === 2) text.setNumber(view.getInt16(at, true));
    else if (this.#width === 4) text.setNumber(view.getInt32(at, true));
    else text.setNumber(view.getBigInt64(at, true));
    return true;
  }
}

/** A cursor at the first entry. Throws `ContainerDamage`. */
export function openContainer(kind: ContainerKind, piece: RdbText): ContainerCursor {
  switch (kind) {
    case "listpack":
      return new ListpackCursor(piece);
    case "ziplist":
      return new ZiplistCursor(piece);
    case "zipmap":
      return new ZipmapCursor(piece);
    case "intset":
      return new IntsetCursor(piece);
  }
}

function int24(view: DataView, at: number): number {
  return ((view.getInt8(at + 2) << 16) | (view.getUint8(at + 1) << 8) | view.getUint8(at)) >> 0;
}
