import { ByteWriter, copyBytes } from "../../base/bytes.ts";

/**
 * Keys of one family, as numbers and as command arguments. The arguments are the bytes `$<size>\r\n<key>\r\n` of the SCAN
 * reply, which is just how a command wants them.
 */
export class KeyList {
  count = 0;
  hi: Uint32Array<ArrayBuffer> = new Uint32Array(1024);
  lo: Uint32Array<ArrayBuffer> = new Uint32Array(1024);
  /** Chunk index. */
  index: Uint32Array<ArrayBuffer> = new Uint32Array(1024);
  readonly args: ByteWriter = new ByteWriter(32768);
  /** End of each key's argument in `args`. */
  ends: Uint32Array<ArrayBuffer> = new Uint32Array(1024);

  /** Adds a key whose argument was just written to `args`. */
  add(hi: number, lo: number, index: number): void {
    const at = this.count++;
    if (at === this.hi.length) this.#grow();
    this.hi[at] = hi;
    this.lo[at] = lo;
    this.index[at] = index;
    this.ends[at] = this.args.length;
  }

  /** Adds a key whose argument is `source[start..end)`. */
  addArgument(source: DataView, start: number, end: number, hi: number, lo: number, index: number): void {
    const { args } = this;
    const to = args.reserve(end - start);
    copyBytes(source, start, end, args.view, to);
    args.length = to + end - start;
    this.add(hi, lo, index);
  }

  /** Adds key `at` of another list. */
  addFrom(other: KeyList, at: number): void {
    const { view } = other.args;
    this.addArgument(view, other.argStart(at), other.ends[at]!, other.hi[at]!, other.lo[at]!, other.index[at]!);
  }

  /** Offset in `args` where the argument of key `at` begins. */
  argStart(at: number): number {
    return at === 0 ? 0 : this.ends[at - 1]!;
  }

  clear(): void {
    this.count = 0;
    this.args.length = 0;
  }

  #grow(): void {
    this.hi = doubled(this.hi);
    this.lo = doubled(this.lo);
    this.index = doubled(this.index);
    this.ends = doubled(this.ends);
  }
}

function doubled(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const grown = new Uint32Array(array.length * 2);
  grown.set(array);
  return grown;
}
