import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { convert } from "../../src/operations/convert.ts";
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
