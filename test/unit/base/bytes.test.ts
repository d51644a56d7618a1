import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteWriter, copyBytes, tryRecycle, viewOf } from "../../../src/base/bytes.ts";

describe("copying in words", () => {
  test("moves exactly the bytes named, whatever they are", () => {
    const piece = fc.uint8Array({ minLength: 0, maxLength: 100 });
    fc.assert(
      fc.property(piece, fc.nat(20), fc.nat(20), fc.nat(9), (bytes, before, to, after) => {
        // Offsets of source and target in their buffers differ, and nothing lies behind the end of either.
        const source = Buffer.concat([Buffer.alloc(before, 1), bytes]).subarray(before);
        const target = Buffer.alloc(to + bytes.length + after, 0xee);
        copyBytes(viewOf(source), 0, bytes.length, viewOf(target), to);
        const expected = Buffer.concat([Buffer.alloc(to, 0xee), bytes, Buffer.alloc(after, 0xee)]);
        expect(target.equals(expected)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("keeps every bit of what would be a NaN", () => {
    const bytes = Buffer.from("7ff00000000000017ff8000000000001fff4567890abcdef", "hex");
    const target = Buffer.alloc(bytes.length);
    for (let round = 0; round < 20_000; round++) {
      target.fill(0);
      copyBytes(viewOf(bytes), 0, bytes.length, viewOf(target), 0);
      if (!target.equals(bytes)) throw new Error(`round ${round}: ${target.toString("hex")}`);
    }
  });
});

describe("a byte writer", () => {
  test("has a view of the buffer that it writes to, also after growing and handing on", () => {
    const writer = new ByteWriter(4);
    for (let i = 0; i < 5; i++) {
      const at = writer.reserve(9);
      writer.view.setUint8(at, i);
      writer.length = at + 9;
    }
    const first = writer.take();
    expect([0, 9, 18, 27, 36].map((at) => first[at])).toEqual([0, 1, 2, 3, 4]);
    writer.view.setUint8(writer.reserve(1), 77);
    writer.length = 1;
    expect(writer.written()).toEqual(Buffer.of(77));
    expect(first[0]).toBe(0);
  });

  test("writes again what was given back, and nothing is kept of a size that no writer takes", () => {
    const writer = new ByteWriter(123_457);
    writer.writeU8(1);
    const first = writer.take();
    expect(tryRecycle(first)).toBe(true);
    writer.writeU8(2);
    writer.take();
    writer.writeU8(3);
    expect(first[0]).toBe(3);
    expect(tryRecycle(Buffer.allocUnsafeSlow(123_458))).toBe(false);
  });

  test("never writes into the pool that small buffers are cut from", () => {
    const pool = Buffer.allocUnsafe(1).buffer;
    expect(pool.byteLength).toBeGreaterThanOrEqual(Buffer.poolSize);
    const writer = new ByteWriter(pool.byteLength);
    writer.writeU8(1);
    writer.take();
    // where the first small buffer of a pool may lie
    expect(tryRecycle(Buffer.from(pool, 0, 1000))).toBe(false);
    writer.writeU8(2);
    writer.take();
    writer.writeU8(3);
    expect(writer.written().buffer).not.toBe(pool);
  });
});
