/** RDB files, put together from the description of their format: what no server at hand writes any more, or not yet. */

/** A length: 6 bits, 14 bits, 32 or 64 bits. */
export function rdbLength(value: number | bigint): Buffer {
  if (value < 64) return Buffer.from([Number(value)]);
  if (value < 16384) return Buffer.from([0x40 | (Number(value) >> 8), Number(value) & 0xff]);
  const long = Buffer.alloc(value < 2 ** 32 ? 5 : 9);
  long[0] = long.length === 5 ? 0x80 : 0x81;
  if (long.length === 5) long.writeUInt32BE(Number(value), 1);
  else long.writeBigUInt64BE(BigInt(value), 1);
  return long;
}

export function rdbString(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([rdbLength(bytes.length), bytes]);
}

/** A string that is kept as a number of 8, 16 or 32 bits. */
export function rdbNumber(value: number, bits: 8 | 16 | 32): Buffer {
  const bytes = Buffer.alloc(1 + bits / 8);
  bytes[0] = bits === 8 ? 0xc0 : bits === 16 ? 0xc1 : 0xc2;
  bytes.writeIntLE(value, 1, bits / 8);
  return bytes;
}

/** A compressed string; `packed` are the bytes of LZF. */
export function rdbCompressed(packed: Buffer, size: number): Buffer {
  return Buffer.concat([Buffer.from([0xc3]), rdbLength(packed.length), rdbLength(size), packed]);
}

/** A value with its type and key. */
export function rdbEntry(type: number, key: string | Buffer, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type]), rdbString(key), value]);
}

export function rdbCounted(count: number, parts: readonly Buffer[]): Buffer {
  return Buffer.concat([rdbLength(count), ...parts]);
}

export function rdbAux(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0xfa]), rdbString(name), rdbString(value)]);
}

export function rdbDatabase(number: number): Buffer {
  return Buffer.concat([Buffer.from([0xfe]), rdbLength(number)]);
}

export function rdbExpiry(milliseconds: number): Buffer {
  const bytes = Buffer.alloc(9, 0xfc);
  bytes.writeBigInt64LE(BigInt(milliseconds), 1);
  return bytes;
}

export function int64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return bytes;
}

export function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}

/** A score of the old form: a byte for its size, and its digits. */
export function textDouble(text: string): Buffer {
  const special = { nan: 253, inf: 254, "-inf": 255 }[text];
  if (special !== undefined) return Buffer.from([special]);
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
}

/** A whole file: head, parts, end mark, and the checksum of all before it unless another one is given. */
export function rdbFile(
  parts: readonly Buffer[],
  { head = "REDIS0011", checksum }: { head?: string; checksum?: bigint } = {},
): Buffer {
  const body = Buffer.concat([Buffer.from(head), ...parts, Buffer.from([0xff])]);
  if (/^REDIS000[0-4]$/.test(head)) return body;
  const end = Buffer.alloc(8);
  end.writeBigUInt64LE(checksum ?? slowCrc64(body));
  return Buffer.concat([body, end]);
}

/** CRC-64 of Jones, bit by bit: an oracle for the fast one. */
export function slowCrc64(bytes: Uint8Array): bigint {
  let crc = 0n;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 0n ? crc >> 1n : (crc >> 1n) ^ 0x95ac9329ac4bc9b5n;
  }
  return crc;
}

/** An entry of a listpack: a string, or a number in the encoding of so many bits. */
export type PackedItem = string | Buffer | { readonly number: number | bigint; readonly bits: number };

export function listpack(items: readonly PackedItem[]): Buffer {
  const entries = items.map((item) => {
    const entry =
      typeof item === "string" || Buffer.isBuffer(item) ? listpackString(Buffer.from(item)) : listpackInt(item);
    return Buffer.concat([entry, backwardsLength(entry.length)]);
  });
  const head = Buffer.alloc(6);
  const size = 7 + entries.reduce((sum, entry) => sum + entry.length, 0);
  head.writeUInt32LE(size);
  head.writeUInt16LE(Math.min(items.length, 0xffff), 4);
  return Buffer.concat([head, ...entries, Buffer.from([0xff])]);
}

