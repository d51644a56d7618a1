import fc from "fast-check";
import { expect, test } from "vitest";
import { constantText, putInt64, putText, putUint64, SLACK_BYTES } from "../../../../src/formats/json/put-text.ts";

test("constant text is written whole and within its slack", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary-ascii", maxLength: 60 }), (text) => {
      const bytes = Buffer.alloc(text.length + SLACK_BYTES);
      const end = putText(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, constantText(text));
      expect(bytes.toString("latin1", 0, end)).toBe(text);
    }),
  );
});

test("64-bit integers are written from their bytes, signed and unsigned", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), (value) => {
      const source = new DataView(new ArrayBuffer(8));
      source.setBigInt64(0, value);
      const bytes = Buffer.alloc(40);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      expect(bytes.toString("latin1", 0, putInt64(view, 0, source, 0))).toBe(String(value));
      expect(bytes.toString("latin1", 0, putUint64(view, 0, source, 0))).toBe(String(BigInt.asUintN(64, value)));
    }),
  );
});
