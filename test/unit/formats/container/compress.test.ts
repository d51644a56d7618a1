import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { compress } from "../../../../src/formats/container/compress.ts";

async function* pieces(count: number, atEnd: () => void = () => undefined, failure?: Error): AsyncGenerator<Buffer> {
  try {
    for (let i = 0; i < count; i++) yield Buffer.alloc(300_000, i);
    if (failure !== undefined) throw failure;
  } finally {
    atEnd();
  }
}

const whole = Buffer.concat(Array.from({ length: 5 }, (_, i) => Buffer.alloc(300_000, i)));

async function collect(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const found: Buffer[] = [];
  for await (const piece of source) found.push(piece);
  return Buffer.concat(found);
}

describe("compress", () => {
  test("makes gzip files whose header is that of the reference's backups", async () => {
    const file = await collect(compress(pieces(5), "gzip"));
    expect(file.subarray(0, 10).toString("hex")).toBe("1f8b08000000000004ff");
    expect(gunzipSync(file).equals(whole)).toBe(true);
  });

  test("makes zstd files, and leaves alone what is not to be compressed", async () => {
    expect(zstdDecompressSync(await collect(compress(pieces(5), "zstd"))).equals(whole)).toBe(true);
    expect((await collect(compress(pieces(5), "none"))).equals(whole)).toBe(true);
  });

  test("compresses nothing at all", async () => {
    expect(gunzipSync(await collect(compress(pieces(0), "gzip"))).length).toBe(0);
  });

  test.each(["none", "gzip", "zstd"] as const)("gives the error of its source as it is (%s)", async (compression) => {
    const failure = new Error("the source broke");
    await expect(collect(compress(pieces(3, undefined, failure), compression))).rejects.toBe(failure);
  });

  test.each(["none", "gzip", "zstd"] as const)("ends its source when nobody wants more (%s)", async (compression) => {
    let isEnded = false;
    const source = pieces(1_000_000, () => {
      isEnded = true;
    });
    for await (const _ of compress(source, compression)) break;
    expect(isEnded).toBe(true);
  });
});
