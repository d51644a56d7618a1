import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { ConvertRequest } from "../../src/operations/convert.ts";
import { packBatch } from "../../src/volume/records.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { differences } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DUMP = fixture("golden/dumps/golden.json");

function fileWith(bytes: Buffer): string {
  const file = join(temporaryDirectory(), "damaged");
  writeFileSync(file, bytes);
  return file;
}

/** Salvages what is left of a dump, and says what it lacks of the whole one and what was reported. */
async function salvaged(
  bytes: Buffer,
  format: NonNullable<ConvertRequest["format"]> = "json",
): Promise<{ lines: string[]; losses: string[]; examples: string[] }> {
  const { file, report } = await convertFile(fileWith(bytes), "rest", { keepGoing: true, format });
  const { lines } = await differences(DUMP, file, { ignore: new Set(["nlink", "atime"]) });
  const losses = report.findings.filter(({ loss }) => loss);
  return { lines, losses: losses.map(({ kind }) => kind), examples: losses.flatMap(({ examples }) => examples) };
}

describe("a JSON dump that is cut off", () => {
  const whole = readFileSync(DUMP);

  test.each([[20_000], [60_000], [100_000], [138_000]])(
    "after %i bytes keeps every entry before the cut",
    async (size) => {
      const { lines, losses, examples } = await salvaged(whole.subarray(0, size));
      expect(losses).toEqual(["damaged"]);
      expect(examples[0]).toContain("the document ends here, before it is complete");
      // Nothing is changed or new; what is missing is missing to the end, in the order of names.
      expect(lines.filter((line) => !line.startsWith("D "))).toEqual([]);
      const text = whole.subarray(0, size).toString("latin1");
      const tree = text.slice(text.indexOf('"FSTree"'));
      const begun = tree.match(/^ +"[^"]*": \{$/gm)!.filter((line) => !line.includes('"entries"')).length;
      const kept = 396 - lines.filter((line) => line.startsWith("D /")).length;
      // All but the one that is cut.
      expect(kept).toBeGreaterThanOrEqual(begun - 1);
    },
  );

  test.each([
    ["gzip", gzipSync, 0.5],
    ["zstd, of which only whole blocks can be read,", zstdCompressSync, 0.99],
  ])("and compressed with %s keeps what the compression lets through", async (_, compress, part) => {
    const compressed = compress(whole);
    const cut = compressed.subarray(0, Math.floor(compressed.length * part));
    const { lines, losses, examples } = await salvaged(cut);
    expect(losses).toEqual(["damaged"]);
    expect(examples[0]).toContain("the document ends here, before it is complete");
    expect(lines.length).toBeLessThan(350);
    expect(lines.filter((line) => !line.startsWith("D "))).toEqual([]);
  });

  test("becomes a binary dump that is whole in itself", async () => {
    const { lines, losses } = await salvaged(whole.subarray(0, 60_000), "binary");
    expect(losses).toEqual(["damaged"]);
    expect(lines.filter((line) => !/^(D \/|M \/\.trash)/.test(line))).toEqual([]);
  });
});

