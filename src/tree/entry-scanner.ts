import { ENTRY_NAME, ENTRY_NAME_SIZE } from "../volume/tree-item.ts";
import type { BlockStore } from "./block-store.ts";

/** Bytes that are read at a time: more than the head and the name of any entry. */
const WINDOW_BYTES = 128 * 1024;

/** Reads heads and names of the entries in a block of the store, one after the other. */
export class EntryScanner {
  /** The entry at hand: its head and name, complete, begin at `bytes[at..)`; what follows may not. */
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  at = 0;
  /** Where it stands in the store, and the size of all of it. */
  address = 0;
  size = 0;
  readonly #blocks: BlockStore;
  #next = 0;
  #end = 0;
  /** What of the store is in `bytes`. */
  #from = 0;
  #filled = 0;

  constructor(blocks: BlockStore) {
    this.#blocks = blocks;
  }

  /** Begins with the entries in `[address..end)`. */
  open({ address, end }: { readonly address: number; readonly end: number }): void {
    this.#next = address;
    this.#end = end;
    this.#from = address;
    this.#filled = 0;
  }

  /** Goes on to the next entry; false at the end. */
  next(): boolean {
    if (this.#next >= this.#end) return false;
    this.address = this.#next;
    this.at = this.#next - this.#from;
    if (!this.#isComplete()) this.#fill();
    this.size = this.bytes.readUInt32BE(this.at);
    this.#next += this.size;
    return true;
  }

  #isComplete(): boolean {
    const nameAt = this.at + ENTRY_NAME;
    return nameAt <= this.#filled && nameAt + this.bytes.readUInt16BE(this.at + ENTRY_NAME_SIZE) <= this.#filled;
  }

  #fill(): void {
    this.#from = this.#next;
    this.#filled = Math.min(WINDOW_BYTES, this.#end - this.#next);
    this.#blocks.read(this.#from, this.bytes, this.#filled);
    this.at = 0;
  }
}
