import { describe, expect, test } from "vitest";
import type { Logger } from "../../../src/base/logger.ts";
import {
  assertFormatFlags,
  clampBlockSize,
  type FormatFlags,
  newSetting,
  updatedSetting,
} from "../../../src/operations/format-plan.ts";
import { formatSetting } from "../../../src/volume/setting.ts";
import { decryptAllSecrets } from "../../../src/volume/setting-secrets.ts";

class Warnings implements Logger {
  readonly debugEnabled = false;
  readonly lines: string[] = [];
  debug(): void {}
  info(): void {}
  warn(message: string): void {
    this.lines.push(message);
  }
}

function create(flags: FormatFlags, env: Record<string, string> = {}) {
  return newSetting("fvol", flags, { env, logger: new Warnings() });
}

test("a new volume has the reference's defaults", () => {
  const text = formatSetting(create({ bucket: "/data/b" }), { form: "pretty" });
  expect(text.replace(/"UUID": "[0-9a-f-]{36}"/, '"UUID": "-"')).toBe(`{
  "Name": "fvol",
  "UUID": "-",
  "Storage": "file",
  "Tiers": {
    "0": {
      "ID": 0,
      "StorageClass": "",
      "Tag": ""
    }
  },
  "Bucket": "/data/b/",
  "BlockSize": 4096,
  "Compression": "none",
  "EncryptAlgo": "aes256gcm-rsa",
  "TrashDays": 1,
  "MetaVersion": 1,
  "MinClientVersion": "1.1.0-A",
  "DirStats": true,
  "EnableACL": false
}`);
});

test("keys come from the environment when their flags are empty, and are encrypted", () => {
  const env = { ACCESS_KEY: "ea", SECRET_KEY: "es", SESSION_TOKEN: "et" };
  const setting = create({ secretKey: "given", sessionToken: "" }, env);
  expect(setting.keyEncrypted).toBe(true);
  expect(decryptAllSecrets(setting)).toMatchObject({ accessKey: "ea", secretKey: "given", sessionToken: "et" });
  expect(create({ accessKey: "a" }).keyEncrypted).toBe(false);
});

test.each([
  [{ enableAcl: true }, "1.2.0-A"],
  [{ rangerService: "s", enableAcl: true }, "1.3.0-A"],
  [{ kerbConf: "x" }, "1.4.0-A"],
])("%o asks for clients from %s on", (flags, version) => {
  expect(create(flags).minClientVersion).toBe(version);
});

describe("block sizes", () => {
  test.each([
    [4096n, 4096n, []],
    [5000n, 4096n, []],
    [1n, 64n, ["block size is too small: 1.0 KiB, use 64 KiB instead"]],
    [0n, 64n, ["block size is too small: 0 B, use 64 KiB instead"]],
    [65536n, 16384n, ["block size is too large: 64 MiB, use 16 MiB instead"]],
  ] as const)("%s KiB becomes %s KiB", (given, used, lines) => {
    const logger = new Warnings();
    expect(clampBlockSize(given, logger)).toBe(used);
    expect(logger.lines).toEqual(lines);
  });
});

describe("what no volume can have", () => {
  test.each([
    ["AB", {}, 'invalid name: "AB", only alphabet, number and - are allowed'],
    ["ab", {}, 'invalid name: "ab"'],
    ["-abc", {}, "invalid name"],
    [`a${"b".repeat(63)}`, {}, "invalid name"],
    ["abc", { compression: "gzip" }, 'Unsupported compress algorithm: "gzip"'],
    ["abc", { trashDays: -1n }, "Invalid trash days: -1"],
    ["abc", { shards: 257n }, "too many shards: 257"],
    ["abc", { inodes: -1n }, 'Invalid value "-1" for "inodes"'],
  ])("%s %o", (name, flags, message) => {
    expect(() => assertFormatFlags(name, flags)).toThrow(message);
  });

  test("names of 3 to 63 characters and any case of a compression are fine", () => {
    assertFormatFlags("a-1", { compression: "LZ4" });
    assertFormatFlags("b".repeat(63), { compression: "" });
  });
});

describe("an existing volume", () => {
  const stored = create({ bucket: "/data/b", secretKey: "s" });
  const update = (flags: FormatFlags, name: string = "fvol", force: boolean = false, logger = new Warnings()) =>
    updatedSetting(stored, name, flags, { force, logger });

  test("takes over what is given and keeps its identity and secrets", () => {
    expect(update({ trashDays: 3n, accessKey: "k" })).toEqual({ ...stored, trashDays: 3n, accessKey: "k" });
    expect(decryptAllSecrets(update({ secretKey: "n" })).secretKey).toBe("n");
  });

  test.each([
    [{}, "gvol", "format: update format: cannot update volume name from fvol to gvol"],
    [{ blockSize: 1024n }, "fvol", "cannot update volume block size from 4096 to 1024"],
    [{ compression: "lz4" }, "fvol", "cannot update volume compression from none to lz4"],
    [{ shards: 2n }, "fvol", "cannot update volume shards from 0 to 2"],
    [{ hashPrefix: true }, "fvol", "cannot update volume hash prefix from false to true"],
  ])("refuses %o for %s unless forced", (flags, name, message) => {
    expect(() => update(flags, name)).toThrow(message);
    expect(update(flags, name, true).name).toBe(name);
  });

  test("says which flags do not count", () => {
    const logger = new Warnings();
    update({ encryptAlgo: "foo", enableAcl: true }, "fvol", false, logger);
    expect(logger.lines).toEqual([
      'Flag "encrypt-algo" is ignored since it cannot be updated',
      'Flag "enable-acl" is ignored for an existing volume: use the config command',
    ]);
  });
});
