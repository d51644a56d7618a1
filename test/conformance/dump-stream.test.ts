import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import { dump } from "../../src/operations/dump.ts";
import { loadText, newSqlite, quietContext } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const MIB = 1024 * 1024;

test("a dump into a stream is that into a file, also when the reader takes it only at the end", async () => {
  const source = newSqlite();
  await loadText(source.url, await wideVolumeText(30_000));
  const file = join(source.directory, "dump.json");
  await dump({ source: source.url, target: { file } }, quietContext());
  const expected = readFileSync(file);
  expect(expected.length).toBeGreaterThan(8 * MIB);
  const stream = new PassThrough({ highWaterMark: 64 * MIB });
  await dump({ source: source.url, target: { stream } }, quietContext());
  stream.end();
  expect((await buffer(stream)).equals(expected)).toBe(true);
});
