import { describe, expect, test } from "vitest";
import { FIRST_PART_BYTES, fillParts, MAX_PARTS, partBytes, wholeOf } from "../../../src/storage/s3/part-buffers.ts";

const GIBIBYTE = 1024 ** 3;

describe("the parts of a large object", () => {
  test("are equal for 39 GiB, and enough for 500 GiB", () => {
    let bytes = 0;
    for (let i = 0; i < MAX_PARTS; i++) {
      expect(partBytes(i)).toBeGreaterThanOrEqual(partBytes(Math.max(i - 1, 0)));
      if (bytes < 39 * GIBIBYTE) expect(partBytes(i)).toBe(FIRST_PART_BYTES);
      bytes += partBytes(i);
    }
    expect(bytes).toBeGreaterThan(500 * GIBIBYTE);
  });

  test.each([
    [0, []],
    [1, [1]],
    [FIRST_PART_BYTES, [FIRST_PART_BYTES]],
    [2 * FIRST_PART_BYTES + 7, [FIRST_PART_BYTES, FIRST_PART_BYTES, 7]],
  ])("of %i bytes hold what came in pieces, in memory that is used again", async (size, wanted) => {
    async function* pieces(): AsyncGenerator<Buffer> {
      const piece = Buffer.alloc(1_000_003);
      for (let at = 0; at < size; at += piece.length) {
        piece.fill((at / piece.length) & 0xff);
        yield piece.subarray(0, Math.min(piece.length, size - at));
      }
    }
    const free: Buffer[] = [];
    const memory = new Set<ArrayBufferLike>();
    const sizes: number[] = [];
    let at = 0;
    for await (const part of fillParts(pieces(), free)) {
      sizes.push(part.length);
      for (let i = 0; i < part.length; i += 4099) expect(part[i]).toBe(Math.floor((at + i) / 1_000_003) & 0xff);
      at += part.length;
      memory.add(part.buffer);
      free.push(wholeOf(part));
    }
    expect(sizes).toEqual(wanted);
    expect(memory.size).toBe(Math.min(wanted.length, 1));
  });
});
