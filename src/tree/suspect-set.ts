/** A set of 64-bit hashes of keys, none of them 0, up to a limit: those that more than one record has. */
export class SuspectSet {
  readonly #limit: number;
  /** Open addressing: two words for each, both 0 = free. */
  #words = new Int32Array(2048);
  #size = 0;
  #isComplete = true;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  /** False when there was one more than could be kept. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  add(high: number, low: number): void {
    const at = this.#find(high, low);
    if (!this.#isFree(at)) return;
    if (this.#size >= this.#limit) {
      this.#isComplete = false;
      return;
    }
    this.#words[at] = high;
    this.#words[at + 1] = low;
    this.#size++;
    if (this.#size * 4 > this.#words.length) this.#grow();
  }

  has(high: number, low: number): boolean {
    return !this.#isFree(this.#find(high, low));
  }

  /** Where the hash is, or would be put. */
  #find(high: number, low: number): number {
    const words = this.#words;
    const mask = words.length - 1;
    let at = (low << 1) & mask;
    while ((words[at] !== high || words[at + 1] !== low) && !this.#isFree(at)) at = (at + 2) & mask;
    return at;
  }

  #isFree(at: number): boolean {
    return this.#words[at] === 0 && this.#words[at + 1] === 0;
  }

  #grow(): void {
    const words = this.#words;
    this.#words = new Int32Array(words.length * 2);
    for (let i = 0; i < words.length; i += 2) {
      if (words[i] === 0 && words[i + 1] === 0) continue;
      const at = this.#find(words[i]!, words[i + 1]!);
      this.#words[at] = words[i]!;
      this.#words[at + 1] = words[i + 1]!;
    }
  }
}
