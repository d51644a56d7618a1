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
    const { held } = this;
    this.base += this.at;
    if (held === 0) {
      this.bytes = piece;
      this.at = 0;
      this.end = piece.length;
      return;
    }
    const needed = held + piece.length;
    let target = this.#carry;
    if (needed > target.length) {
      let capacity = target.length * 2;
      while (capacity < needed) capacity *= 2;
      target = Buffer.allocUnsafeSlow(capacity);
    }
    // The rest of what is held may stand in the same buffer: `copy` moves overlapping bytes correctly.
    this.bytes.copy(target, 0, this.at, this.end);
    piece.copy(target, held);
    this.#carry = target;
    this.bytes = target;
    this.at = 0;
    this.end = needed;
  }
}

const MIN_CARRY_BYTES = 64 * 1024;