function listpackString(bytes: Buffer): Buffer {
  if (bytes.length < 64) return Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
  if (bytes.length < 4096) {
    return Buffer.concat([Buffer.from([0xe0 | (bytes.length >> 8), bytes.length & 0xff]), bytes]);
  }
  const head = Buffer.alloc(5, 0xf0);
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function listpackInt({ number, bits }: { number: number | bigint; bits: number }): Buffer {
  const value = Number(number);
  if (bits === 7) return Buffer.from([value]);
  if (bits === 13) return Buffer.from([0xc0 | ((value & 0x1fff) >> 8), value & 0xff]);
  const first = { 16: 0xf1, 24: 0xf2, 32: 0xf3, 64: 0xf4 }[bits]!;
  const bytes = Buffer.alloc(1 + bits / 8, first);
  if (bits === 64) bytes.writeBigInt64LE(BigInt(number), 1);
  else bytes.writeIntLE(value, 1, bits / 8);
  return bytes;
}

function backwardsLength(size: number): Buffer {
  const digits = [];
  for (let left = size; ; left >>= 7) {
    digits.unshift((left & 0x7f) | 0x80);
    if (left < 0x80) break;
  }
  digits[0]! &= 0x7f;
  return Buffer.from(digits);
}

/** Numbers of 4 bits stand in the encoding byte itself. */
export function ziplist(items: readonly PackedItem[]): Buffer {
  const entries: Buffer[] = [];
  for (const item of items) {
    const before = entries.at(-1)?.length ?? 0;
    const back = Buffer.alloc(before < 254 ? 1 : 5, before < 254 ? before : 0xfe);
    if (before >= 254) back.writeUInt32LE(before, 1);
    const entry =
      typeof item === "string" || Buffer.isBuffer(item) ? ziplistString(Buffer.from(item)) : ziplistInt(item);
    entries.push(Buffer.concat([back, entry]));
  }
  const head = Buffer.alloc(10);
  const size = 11 + entries.reduce((sum, entry) => sum + entry.length, 0);
  head.writeUInt32LE(size);
  head.writeUInt32LE(size - 1 - (entries.at(-1)?.length ?? 0), 4);
  head.writeUInt16LE(items.length, 8);
  return Buffer.concat([head, ...entries, Buffer.from([0xff])]);
}

function ziplistString(bytes: Buffer): Buffer {
  if (bytes.length < 64) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  if (bytes.length < 16384) {
    return Buffer.concat([Buffer.from([0x40 | (bytes.length >> 8), bytes.length & 0xff]), bytes]);
  }
  const head = Buffer.alloc(5, 0x80);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function ziplistInt({ number, bits }: { number: number | bigint; bits: number }): Buffer {
  if (bits === 4) return Buffer.from([0xf1 + Number(number)]);
  const first = { 8: 0xfe, 16: 0xc0, 24: 0xf0, 32: 0xd0, 64: 0xe0 }[bits]!;
  const bytes = Buffer.alloc(1 + bits / 8, first);
  if (bits === 64) bytes.writeBigInt64LE(BigInt(number), 1);
  else bytes.writeIntLE(Number(number), 1, bits / 8);
  return bytes;
}

/** Fields and values by turns; every value has `unused` bytes behind it. */
export function zipmap(items: readonly (string | Buffer)[], unused: number = 0): Buffer {
  const parts: Buffer[] = [Buffer.from([Math.min(items.length / 2, 254)])];
  for (const [i, item] of items.entries()) {
    const bytes = Buffer.from(item);
    const size = Buffer.alloc(bytes.length < 254 ? 1 : 5, bytes.length < 254 ? bytes.length : 0xfe);
    if (bytes.length >= 254) size.writeUInt32LE(bytes.length, 1);
    parts.push(size, ...(i % 2 === 1 ? [Buffer.from([unused])] : []), bytes);
    if (i % 2 === 1) parts.push(Buffer.alloc(unused, 0x2e));
  }
  return Buffer.concat([...parts, Buffer.from([0xff])]);
}

export function intset(numbers: readonly (number | bigint)[], width: 2 | 4 | 8): Buffer {
  const bytes = Buffer.alloc(8 + numbers.length * width);
  bytes.writeUInt32LE(width);
  bytes.writeUInt32LE(numbers.length, 4);
  for (const [i, number] of numbers.entries()) {
    if (width === 8) bytes.writeBigInt64LE(BigInt(number), 8 + i * 8);
    else bytes.writeIntLE(Number(number), 8 + i * width, width);
  }
  return bytes;
}
