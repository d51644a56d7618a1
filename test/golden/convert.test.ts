import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { convert } from "../../src/operations/convert.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { packBatch, type RecordBatch } from "../../src/volume/records.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { expectSameVolume } from "../support/compare-volumes.ts";
import { convertFile } from "../support/convert-file.ts";
import { fixture } from "../support/repository.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { quietContext } from "../support/volume-files.ts";

const JSON_DUMP = fixture("golden/dumps/golden.json");
const BINARY_DUMP = fixture("golden/dumps/golden.bin");

const MANIFEST = {
  manifestVersion: 1,
  file: "x.json",
  sha256: "00",
  writtenBytes: 1,
  counts: {},
  volume: { name: "golden", uuid: "31b69a64-db9f-4fd0-a979-7cbf69bd576b" },
};

describe("JSON to binary", () => {
  test.each([
    "golden/dumps/golden.json",
    "golden/dumps/golden.keep.json",
    "golden/native/natsqlite.keep.json",
    "golden/native/natpg.keep.json",
    "golden/native/natmysql.keep.json",
    "golden/native/natbadger.keep.json",
    "golden/native/natetcd.keep.json",
    "malformed/base.json",
  ])("and back gives %s again, byte for byte", async (name) => {
    const binary = await convertFile(fixture(name), "x.bin", { format: "binary" });
    expect(binary.report.findings.filter(({ loss }) => loss)).toEqual([]);
    await expectSameVolume(fixture(name), binary.file);
    const back = await convertFile(binary.file, "x.json", { format: "json" });
    expect(back.bytes.equals(readFileSync(fixture(name)))).toBe(true);
  });

  test("gives the same bytes below a small memory ceiling", async () => {
    const memory = { maxBytes: 512 * 1024, tmpDir: temporaryDirectory() };
    const large = await convertFile(JSON_DUMP, "x.bin", { format: "binary" });
    const small = await convertFile(JSON_DUMP, "x.bin", { format: "binary" }, quietContext({ memory }));
    expect(small.bytes.equals(large.bytes)).toBe(true);
    const back = await convertFile(small.file, "x.json", { format: "json" }, quietContext({ memory }));
    expect(back.bytes.equals(readFileSync(JSON_DUMP))).toBe(true);
  });

  test("of a part of a volume says what it made whole", async () => {
    const { report } = await convertFile(fixture("golden/dumps/golden.subdir-docs.json"), "x.bin", {
      format: "binary",
    });
    expect(report.findings.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(["root-renumbered", "trash-created"]),
    );
  });
});

describe("binary to JSON", () => {
  test("keeps all that JSON can hold, and reports the rest as lost", async () => {
    const json = await convertFile(BINARY_DUMP, "x.json", { format: "json" });
    await expectSameVolume(BINARY_DUMP, json.file);
    expect(json.report.findings.filter(({ loss }) => loss)).toMatchObject([
      { kind: "files-left-out", count: 1, examples: ["inode 1407"] },
    ]);
    const binary = await convertFile(json.file, "y.bin", { format: "binary" });
    const again = await convertFile(binary.file, "y.json", { format: "json" });
    expect(again.bytes.equals(json.bytes)).toBe(true);
    const twice = await convertFile(again.file, "z.bin", { format: "binary" });
    expect(twice.bytes.equals(binary.bytes)).toBe(true);
  });
});

