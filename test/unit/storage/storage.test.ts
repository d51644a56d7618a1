import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../../src/base/logger.ts";
import { EncryptedStorage, openObjectKey } from "../../../src/storage/encrypted-storage.ts";
import { FileStorage } from "../../../src/storage/file-storage.ts";
import { openStorage } from "../../../src/storage/open-storage.ts";
import { probeStorage } from "../../../src/storage/probe-storage.ts";
import { fnv1a32 } from "../../../src/storage/sharded-storage.ts";
import { EMPTY_SETTING, type Setting } from "../../../src/volume/setting.ts";
import { fixture } from "../../support/repository.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const SIGNAL = new AbortController().signal;
const OPEN = { env: {}, logger: silentLogger };
const PROBE = { logger: silentLogger, signal: SIGNAL, pausesMs: [0, 0] };

function volume(parts: Partial<Setting>): Setting {
  return { ...EMPTY_SETTING, name: "vol", storage: "file", bucket: `${temporaryDirectory()}/`, ...parts };
}

describe("a directory", () => {
  test("is probed without leaving anything", async () => {
    const setting = volume({});
    const storage = await openStorage(setting, OPEN);
    expect(storage.displayName).toBe(`file://${setting.bucket}vol/`);
    await probeStorage(storage, PROBE);
    expect(readdirSync(join(setting.bucket, "vol"))).toEqual([]);
  });

  test("keeps what other clients have there when it is probed", async () => {
    const setting = volume({});
    const other = join(setting.bucket, "vol", "testing", "object-of-another-client");
    mkdirSync(join(setting.bucket, "vol", "testing"), { recursive: true });
    writeFileSync(other, "x");
    await probeStorage(await openStorage(setting, OPEN), PROBE);
    expect(readdirSync(join(setting.bucket, "vol", "testing"))).toEqual(["object-of-another-client"]);
    expect(readFileSync(other, "utf8")).toBe("x");
  });

  test("holds foreign objects unless they are empty or left by a probe", async () => {
    const bucket = `${temporaryDirectory()}/`;
    const storage = new FileStorage(bucket, "vol");
    expect(await storage.findForeignObject(SIGNAL)).toBeUndefined();
    mkdirSync(join(bucket, "vol", "testing"), { recursive: true });
    mkdirSync(join(bucket, "vol", "chunks", "0"), { recursive: true });
    writeFileSync(join(bucket, "vol", "testing", "x"), "x");
    writeFileSync(join(bucket, "vol", "chunks", "0", "empty"), "");
    expect(await storage.findForeignObject(SIGNAL)).toBeUndefined();
    await storage.put("chunks/0/0/1_0_5", Buffer.from("hello"), SIGNAL);
    expect(await storage.findForeignObject(SIGNAL)).toBe("chunks/0/0/1_0_5");
  });

  test("that cannot be written fails after all tries, with the reason", async () => {
    const bucket = temporaryDirectory();
    writeFileSync(join(bucket, "file"), "");
    const storage = new FileStorage(`${bucket}/file/`, "vol");
    await expect(probeStorage(storage, PROBE)).rejects.toThrow(
      /^Storage file:\/\/.*\/vol\/ is not configured correctly: Failed to put: /,
    );
  });
});

describe("shards", () => {
  test.each([
    ["vol-sh/juicefs_uuid", 0x050bd12c],
    ["vol-sh/chunks/0/0/1_0_108894", 0xbfe68eef],
    ["vol-sh/chunks/0/0/2_0_3", 0x0c0f6c49],
  ])("the hash of %s is that of the reference", (key, hash) => {
    expect(fnv1a32(Buffer.from(key))).toBe(hash);
  });

  test("an object lands in the shard of its hash", async () => {
    const directory = temporaryDirectory();
    const setting = volume({ name: "vol-sh", bucket: `${directory}/sh-%d/`, shards: 3n });
    const storage = await openStorage(setting, OPEN);
    await probeStorage(storage, PROBE);
    await storage.put("juicefs_uuid", Buffer.from("u"), SIGNAL);
    expect(readFileSync(join(directory, "sh-2", "vol-sh", "juicefs_uuid"), "utf8")).toBe("u");
    expect(await storage.findForeignObject(SIGNAL)).toBe("juicefs_uuid");
    expect(storage.displayName).toBe(`shard3://file://${directory}/sh-0/vol-sh/`);
  });

  test("need a bucket with a place for their number", async () => {
    const opening = openStorage(volume({ shards: 2n }), OPEN);
    await expect(opening).rejects.toThrow("can not generate different endpoint using");
  });
});

describe("encrypted objects", () => {
  const pem = readFileSync(fixture("encrypted/key-traditional-encrypted.pem"), "utf8");
  const env = { JFS_RSA_PASSPHRASE: "correct horse" };

  test.each([
    ["encaes", "aes256gcm-rsa"],
    ["encchacha", "chacha20-rsa"],
  ])("of the reference are read (%s)", async (name, algorithm) => {
    const bucket = fixture("encrypted/objects/");
    const storage = new EncryptedStorage(new FileStorage(bucket, name), openObjectKey(pem, algorithm, env));
    const plain = await storage.get("juicefs_uuid", SIGNAL);
    const dump = JSON.parse(readFileSync(fixture(`encrypted/${name}.json`), "utf8")) as { Setting: { UUID: string } };
    expect(plain.toString()).toBe(dump.Setting.UUID);
    expect((await storage.get("chunks/0/0/1_0_5", SIGNAL)).toString()).toBe("hello");
  });

  test("need an RSA key, its passphrase and a cipher that exists", () => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const edwards = privateKey.export({ format: "pem", type: "pkcs8" }).toString();
    expect(() => openObjectKey(pem, "", {})).toThrow("passphrase is required to private key: the volume's EncryptKey");
    expect(() => openObjectKey(pem, "", { JFS_RSA_PASSPHRASE: "wrong" })).toThrow(
      "parse private key: x509: decryption password incorrect",
    );
    expect(() => openObjectKey("removed", "", env)).toThrow(
      "parse private key: the volume's EncryptKey holds no key in PEM format",
    );
    expect(() => openObjectKey(edwards, "", env)).toThrow(
      "the key in the volume's EncryptKey is of type ed25519, not RSA",
    );
    expect(() => openObjectKey(pem, "foo", env)).toThrow("unsupport cipher: foo");
  });

  test("an encrypted volume's storage is probed through its encryption", async () => {
    const storage = await openStorage(volume({ encryptKey: pem }), { ...OPEN, env });
    await probeStorage(storage, PROBE);
    expect(storage.displayName).toMatch(/\(encrypted\)$/);
  });
});

test("types that cannot be reached and types that do not exist are told apart", async () => {
  const opening = (storage: string) => openStorage(volume({ storage }), OPEN);
  await expect(opening("sftp")).rejects.toThrow("cannot reach object storage of type sftp");
  await expect(opening("foo")).rejects.toThrow("object storage: invalid storage: foo");
});
