import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { detectDumpFormat } from "../../../src/formats/dump-format.ts";
import { fixture } from "../../support/repository.ts";
import { pieces } from "../../support/volume-streams.ts";

describe("the format of a dump is told by its beginning", () => {
  test.each([
    ["binary", readFileSync(fixture("malformed/base.bin"))],
    ["json", readFileSync(fixture("malformed/base.json"))],
    ["json", readFileSync(fixture("malformed/j12-bom.json"))],
    ["json", Buffer.from('{"Setting"', "utf16le").swap16()],
    ["json", Buffer.from("{")],
    ["json", Buffer.alloc(0)],
    ["binary", Buffer.from([0, 0x74, 0x70, 0x83])],
  ])("%s", async (format, bytes) => {
    for (const pieceBytes of [1, 3, 4096]) {
      const detected = await detectDumpFormat(pieces(bytes, pieceBytes));
      expect(detected.format).toBe(format);
      const read: Buffer[] = [];
      for await (const piece of detected.bytes) read.push(Buffer.from(piece));
      expect(Buffer.concat(read).equals(bytes)).toBe(true);
    }
  });
});
