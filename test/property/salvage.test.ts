import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { differences } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runInMemory } from "../unit/cli/memory-io.ts";
import { runsOf } from "./runs.ts";

const KEY = fixture("object-storage/rsa2048-pkcs8-encrypted.pem");
const ENV = { JFS_RSA_PASSPHRASE: "secret12" };

interface Saved {
  readonly code: number;
  readonly file: string;
  /** Kinds of findings; none when nothing was saved. */
  readonly found: string[];
  readonly losses: string[];
  readonly stderr: string;
}

/** `decant convert --keep-going` of a damaged file. */
async function save(bytes: Buffer, suffix: string, options: readonly string[] = []): Promise<Saved> {
  const directory = temporaryDirectory();
  const [source, file] = [join(directory, `damaged${suffix}`), join(directory, "rest.json")];
  writeFileSync(source, bytes);
  const run = await runInMemory(["convert", source, file, "--keep-going", "--json", ...options], { env: ENV });
  const { findings = [] } = JSON.parse(run.stdout) as { findings?: { kind: string; loss: boolean }[] };
  return {
    code: run.code,
    file,
    found: findings.map(({ kind }) => kind),
    losses: findings.filter(({ loss }) => loss).map(({ kind }) => kind),
    stderr: run.stderr,
  };
}

/** What `decant verify` finds wrong, beyond what was reported when the file was written. */
async function unreportedProblems({ file, found }: Saved): Promise<string[]> {
  const run = await runInMemory(["verify", file, "--json"]);
  const { problems } = JSON.parse(run.stdout) as { problems: { kind: string; severity: string }[] };
  return problems.filter(({ severity, kind }) => severity === "error" && !found.includes(kind)).map(({ kind }) => kind);
}

/** Paths of a dump's entries, as they are written, whose objects end within its first bytes. */
function pathsWithin(text: string, size: number): string[] {
  const paths: string[] = [];
  const open: { indent: number; name: string }[] = [];
  let offset = 0;
  for (const line of text.split("\n")) {
    const indent = line.length - line.trimStart().length;
    // Levels of entries and of their members take turns.
    const begin = indent % 4 === 2 ? /^ +"(.*)": \{$/.exec(line) : null;
    if (begin !== null) open.push({ indent, name: begin[1]! });
    else if (open.at(-1)?.indent === indent && /^ +\},?$/.test(line)) {
      if (offset + indent + 1 <= size) paths.push(open.map(({ name }) => name).join("/"));
      open.pop();
    }
    offset += line.length + 1;
  }
  return paths.filter((path) => path.startsWith("FSTree") || path.startsWith("Trash"));
}

/** Where the root of the tree of files has been read. */
function rootEnd(text: string): number {
  const entries = '\n    "entries": {';
  return text.indexOf(entries, text.indexOf('\n  "FSTree": {')) + entries.length;
}

test("entries are found in the text of a dump", () => {
  const text = readFileSync(fixture("golden/dumps/golden.json"), "latin1");
  expect(pathsWithin(text, text.length)).toHaveLength(396);
  expect(pathsWithin(text, 60_000).length).toBeGreaterThan(100);
});

