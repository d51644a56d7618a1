/** Polynomial of Jones, reflected: 0xad93d23594c935a9 with its bits the other way round. */
const POLYNOMIAL = 0x95ac9329ac4bc9b5n;
/** Bytes that are folded at once; one table for each of them. */
const SLICES = 8;

const LOW: Int32Array = new Int32Array(SLICES * 256);
const HIGH: Int32Array = new Int32Array(SLICES * 256);

function fillTables(): void {
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ POLYNOMIAL : crc >> 1n;
    LOW[byte] = Number(BigInt.asIntN(32, crc));
    HIGH[byte] = Number(BigInt.asIntN(32, crc >> 32n));
  }
  for (let at = 256; at < SLICES * 256; at++) {
    const [low, high] = [LOW[at - 256]!, HIGH[at - 256]!];
    const index = low & 0xff;
    LOW[at] = ((low >>> 8) | (high << 24)) ^ LOW[index]!;
    HIGH[at] = (high >>> 8) ^ HIGH[index]!;
  }
}

fillTables();

/** The checksum at the end of RDB files: CRC-64 of Jones, reflected, begun with 0. It is stored little-endian. */
export class Crc64 {
  #low = 0;
  #high = 0;

  get value(): bigint {
    return (BigInt(this.#high >>> 0) << 32n) | BigInt(this.#low >>> 0);
  }

  /** Adds `bytes[start..end)`, of which `view` is the view. Eight bytes at a time, since whole databases go through here. */
  update(bytes: Uint8Array, view: DataView, start: number, end: number): void {
    let low = this.#low;
    let high = this.#high;
    let at = start;
    for (const last = end - 8; at <= last; at += 8) {
      low ^= view.getInt32(at, true);
      high ^= view.getInt32(at + 4, true);
      const a = 0x700 | (low & 0xff);
      const b = 0x600 | ((low >>> 8) & 0xff);
      const c = 0x500 | ((low >>> 16) & 0xff);
      const d = 0x400 | (low >>> 24);
      const e = 0x300 | (high & 0xff);
      const f = 0x200 | ((high >>> 8) & 0xff);
      const g = 0x100 | ((high >>> 16) & 0xff);
      const h = high >>> 24;
      low = LOW[a]! ^ LOW[b]! ^ LOW[c]! ^ LOW[d]! ^ LOW[e]! ^ LOW[f]! ^ LOW[g]! ^ LOW[h]!;
      high = HIGH[a]! ^ HIGH[b]! ^ HIGH[c]! ^ HIGH[d]! ^ HIGH[e]! ^ HIGH[f]! ^ HIGH[g]! ^ HIGH[h]!;
    }
    for (; at < end; at++) {
      const index = (low ^ bytes[at]!) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ LOW[index]!;
      high = (high >>> 8) ^ HIGH[index]!;
    }
    this.#low = low;
    this.#high = high;
  }
}