describe("an entry of a JSON dump that cannot be understood", () => {
  const text = readFileSync(DUMP, "latin1");
  const broken = (from: string | RegExp, to: string): Buffer => {
    const other = text.replace(from, to);
    expect(other === text).toBe(false);
    return Buffer.from(other, "latin1");
  };

  test.each([
    [
      "a bad attribute of a file",
      /("plain": \{\n +"attr": \{"inode":\d+,"type":"regular","mode":)\d+/,
      "$1-1",
      ["D /acl/plain"],
    ],
    ["a bad name", '"plain": {', '"pl/ain": {', ["D /acl/plain"]],
    [
      "a bad attribute of a directory, with what is below it",
      /("l9": \{\n +"attr": \{"inode":)\d+/,
      "$1-7",
      [
        "D /chain/l0/l1/l2/l3/l4/l5/l6/l7/l8/l9/",
        "D /chain/l0/l1/l2/l3/l4/l5/l6/l7/l8/l9/l10/",
        "D /chain/l0/l1/l2/l3/l4/l5/l6/l7/l8/l9/l10/l11/",
      ],
    ],
  ])("is left out: %s", async (_, from, to, missing) => {
    const { lines, losses, examples } = await salvaged(broken(from, to));
    expect(lines).toEqual(missing);
    expect(losses).toEqual(["left-out"]);
    expect(examples[0]).toMatch(/^Cannot read "\/.*" of the JSON dump \(line \d+, byte \d+\): /);
  });

  test("is one of several, which are all reported", async () => {
    const bytes = Buffer.from(text.replaceAll('"type":"fifo"', '"type":"pipe"'), "latin1");
    const { lines, losses } = await salvaged(bytes);
    expect(lines).toEqual(["D /special/fifo"]);
    expect(losses).toEqual(["left-out"]);
  });

  test("stands at the end of a list of chunks or extended attributes", async () => {
    const chunk = await salvaged(broken('"id":120,"size":5,"len":5}', '"id":120,"size":5,"len":-5}'));
    expect(chunk.lines).toEqual(["D /data/cross-chunk"]);
    const xattr = await salvaged(broken('{"name":"user.on.dir",', '{"name":"",'));
    expect(xattr.lines.length).toBe(1);
    expect(xattr.losses).toEqual(["left-out"]);
  });

  test("is the root: nothing can be saved", async () => {
    const bytes = broken('"attr": {"inode":1,', '"attr": {"inode":"x",');
    await expect(salvaged(bytes)).rejects.toMatchObject({ code: "DECANT_E_JSON_NUMBER" });
  });
});

describe("a binary dump that is damaged", () => {
  const base = fixture("malformed/base.bin");

  /** What is saved of a malformed dump, against the whole one. */
  async function rest(name: string): Promise<{ lines: string[]; losses: string[] }> {
    const { file, report } = await convertFile(fixture(`malformed/${name}`), "x.bin", { keepGoing: true });
    const { lines } = await differences(base, file, { ignore: new Set(["nlink", "counters"]) });
    return { lines, losses: report.findings.filter(({ loss }) => loss).map(({ kind }) => kind) };
  }

  test.each([
    ["b26-name-empty.bin", "an entry without a name"],
    ["b30-short-attr.bin", "an attribute record that is too short"],
    ["b32-bad-protobuf.bin", "a record that is no message"],
    ["b33-chunk-odd.bin", "slices of an odd size"],
  ])("%s loses a record, not what follows: %s", async (name) => {
    const { lines, losses } = await rest(name);
    expect(losses).toContain("left-out");
    expect(lines.length).toBeLessThanOrEqual(2);
  });

  test("at its end keeps all records", async () => {
    for (const name of ["b07-trunc-before-footer.bin", "b10-wrong-magic.bin", "b21-trailing.bin"]) {
      expect(await rest(name)).toEqual({ lines: [], losses: ["damaged"] });
    }
  });

  test("within a segment keeps the records before the cut", async () => {
    const { file, report } = await convertFile(fixture("malformed/b06-trunc-mid.bin"), "x.json", {
      keepGoing: true,
      format: "json",
    });
    expect(report.findings.some(({ kind }) => kind === "damaged")).toBe(true);
    expect(readFileSync(file).length).toBeGreaterThan(500);
  });
});

test("names of extended attributes that are not UTF-8 are left out and reported, or kept when asked to", async () => {
  const batches = (await decodeAll(readFileSync(fixture("malformed/base.bin")))).batches;
  const odd = packBatch("xattr", [{ inode: 2n, name: Buffer.from([0x75, 0xff]), value: Buffer.from("v") }]);
  const file = fileWith(await encodeAll([...batches, odd], { rawXattrNames: true }));
  const options: Partial<ConvertRequest> = { keepGoing: true, format: "binary" };
  const without = await convertFile(file, "without.bin", options);
  expect(without.report.findings).toMatchObject([{ kind: "xattr-left-out", count: 1, loss: true }]);
  expect((await differences(fixture("malformed/base.bin"), without.file)).lines).toEqual([]);
  const kept = await convertFile(file, "kept.bin", { ...options, rawXattrNames: true });
  expect(kept.report.findings).toEqual([]);
  expect((await differences(file, kept.file)).lines).toEqual([]);
  expect((await differences(without.file, kept.file)).lines).toHaveLength(1);
  // The same format is the same document: nothing was written anew.
  expect((await convertFile(file, "copy.bin")).bytes.equals(readFileSync(file))).toBe(true);
});

test("a dump that is whole is written as it is, with nothing lost", async () => {
  const { bytes, report } = await convertFile(DUMP, "x.json", { keepGoing: true });
  expect(bytes.equals(readFileSync(DUMP))).toBe(true);
  expect(report.findings).toEqual([]);
});

test("damage that leaves no volume stays an error, and no file", async () => {
  for (const name of [
    "j06-trunc-setting.json",
    "j07-trunc-before-tree.json",
    "j26-no-fstree.json",
    "b01-empty.bin",
    "b05-trunc-8.bin",
  ]) {
    await expect(convertFile(fixture(`malformed/${name}`), "x.json", { keepGoing: true })).rejects.toMatchObject({
      name: "DataError",
    });
  }
});