describe("a JSON dump that is cut off at any byte", () => {
  test("keeps every entry that is whole, says that something is lost, and makes a sound volume", async () => {
    let saved = 0;
    await fc.assert(
      fc.asyncProperty(volumePlans(40), fc.double({ min: 0, max: 1, noNaN: true }), async (plan, part) => {
        const whole = await encodeRecords(volumeRecords(plan), 64 * 1024 * 1024);
        const text = whole.toString("latin1");
        // At least the last bracket is missing, and the line break behind it.
        const size = Math.floor((whole.length - 2) * part);
        const result = await save(whole.subarray(0, size), ".json");
        if (size < rootEnd(text)) {
          expect(result.code).toBe(6);
          expect(result.stderr).toMatch(/Nothing can be saved|empty|not a JSON dump/);
          return;
        }
        saved++;
        expect([result.code, result.losses]).toEqual([3, ["damaged"]]);
        const rest = readFileSync(result.file, "latin1");
        const kept = new Set(pathsWithin(rest, rest.length));
        expect(pathsWithin(text, size).filter((path) => !kept.has(path))).toEqual([]);
        expect(await unreportedProblems(result)).toEqual([]);
        const original = join(temporaryDirectory(), "whole.json");
        writeFileSync(original, whole);
        const { lines } = await differences(original, result.file, { ignore: new Set(["counters", "nlink"]) });
        expect(lines.filter((line) => !/^(D |M \/\.trash\/ )/.test(line))).toEqual([]);
      }),
      runsOf(60),
    );
    expect(saved).toBeGreaterThan(0);
  });

  test("is saved as binary dump too", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(20), fc.double({ min: 0.5, max: 1, noNaN: true }), async (plan, part) => {
        const whole = await encodeRecords(volumeRecords(plan), 64 * 1024 * 1024);
        const size = Math.floor((whole.length - 2) * part);
        if (size < rootEnd(whole.toString("latin1"))) return;
        const asJson = await save(whole.subarray(0, size), ".json");
        const asBinary = await save(whole.subarray(0, size), ".json", ["--format", "binary"]);
        expect(asBinary.code).toBe(3);
        expect(await unreportedProblems(asBinary)).toEqual([]);
        const { lines } = await differences(asJson.file, asBinary.file);
        expect(lines.filter((line) => !line.startsWith("M /.trash/ ("))).toEqual([]);
      }),
      runsOf(20),
    );
  });
});

describe("a dump in a container that is cut off at any byte", () => {
  const dump = fixture("golden/dumps/golden.json");
  const whole = readFileSync(dump);
  const forms: [string, string, () => Promise<Buffer>, string[], string[]][] = [
    ["gzip", ".json.gz", async () => gzipSync(whole), [], ["damaged", "not-proven"]],
    ["zstd", ".json.zst", async () => zstdCompressSync(whole), [], ["damaged", "not-proven"]],
    ["encrypted", ".json", () => encrypted("x.json"), ["--encrypt-rsa-key", KEY], ["damaged", "not-authenticated"]],
    [
      "encrypted gzip",
      ".gz",
      () => encrypted("x.json.gz"),
      ["--encrypt-rsa-key", KEY],
      ["damaged", "not-authenticated"],
    ],
  ];

  async function encrypted(name: string): Promise<Buffer> {
    const encryption = { keyFile: KEY, algorithm: "aes256gcm-rsa" };
    return (await convertFile(dump, name, { encryption }, quietContext({ env: ENV }))).bytes;
  }

  test.each(forms)("%s gives what can be read, or says why nothing can", async (_, suffix, make, options, losses) => {
    const stored = await make();
    let saved = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: stored.length - 1 }), async (size) => {
        const result = await save(stored.subarray(0, size), suffix, options);
        if (result.code === 6) {
          expect(result.stderr).toContain("decant: error: ");
          return;
        }
        saved++;
        expect(result.code).toBe(3);
        expect(result.losses.length).toBeGreaterThan(0);
        expect(losses).toEqual(expect.arrayContaining(result.losses));
        expect(await unreportedProblems(result)).toEqual([]);
        const { lines } = await differences(dump, result.file, { ignore: new Set(["counters", "nlink", "atime"]) });
        expect(lines.filter((line) => !/^(D |M \/\.trash\/ )/.test(line))).toEqual([]);
      }),
      runsOf(15),
    );
    if (suffix !== ".json.zst") expect(saved).toBeGreaterThan(0);
  });
});

