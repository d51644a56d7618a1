/** A power of two, several times as many as there are keys in a transaction. */
const SLOTS = 2048;

/** The keys of one transaction by their hashes: one that is not in it has a place there by mistake once in ten million times. */
export class KeyHashes {
  readonly #slots = new Uint32Array(SLOTS);

  has(hash: number): boolean {
    const slots = this.#slots;
    for (let slot = hash & (SLOTS - 1); ; slot = (slot + 1) & (SLOTS - 1)) {
      const found = slots[slot]!;
      if (found === hash) return true;
      if (found === 0) return false;
    }
  }

  add(hash: number): void {
    const slots = this.#slots;
    let slot = hash & (SLOTS - 1);
    while (slots[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
    slots[slot] = hash;
  }

  clear(): void {
    this.#slots.fill(0);
  }
}

/** An unsigned number of 32 bits, never 0. */
export function hashOf(view: DataView, start: number, end: number): number {
  let hash = end - start;
  let at = start;
  for (; at + 4 <= end; at += 4) hash = mix(hash ^ view.getUint32(at));
  for (; at < end; at++) hash = mix(hash ^ view.getUint8(at));
  hash = mix(hash);
  return hash >>> 0 || 1;
}

function mix(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  return mixed ^ (mixed >>> 15);
}
