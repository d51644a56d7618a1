import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type ConvertRequest, convert } from "../../src/operations/convert.ts";
import { packBatch } from "../../src/volume/records.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { differences } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const DUMP = fixture("golden/dumps/golden.json");

function fileWith(bytes: Buffer): string {
  const file = join(temporaryDirectory(), "damaged");
  writeFileSync(file, bytes);
  return file;
}

/**
 * Salvages what is left of a dump, and says what it lacks of the whole one and what was reported. Counters are those of what is
 * left; a trash that is lost is made anew.
 */
async function salvaged(
  bytes: Buffer,
  format: NonNullable<ConvertRequest["format"]> = "json",
): Promise<{ lines: string[]; losses: string[]; examples: string[] }> {
  const { file, report } = await convertFile(fileWith(bytes), "rest", { keepGoing: true, format });
  const { lines } = await differences(DUMP, file, { ignore: new Set(["nlink", "atime", "counters"]) });
  const losses = report.findings.filter(({ loss }) => loss);
  return {
    lines: lines.filter((line) => line !== "M /.trash/ (mtime, ctime)"),
    losses: losses.map(({ kind }) => kind),
    examples: losses.flatMap(({ examples }) => examples),
  };
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
      "a bad name of a directory, with what is below it",
      '"l9": {',
      '"l/9": {',
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

  const PART =
    "left-out: A part of an entry that cannot be understood was left out: chunks, extended attributes or an access control list";

  /** The golden dump with a change, and what it lacks then. */
  async function without(from: string | RegExp, to: string): Promise<{ lines: string[]; losses: string[] }> {
    const { file, report } = await convertFile(fileWith(broken(from, to)), "rest", { keepGoing: true });
    const { lines } = await differences(DUMP, file, { ignore: new Set(["nlink", "atime", "counters"]) });
    const losses = report.findings.filter(({ loss }) => loss);
    return { lines, losses: losses.map(({ kind, text, count }) => `${kind}: ${text}: ${count}`) };
  }

  test.each([
    ["a number that is none", '"id":120,"size":5,"len":5}', '"id":120,"size":5,"len":-5}'],
    ["no JSON any more", '"id":120,"size":5,"len":5}', '"id":120,"size":5,"len"?5}'],
    ["no JSON, in its middle", '"id":120,"size"', '"id":120,size"'],
    ["no JSON, before others", '"id":119,"pos"', '"id":119,pos"'],
    ["its begin", '{"index":0,"slices":[{"id":119', '{ndex":0,"slices":[{"id":119'],
  ])("is a chunk of a file, which is kept with its other chunks: %s", async (_, from, to) => {
    const { lines, losses } = await without(from, to);
    expect(lines).toEqual(["M /data/cross-chunk (slices 2 -> 1)"]);
    expect(losses).toEqual([`${PART}: 1`]);
  });

  test.each([
    ["the last chunk, whose line is not known any more", /\{("index":1,"slices":\[\{"id":120)/, "-$1", "slices 2 -> 1"],
    ["an extended attribute", '{"name":"user.nul",', '{"name":"",', "xattr user.nul removed"],
    ["text within extended attributes", '"user.nul","value"', '"user.nul,"value"', "xattr user.nul removed"],
    ["the last extended attribute", '"user.utf8","value"', '"user.utf8,"value"', "xattr user.utf8 removed"],
    ["an access control list", /("many": \{[^}]*\},\n +"posix_acl_access": \{"owner":)6/, "$1-6", "acl removed"],
  ])("is a part of a file: %s", async (_, from, to, change) => {
    const { lines, losses } = await without(from, to);
    expect(lines.map((line) => line.replace(/^M \S+ /, ""))).toEqual([`(${change})`]);
    expect(losses.length).toBe(1);
  });

  test("is the target of a symbolic link, which is left out: it would lead nowhere", async () => {
    const { lines } = await without(/"symlink": "[^"]*"/, '"symlink": 7');
    expect(lines.length).toBe(1);
    expect(lines[0]).toMatch(/^D /);
  });

  test.each([
    [
      "a directory, whose entries are kept",
      /("l9": \{\n +"attr": \{"inode":)\d+/,
      "/chain/l0/l1/l2/l3/l4/l5/l6/l7/l8/l9/",
    ],
    ["the root, whose entries are kept", /("FSTree": \{\n +"attr": \{"inode":)1/, "/"],
    ["the root of the trash, whose entries are kept", /("Trash": \{\n +"attr": \{"inode":)\d+/, "/.trash/"],
  ])("is %s", async (_, from, path) => {
    const { lines, losses } = await salvaged(broken(from, "$1-7"));
    expect(lines.map((line) => line.replace(/ \(.*/, ""))).toEqual([`M ${path}`]);
    expect(losses).toEqual(["left-out"]);
  });
});

describe("text of a tree that is no JSON any more", () => {
  const whole = readFileSync(DUMP);
  const text = whole.toString("latin1");

  const gone = (lines: readonly string[]): string[] => lines.filter((line) => line.startsWith("D "));
  const isTime = (line: string): boolean => /^M .* \((mtime|ctime|, )+\)$/.test(line);

  test.each([
    ["the name of a file", '"plain": {\n', '"plain: {\n', ["D /acl/plain"]],
    ["the attributes of a file", /("plain": \{\n +"attr": \{"inode":)/, "$1]", ["D /acl/plain"]],
    ["the end of a file's attributes", /("plain": \{[^}]*)\}/, "$1)", ["D /acl/plain"]],
    ["the end of a file, which is kept", /("plain": \{[^}]*\}\n +)\}/, "$1)", []],
    ["the end of the entries of a directory", /("user": \{\n[^\n]*\n[^\n]*\n[^\n]*\n {10}\}\n {8})\}/, "$1)", []],
  ])("%s: only what it was about is lost", async (_, from, to, missing) => {
    const bytes = Buffer.from(text.replace(from, to), "latin1");
    expect(bytes.equals(whole)).toBe(false);
    const { lines, losses, examples } = await salvaged(bytes);
    expect(lines.filter((line) => !isTime(line))).toEqual(missing);
    expect(losses).toEqual(["left-out"]);
    expect(examples[0]).toMatch(/ \(line \d+, byte \d+\): .*; read again from line \d+ on$/);
  });

  test.each([
    ["its attributes", /("l9": \{\n +"attr": \{"inode":)/, "$1]"],
    ["the head of its entries", /("l9": \{\n[^\n]*\n +"entries)"/, "$1x"],
  ])("of a directory, %s: it is kept with its entries", async (_, from, to) => {
    const { lines, losses } = await salvaged(Buffer.from(text.replace(from, to), "latin1"));
    expect(gone(lines)).toEqual([]);
    expect(losses).toEqual(["left-out"]);
  });

  test("the name of a directory: what is below it comes under another name, if that is wanted", async () => {
    const bytes = Buffer.from(text.replace('"l9": {', '"l9: {'), "latin1");
    const below = "/chain/l0/l1/l2/l3/l4/l5/l6/l7/l8/";
    const without = await salvaged(bytes);
    expect(gone(without.lines)).toEqual([`D ${below}l9/`, `D ${below}l9/l10/`, `D ${below}l9/l10/l11/`]);
    const { file } = await convertFile(fileWith(bytes), "rest", { keepGoing: true, lostFound: true });
    const { lines } = await differences(DUMP, file, { ignore: new Set(["nlink", "atime", "counters"]) });
    const name = `lost+found-${bytes.indexOf('"l10": {')}`;
    expect(lines.filter((line) => !line.startsWith("M "))).toEqual([
      `D ${below}l9/`,
      `A ${below}${name}/`,
      `R ${below}l9/l10 -> ${below}${name}/l10/`,
    ]);
  });

  test("a block of zeros: entries whose directory is not certain any more are kept where nothing else is, if that is wanted", async () => {
    const bytes = Buffer.from(whole).fill(0, 60_000, 64_096);
    const without = await salvaged(bytes);
    const { file } = await convertFile(fileWith(bytes), "rest", { keepGoing: true, lostFound: true });
    const { lines } = await differences(DUMP, file, { ignore: new Set(["nlink", "atime", "counters"]) });
    const inBlock = (text.slice(60_000, 64_096).match(/^ +"[^"]*": \{$/gm) ?? []).length;
    expect(gone(lines).length).toBeLessThanOrEqual(inBlock + 1);
    expect(gone(without.lines).length).toBeGreaterThan(gone(lines).length);
    const moved = lines.filter((line) => line.startsWith("R "));
    expect(moved.length).toBe(gone(without.lines).length - gone(lines).length);
    expect(moved.every((line) => /^R \/many\/(\S+) -> \/lost\+found-\d+\/\1$/.test(line))).toBe(true);
  });
});

describe("a JSON dump whose head is damaged", () => {
  const text = readFileSync(DUMP, "latin1");

  async function rest(
    from: string | RegExp,
    to: string,
  ): Promise<{ lines: string[]; losses: string[]; others: string[]; head: Record<string, Record<string, unknown>> }> {
    const other = text.replace(from, to);
    expect(other === text).toBe(false);
    const { bytes, file, report } = await convertFile(fileWith(Buffer.from(other, "latin1")), "rest", {
      keepGoing: true,
    });
    const kinds = (loss: boolean): string[] =>
      report.findings.filter((finding) => finding.loss === loss).map(({ kind, text }) => `${kind}: ${text}`);
    const { lines } = await differences(DUMP, file);
    return { lines, losses: kinds(true), others: kinds(false), head: JSON.parse(bytes.toString()) };
  }

  /** An open file that is deleted counts in the volume, not in its tree; links of clones count in neither. */
  const isNotRecomputed = (line: string): boolean => !/^M (counter used|\/clones\/links\/rel.*\(nlink)/.test(line);

  const VALUE = "left-out: A counter, a quota or the like that cannot be understood was left out";
  const TEXT = "left-out: Text that is damaged was passed over: everything in it, to the next section, is lost";
  const NAME = "section-name: Names of sections that are damaged were told by what the sections hold";

  test.each([
    ["a counter that is no number", /"nextInodes": \d+/, '"nextInodes": "many"', ["M counter nextInodes"], [VALUE]],
    [
      "counters that are none",
      /"Counters": \{[^}]*\}/,
      '"Counters": 7',
      ["M counter nextInodes", "M counter nextChunk"],
      [VALUE],
    ],
    [
      "a counter without its comma",
      /("usedSpace": \d+),/,
      "$1",
      ["M counter nextInodes", "M counter nextChunk"],
      [TEXT],
    ],
    [
      "a quota without a limit",
      /\{\n +"maxSpace": 1073741824,\n +"maxInodes": 1000\n +\}/,
      "{}",
      ["D quota of inode 3"],
      [VALUE],
    ],
    ["an element that is cut short", '"sid": 1,', '"sid": ', [], [TEXT]],
  ])("is written without it, with every entry: %s", async (_, from, to, changed, losses) => {
    const found = await rest(from, to);
    expect(found.losses).toEqual(losses);
    const lines = found.lines.filter(isNotRecomputed);
    expect(lines.map((line) => line.replace(/ \(.*/, ""))).toEqual(changed);
  });

  test.each([
    ["FSTree", "FSTrxe"],
    ["Counters", "Co\u0001nters"],
    ["Setting", "Setti"],
  ])("is told by what it holds where a section has lost its name: %s", async (name, other) => {
    const found = await rest(`\n  "${name}": {`, `\n  "${other}": {`);
    expect(found.lines.filter(isNotRecomputed)).toEqual([]);
    expect(found.others).toContain(NAME);
    expect(found.losses).toEqual(["damaged: The dump is damaged: it was put right"]);
  });

  test("has its tree of files as far as the damage, and the trash behind it, where its lines tell nothing", async () => {
    const reset = text.replace(/(?<=\n {4} +)"entries": \{\n/g, '"entries":{');
    const at = reset.indexOf('"plain": {\n');
    const bytes =
      reset.slice(0, at) + reset.slice(at).replace('"plain": {\n', '"plain: {\n').replaceAll("\n     ", "      ");
    const { report, file } = await convertFile(fileWith(Buffer.from(bytes, "latin1")), "rest", { keepGoing: true });
    expect(report.findings.filter(({ loss }) => loss).map(({ kind }) => kind)).toEqual(["left-out"]);
    const { lines } = await differences(DUMP, file);
    const gone = lines.filter((line) => line.startsWith("D /"));
    expect(gone.length).toBeGreaterThan(100);
    expect(gone.some((line) => line.startsWith("D /.trash/"))).toBe(false);
  });

  test.each([
    ["a text without its end", '"Storage": "file",', '"Storage": "file,'],
    ["cut out", /"Setting": \{[\s\S]*?\n {2}\},/, ""],
    ["a list", /"Setting": \{/, '"Setting": [{'],
    ["without its UUID", /\n {4}"UUID": [^\n]*([\s\S]*)"plain": \{\n/, "$1x"],
    ["without its block size", /\n {4}"BlockSize": [^\n]*([\s\S]*)"plain": \{\n/, "$1x"],
  ])("cannot be saved without its setting, and is not: %s", async (_, from, to) => {
    const error = await rest(from, to).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toMatchObject({
      name: "DataError",
      hint: expect.stringContaining("Nothing can be saved: the setting of the volume is not whole"),
    });
  });
});

describe("a container that is damaged", () => {
  const whole = readFileSync(DUMP);

  test("encrypted, with a changed byte or tag: what was decrypted is written, and said not to be authenticated", async () => {
    const keyFile = fixture("object-storage/rsa2048-pkcs8-encrypted.pem");
    const decryption = { keyFile, algorithm: "aes256gcm-rsa" };
    const context = quietContext({ env: { JFS_RSA_PASSPHRASE: "secret12" } });
    const stored = (await convertFile(DUMP, "x.json", { encryption: decryption }, context)).bytes;
    const plain = stored.length - whole.length - 16;
    // A digit of a counter, then the tag.
    for (const [at, bits] of [
      [plain + whole.indexOf('"usedSpace": 5') + 13, 0x01] as const,
      [stored.length - 1, 0xff] as const,
    ]) {
      const bytes = Buffer.from(stored);
      bytes[at]! ^= bits;
      const file = fileWith(bytes);
      await expect(convertFile(file, "x.json", { decryption }, context)).rejects.toMatchObject({
        code: "DECANT_E_DECRYPT",
      });
      for (const source of [{ file }, { stream: Readable.from([bytes]) }]) {
        const target = join(temporaryDirectory(), "rest.json");
        const report = await convert({ source, target: { file: target }, keepGoing: true, decryption }, context);
        const losses = report.findings.filter(({ loss }) => loss);
        expect(losses.at(-1)).toMatchObject({
          kind: "not-authenticated",
          text: expect.stringMatching(/^NOT AUTHENTICATED/),
        });
        const { lines } = await differences(DUMP, target, { ignore: new Set(["counters", "nlink"]) });
        expect(lines).toEqual([]);
      }
    }
  });

  test("gzip without the end of its checksum: the whole document is written, and said not to be proven", async () => {
    const cut = gzipSync(whole).subarray(0, -3);
    const { bytes, report } = await convertFile(fileWith(cut), "x.json", { keepGoing: true });
    expect(bytes.equals(whole)).toBe(true);
    expect(report.findings.filter(({ loss }) => loss)).toMatchObject([
      { kind: "not-proven", examples: [expect.stringMatching(/^Cannot decompress .* \(gzip\): it is cut off$/)] },
    ]);
  });

  test("gzip with a changed byte: what comes before it is written", async () => {
    const bytes = gzipSync(whole);
    bytes.fill(0xff, bytes.length - 2000, bytes.length - 1000);
    const { report, file } = await convertFile(fileWith(bytes), "x.json", { keepGoing: true });
    expect(report.findings.filter(({ loss }) => loss).length).toBeGreaterThan(0);
    const { lines } = await differences(DUMP, file, { ignore: new Set(["counters", "nlink"]) });
    expect(lines.filter((line) => line.startsWith("D ")).length).toBeLessThan(250);
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
  const file = fileWith(
    Buffer.concat([await encodeAll([...batches, odd], { rawXattrNames: true }), Buffer.from("more")]),
  );
  const options: Partial<ConvertRequest> = { keepGoing: true, format: "binary" };
  const without = await convertFile(file, "without.bin", options);
  expect(without.report.findings).toMatchObject([
    { kind: "damaged" },
    { kind: "xattr-left-out", count: 1, loss: true },
  ]);
  expect((await differences(fixture("malformed/base.bin"), without.file)).lines).toEqual([]);
  const kept = await convertFile(file, "kept.bin", { ...options, rawXattrNames: true });
  expect(kept.report.findings).toMatchObject([{ kind: "damaged" }]);
  expect((await differences(without.file, kept.file)).lines).toHaveLength(1);
  // The same format is the same document: nothing is written anew.
  expect((await convertFile(kept.file, "copy.bin")).bytes.equals(kept.bytes)).toBe(true);
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