test("a bit that is flipped anywhere in a JSON dump loses what is around it, and no more than it is said to", async () => {
  const dump = fixture("golden/dumps/golden.json");
  const whole = readFileSync(dump);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: whole.length - 1 }), fc.integer({ min: 0, max: 7 }), async (at, bit) => {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1 << bit;
      const result = await save(bytes, ".json", ["--lost-found"]);
      // Text that is another one may be as good as the one that was there.
      expect([0, 3, 6]).toContain(result.code);
      if (result.code !== 3) return;
      expect(await unreportedProblems(result)).toEqual([]);
      // What cannot be given its name again has a new one: no more is gone than the entry that was hit, and one beside it. Only the
      // directories of the trash, which are hours, cannot have another name.
      const { lines } = await differences(dump, result.file, { ignore: new Set(["counters", "nlink", "atime"]) });
      expect(lines.filter((line) => /^D (?!\/\.trash\/)/.test(line)).length).toBeLessThanOrEqual(2);
    }),
    runsOf(40),
  );
});

/** Digits of two numbers make a third one; a link without a target is reported as such when it is read. */
const VALUES = ["impossible-time", "missing-target"];

test("a block that is lost anywhere in a JSON dump gives no file chunks or attributes of another", async () => {
  const whole = readFileSync(fixture("golden/dumps/golden.json"));
  const own = partsByInode(whole.toString("latin1"));
  const blocks = fc.record({
    at: fc.integer({ min: 0, max: whole.length - 1 }),
    size: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(512, 4096, 10_000)),
    fill: fc.constantFrom(0x00, 0x2c, 0x30, 0x78, 0xff),
  });
  let kept = 0;
  await fc.assert(
    fc.asyncProperty(blocks, async ({ at, size, fill }) => {
      const bytes = Buffer.from(whole).fill(fill, at, Math.min(whole.length, at + size));
      const result = await save(bytes, ".json", ["--lost-found"]);
      if (result.code !== 3) return;
      kept++;
      expect((await unreportedProblems(result)).filter((kind) => !VALUES.includes(kind))).toEqual([]);
      for (const [inode, parts] of partsByInode(readFileSync(result.file, "latin1"))) {
        // where digits were written over, numbers are others, which nobody can see
        const isOther = (part: string): boolean => !own.get(inode)?.has(part) && !part.includes("00");
        expect([inode, [...parts].filter(isOther)]).toEqual([inode, []]);
      }
    }),
    runsOf(60),
  );
  expect(kept).toBeGreaterThan(0);
});

test("a block of a JSON dump in the place of another leaves a sound volume, or an error", async () => {
  const whole = readFileSync(fixture("golden/dumps/golden.json"));
  const blocks = fc.record({
    from: fc.integer({ min: 0, max: whole.length - 1 }),
    to: fc.integer({ min: 0, max: whole.length - 1 }),
    size: fc.constantFrom(64, 512, 4096),
    isAligned: fc.boolean(),
  });
  let kept = 0;
  await fc.assert(
    fc.asyncProperty(blocks, async ({ from, to, size, isAligned }) => {
      const place = (at: number): number => (isAligned ? at - (at % size) : at);
      const bytes = Buffer.from(whole);
      whole.copy(bytes, place(to), place(from), place(from) + size);
      const result = await save(bytes, ".json", ["--lost-found"]);
      expect([0, 3, 6]).toContain(result.code);
      if (result.code !== 3) return;
      kept++;
      expect((await unreportedProblems(result)).filter((kind) => !VALUES.includes(kind))).toEqual([]);
    }),
    runsOf(40),
  );
  expect(kept).toBeGreaterThan(0);
});

/** Chunks and extended attributes in the text of a dump, by inode. */
function partsByInode(text: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  let parts = new Set<string>();
  for (const line of text.split("\n")) {
    const inode = /"attr": \{"inode":(\d+)/.exec(line)?.[1];
    if (inode !== undefined) {
      parts = found.get(inode) ?? new Set();
      found.set(inode, parts);
    }
    const elements = line.match(/\{"index":\d+,"slices":\[[^\]]*\]\}|\{"name":"[^"]*","value":"[^"]*"\}/g);
    for (const element of elements ?? []) parts.add(element);
  }
  return found;
}
