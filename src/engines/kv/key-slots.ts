/** A power of two: one place in a million is taken by mistake for every key that is under way. */
const SLOTS = 1 << 21;

/**
 * Which numbered batch a key was last written in, by the hash of the key: another key may be taken for it, never a key for none. 8 MiB,
 * however many keys there are.
 */
export class KeySlots {
  readonly #batches = new Uint32Array(SLOTS);

  /** Notes the key `bytes[start..end)` for a batch (1 and up); returns the batch of the same key before it, 0 when there was none. */
  note(bytes: Buffer, start: number, end: number, batch: number): number {
    const slot = hashOf(bytes, start, end) & (SLOTS - 1);
    const before = this.#batches[slot]!;
    this.#batches[slot] = batch;
    return before;
  }
}

/** FNV-1a, with the high bits mixed in. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}
