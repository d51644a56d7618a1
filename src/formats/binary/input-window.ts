/**
 * The part of an input that is being read: pieces of any size come in, whole records are looked at. Memory is taken as bytes
 * arrive, never for a length that was only announced.
 */
export class InputWindow {
  /** What is held: `bytes[at..end)`. Valid until the next `hold`. */
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  end = 0;
  /** Document offset of `bytes[0]`. */
  base = 0;
  readonly #input: AsyncIterator<Buffer>;
  #carry: Buffer = Buffer.allocUnsafeSlow(MIN_CARRY_BYTES);
  #isEnd = false;

  constructor(input: AsyncIterable<Buffer>) {
    this.#input = input[Symbol.asyncIterator]();
  }

  /** Document offset of the next byte. */
  get offset(): number {
    return this.base + this.at;
  }

  get held(): number {
    return this.end - this.at;
  }

  /** Makes `size` bytes or more available at `at`; false when the input ends before, with all that is left held. */
  async hold(size: number): Promise<boolean> {
    while (this.held < size) {
      if (this.#isEnd) return false;
      // A piece is valid until the next is asked for.
      if (this.held > 0) this.#keepHeld(0);
      const next = await this.#input.next();
      if (next.done === true) this.#isEnd = true;
      else this.#append(next.value);
    }
    return true;
  }

  /** Tells the input that no more is wanted. */
  async close(): Promise<void> {
    await this.#input.return?.();
  }

  #append(piece: Buffer): void {
    if (this.held === 0) {
      this.base += this.at;
      this.bytes = piece;
      this.at = 0;
      this.end = piece.length;
      return;
    }
    this.#keepHeld(piece.length);
    piece.copy(this.bytes, this.end);
    this.end += piece.length;
  }

  /** Moves what is held to the beginning of a buffer of our own, with room for `more` bytes behind it. */
  #keepHeld(more: number): void {
    const { held } = this;
    const needed = held + more;
    let target = this.#carry;
    if (needed > target.length) {
      let capacity = target.length * 2;
      while (capacity < needed) capacity *= 2;
      target = Buffer.allocUnsafeSlow(capacity);
    }
    // It may stand in this buffer already: `copy` moves overlapping bytes correctly.
    if (this.bytes !== target || this.at > 0) this.bytes.copy(target, 0, this.at, this.end);
    this.#carry = target;
    this.base += this.at;
    this.bytes = target;
    this.at = 0;
    this.end = held;
  }
}

const MIN_CARRY_BYTES = 64 * 1024;