describe("binary to JSON of a dump with records twice", () => {
  const chunk = (inode: bigint, index: number, id: bigint): RecordBatch => {
    const slices = encodeSlices([{ pos: 0, id, size: 9, off: 0, len: 9 }]);
    return packBatch("chunk", [{ inode, index, slices }]);
  };
  const attribute = (mode: number): Buffer => encodeAttribute(newDirectoryAttribute(mode, 1n));
  const node = (mode: number): RecordBatch => packBatch("node", [{ inode: 90n, attribute: attribute(mode) }]);
  const entry = (inode: bigint, name = "twice"): RecordBatch =>
    packBatch("edge", [{ parent: 1n, inode, type: 2, name: Buffer.from(name) }]);
  const link = (target: string): RecordBatch => packBatch("symlink", [{ inode: 90n, target: Buffer.from(target) }]);
  const xattr = (value: string): RecordBatch =>
    packBatch("xattr", [{ inode: 90n, name: Buffer.from("user.a"), value: Buffer.from(value) }]);
  const cases: readonly (readonly [kind: string, one: RecordBatch, same: RecordBatch, other: RecordBatch])[] = [
    ["node", node(0o755), node(0o755), node(0o700)],
    ["edge", entry(90n), entry(90n), entry(91n)],
    ["symlink", link("target"), link("target"), link("")],
    ["xattr", xattr("one"), xattr("one"), xattr("longer")],
    ["chunk", chunk(90n, 3, 70n), chunk(90n, 3, 70n), chunk(90n, 3, 71n)],
  ];

  async function converted(more: readonly RecordBatch[]) {
    const { batches } = await decodeAll(readFileSync(fixture("malformed/base.bin")));
    const file = join(temporaryDirectory(), "more.bin");
    // The same name in a directory once more, so that the inode has an entry whatever is there twice.
    writeFileSync(file, await encodeAll([...batches, entry(90n, "once"), entry(91n, "another"), ...more]));
    const { bytes, report } = await convertFile(file, "x.json", { format: "json" });
    const found = report.findings.filter(({ kind }) => kind.startsWith("duplicate-"));
    return { bytes, found: found.map(({ kind, count, loss, examples }) => ({ kind, count, loss, examples })) };
  }

  test.each(cases)("notes a %s that is there twice and the same, and loses nothing", async (kind, one, same) => {
    const single = await converted([one]);
    const double = await converted([one, same]);
    expect(single.found).toEqual([]);
    expect(double.found).toEqual([{ kind: "duplicate-record", count: 1, loss: false, examples: [kind] }]);
    expect(double.bytes.equals(single.bytes)).toBe(true);
  });

  test.each(cases)(
    "reports a %s that is there twice and differs as a loss, and keeps one",
    async (kind, one, _, other) => {
      const { bytes, found } = await converted([one, other]);
      expect(found).toEqual([{ kind: "duplicate-differs", count: 1, loss: true, examples: [kind] }]);
      const alone = [(await converted([one])).bytes, (await converted([other])).bytes];
      expect(alone.some((single) => single.equals(bytes))).toBe(true);
      expect((await converted([other, one])).bytes.equals(bytes)).toBe(true);
    },
  );

  test("names chunks that differ where there are more than stand in an entry", async () => {
    const many = Array.from({ length: 4000 }, (_, i) => chunk(90n, i, BigInt(100 + i)));
    expect((await converted([...many, many[3999]!])).found).toMatchObject([{ kind: "duplicate-record", count: 1 }]);
    expect((await converted([...many, ...many])).found).toMatchObject([{ kind: "duplicate-record", count: 4000 }]);
    const others = many.map((_, i) => chunk(90n, i, BigInt(99 + i)));
    expect((await converted([...many, ...others])).found).toMatchObject([{ kind: "duplicate-differs", count: 4000 }]);
  });
});

describe("the same format", () => {
  test.each([JSON_DUMP, BINARY_DUMP])("is the same document: %s", async (file) => {
    const gzip = await convertFile(file, "x.gz");
    expect(gzip.report).toMatchObject({ compression: "gzip", documentBytes: readFileSync(file).length });
    expect(gzip.bytes.length).toBeLessThan(readFileSync(file).length);
    const zstd = await convertFile(gzip.file, "x.zst");
    expect(zstd.report.compression).toBe("zstd");
    const plain = await convertFile(zstd.file, "x");
    expect(plain.bytes.equals(readFileSync(file))).toBe(true);
  });

  test("replaces a file, and its manifest goes, which would say of the new one what was true of the old", async () => {
    const file = join(temporaryDirectory(), "x.json");
    const manifest = `${file}.manifest.json`;
    writeFileSync(manifest, JSON.stringify(MANIFEST));
    await convert({ source: { file: JSON_DUMP }, target: { file } }, quietContext());
    expect(existsSync(manifest)).toBe(false);
    // That of another file stays.
    writeFileSync(manifest, JSON.stringify({ ...MANIFEST, file: "y.json" }));
    await convert({ source: { file: JSON_DUMP }, target: { file } }, quietContext());
    expect(existsSync(manifest)).toBe(true);
  });

  test("can be encrypted, with another key and cipher again, and decrypted", async () => {
    const oldKey = fixture("object-storage/rsa2048-pkcs8-encrypted.pem");
    const newKey = join(temporaryDirectory(), "new.pem");
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    writeFileSync(newKey, privateKey.export({ type: "pkcs8", format: "pem" }));
    const env = { JFS_RSA_PASSPHRASE: "secret12" };
    const first = await convertFile(
      JSON_DUMP,
      "x.json.gz",
      { encryption: { keyFile: oldKey, algorithm: "aes256gcm-rsa" } },
      quietContext({ env }),
    );
    expect(first.report.encrypted).toBe(true);
    const second = await convertFile(
      first.file,
      "y.json.zst",
      {
        decryption: { keyFile: oldKey, algorithm: "aes256gcm-rsa" },
        encryption: { keyFile: newKey, algorithm: "chacha20-rsa" },
      },
      quietContext({ env }),
    );
    const plain = await convertFile(second.file, "z.json", {
      decryption: { keyFile: newKey, algorithm: "chacha20-rsa" },
    });
    expect(plain.bytes.equals(readFileSync(JSON_DUMP))).toBe(true);
  });

  test.each([
    ["golden/dumps/golden.json", 90_000, "DECANT_E_JSON_TRUNCATED"],
    ["golden/dumps/golden.bin", 20_000, "DECANT_E_BINARY_TRUNCATED"],
  ])("%s is checked: cut off, it leaves no file", async (name, size, code) => {
    const directory = temporaryDirectory();
    const cut = join(directory, "cut");
    writeFileSync(cut, readFileSync(fixture(name)).subarray(0, size));
    const target = join(directory, "x.gz");
    const request = { source: { file: cut }, target: { file: target } };
    await expect(convert(request, quietContext())).rejects.toMatchObject({ code });
    expect(existsSync(target)).toBe(false);
  });
});
