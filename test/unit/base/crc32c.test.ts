import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { viewOf } from "../../../src/base/bytes.ts";
import { crc32c, crc32cOf } from "../../../src/base/crc32c.ts";

/** As the polynomial says. */
function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

describe("CRC-32C", () => {
  // RFC 3720, B.4, and the check value of the catalogues
  test.each<[string, Buffer, number]>([
    ["nothing", Buffer.alloc(0), 0],
    ["123456789", Buffer.from("123456789"), 0xe3069283],
    ["32 bytes of zeroes", Buffer.alloc(32), 0x8a9136aa],
    ["32 bytes of ones", Buffer.alloc(32, 0xff), 0x62a8ab43],
    ["32 bytes upwards", Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
  ])("of %s is that of the standard", (_, bytes, sum) => {
    expect(crc32c(bytes)).toBe(sum);
  });

  test("goes on from that of the bytes before, wherever they are cut", () => {
    const bytes = randomBytes(100);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(crc32c(bytes));
    }
  });

  test("of a part is that of its bytes alone, of every size", () => {
    const bytes = Buffer.from(randomBytes(70));
    for (let start = 0; start < 20; start++) {
      for (let end = start; end <= bytes.length; end++) {
        expect(crc32cOf(viewOf(bytes), start, end)).toBe(bitByBit(bytes.subarray(start, end)));
      }
    }
  });
});
