/**
 * Decompresses LZF: `source[start..end)` into `target[0..size)`. A control byte below 32 begins a run of that many bytes and one
 * more; any other is the length (3 bits, 7 = another byte is added) and the high bits of the distance back of a repetition, whose
 * low byte follows. False when the bytes cannot be right.
 */
export function decompressLzf(source: Buffer, start: number, end: number, target: Buffer, size: number): boolean {
  let at = start;
  let to = 0;
  while (at < end) {
    const control = source[at++]!;
    if (control < 32) {
      const count = control + 1;
      if (at + count > end || to + count > size) return false;
      for (let i = 0; i < count; i++) target[to++] = source[at++]!;
      continue;
    }
    let count = (control >> 5) + 2;
    if (count === 9) {
      if (at >= end) return false;
      count += source[at++]!;
    }
    if (at >= end) return false;
    let from = to - ((control & 31) << 8) - source[at++]! - 1;
    if (from < 0 || to + count > size) return false;
    // byte by byte, since the repetition may reach into itself
    for (let i = 0; i < count; i++) target[to++] = target[from++]!;
  }
  return to === size;
}
