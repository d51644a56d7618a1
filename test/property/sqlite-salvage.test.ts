import { readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DecantError } from "../../src/base/errors.ts";
import { readSalvaged } from "../support/salvaged.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";

const FIXTURE = "golden/native/natsqlite.sqlite.db";

test("whatever bytes of a database are overwritten, reading it ends, or says what is wrong with which file", async () => {
  const { path, url } = copySqliteFixture(FIXTURE);
  const original = readFileSync(path);
  const place = fc.record({
    at: fc.nat(original.length - 1),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 400 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(place, { minLength: 1, maxLength: 20 }), async (places) => {
      const damaged = Buffer.from(original);
      for (const { at, bytes } of places) damaged.set(bytes.subarray(0, damaged.length - at), at);
      writeFileSync(path, damaged);
      try {
        await readSalvaged(url);
      } catch (error) {
        if (!(error instanceof DecantError)) throw error;
        expect(error.message).toContain(path);
        expect(error.hint).toBeDefined();
      }
      expect(readFileSync(path).equals(damaged)).toBe(true);
    }),
    { numRuns: 30 },
  );
});
