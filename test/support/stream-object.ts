import { text } from "node:stream/consumers";
import { silentLogger } from "../../src/base/logger.ts";
import { openStorage } from "../../src/storage/open-storage.ts";
import { EMPTY_SETTING, type Setting } from "../../src/volume/setting.ts";

// A program of its own, so that what it holds in memory is what this needs: writes an object of so many bytes into the storage of
// the setting on its input, reads it, and tells sizes and the largest resident memory.
const signal = new AbortController().signal;
const size = Number(process.argv[2]);
const setting = JSON.parse(await text(process.stdin)) as Partial<Setting>;
const storage = await openStorage({ ...EMPTY_SETTING, ...setting }, { env: {}, logger: silentLogger });
const piece = Buffer.alloc(256 * 1024, "text");

async function* pieces(): AsyncGenerator<Buffer> {
  for (let left = size; left > 0; left -= piece.length) yield piece.subarray(0, Math.min(left, piece.length));
}

const { bytes: written } = await storage.putStream("meta/x", pieces(), { signal });
let read = 0;
for await (const part of storage.getStream("meta/x", { signal })) read += part.length;
await storage.close();
console.log(JSON.stringify({ written, read, peakBytes: process.resourceUsage().maxRSS * 1024 }));
