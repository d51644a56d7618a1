import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { decodeBinaryDump } from "../../../../src/formats/binary/decode.ts";
import { type RecordBatch, unpackBatch } from "../../../../src/volume/records.ts";
import { assembleDump, splitSegments } from "../../../support/binary-segments.ts";
import { fixture } from "../../../support/repository.ts";

const SUSTAINED = 8;

test("nothing stays of a message of many records that is damaged at its end, in its segment and the ones after it", async () => {
  const { segments } = splitSegments(readFileSync(fixture("malformed/base.bin")));
  // Session 1 with inode 5 and half a number, session 2 with inode 7; in a segment of its own session 3 with inode 9.
  const damaged = Buffer.from("420608011202058042050802120107", "hex");
  const dump = assembleDump([
    ...segments.filter(({ type }) => type !== SUSTAINED),
    { type: SUSTAINED, body: damaged },
    { type: SUSTAINED, body: Buffer.from("42050803120109", "hex") },
  ]);
  const problems: string[] = [];
  const batches: RecordBatch[] = [];
  const options = {
    signal: new AbortController().signal,
    onNote: () => undefined,
    onLeftOut: (error: Error) => problems.push(error.message),
  };
  const input = async function* (): AsyncGenerator<Buffer> {
    yield dump;
  };
  for await (const batch of decodeBinaryDump(input(), options)) if (batch.kind === "sustained") batches.push(batch);
  expect(problems).toEqual([expect.stringContaining("a list of inodes is cut off")]);
  expect(batches.flatMap((batch) => [...unpackBatch("sustained", batch)])).toEqual([
    { sid: 2n, inode: 7n },
    { sid: 3n, inode: 9n },
  ]);
  expect(batches.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(32);
});
