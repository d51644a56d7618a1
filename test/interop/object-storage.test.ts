import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { openStorage } from "../../src/storage/open-storage.ts";
import { parseSetting, type Setting } from "../../src/volume/setting.ts";
import { decryptAllSecrets } from "../../src/volume/setting-secrets.ts";
import { listed } from "../conformance/storage-suite.ts";
import { runDecant } from "../support/decant.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { requireS3Server, S3_KEYS } from "../support/s3-server.ts";
import { query } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const SIGNAL: AbortSignal = new AbortController().signal;
const KEY_FILE = fixture("object-storage/rsa2048-pkcs8-encrypted.pem");
const PASSPHRASE = { JFS_RSA_PASSPHRASE: "secret12" };

const client = await mountingClient();
const server = client === undefined ? undefined : await requireS3Server();

type Volume = readonly [storage: "file" | "minio" | "s3", options: readonly string[]];

const PLAIN: readonly string[] = [];
const AES = ["--encrypt-rsa-key", KEY_FILE];
const CHACHA = ["--encrypt-rsa-key", KEY_FILE, "--encrypt-algo", "chacha20-rsa"];
const VOLUMES: readonly Volume[] = [
  ["minio", PLAIN],
  ["minio", AES],
  ["minio", CHACHA],
  ["s3", PLAIN],
  ["s3", [...AES, "--hash-prefix"]],
  ["file", PLAIN],
  ["file", CHACHA],
  ["file", ["--shards", "3"]],
];

/** What both clients are told about the storage of a new volume. */
async function storageOptions([storage, options]: Volume): Promise<string[]> {
  if (storage === "file") {
    const directory = temporaryDirectory();
    return ["--storage", "file", "--bucket", options.includes("--shards") ? `${directory}/%d` : directory, ...options];
  }
  const bucket = `http://127.0.0.1:${server!.port}/${await server!.createBucket()}`;
  const keys = ["--access-key", S3_KEYS.accessKey, "--secret-key", S3_KEYS.secretKey];
  return ["--storage", storage, "--bucket", bucket, ...keys, ...options];
}

/** The setting of a volume as it is stored, secrets in clear. */
function settingOf(path: string): Setting {
  const [text] = query(path, "SELECT CAST(value AS TEXT) FROM jfs_setting WHERE name = 'format'");
  return decryptAllSecrets(parseSetting(Buffer.from(text!)));
}

async function withStorage(path: string, work: (storage: ObjectStorage, setting: Setting) => Promise<void>) {
  const setting = settingOf(path);
  const storage = await openStorage(setting, { env: PASSPHRASE, logger: silentLogger });
  await work(storage, setting).finally(() => storage.close());
}

/** The only file of a volume, from its blocks in the object storage. */
async function joinedBlocks(storage: ObjectStorage): Promise<Buffer> {
  const blocks = (await listed(storage, "chunks/")).map(({ key }) => {
    const [, id, index] = /\/(\d+)_(\d+)_\d+$/.exec(key)!.map(Number);
    return { key, place: id! * 1000 + index! };
  });
  const contents: Buffer[] = [];
  for (const { key } of blocks.sort((a, b) => a.place - b.place)) contents.push(await storage.get(key, SIGNAL));
  return Buffer.concat(contents);
}

describe.skipIf(client === undefined || server === undefined)("object storage shared with the reference", () => {
  const withPassphrase = { env: PASSPHRASE };

  test.each(VOLUMES)("what it writes is read: %s %s", async (...volume) => {
    const { url, path } = newSqliteTarget();
    await mustRun(client!, ["format", ...(await storageOptions(volume)), url, "theirs"], withPassphrase);
    const content = randomBytes(5_000_000);
    await mounted(url, async (directory) => writeFileSync(join(directory, "file"), content));
    await withStorage(path, async (storage, setting) => {
      expect((await storage.get("juicefs_uuid", SIGNAL)).toString()).toBe(setting.uuid);
      expect((await joinedBlocks(storage)).equals(content)).toBe(true);
      expect(await storage.findForeignObject(SIGNAL)).toBeDefined();
    });
  });

  test.each(VOLUMES)("a volume made by decant is used by it: %s %s", async (...volume) => {
    const { url, path } = newSqliteTarget();
    const options = await storageOptions(volume);
    const formatted = await runDecant(["format", ...options, url, "ours"], withPassphrase);
    expect(formatted.err).toContain("Data use ");
    expect(formatted.code).toBe(0);
    const content = randomBytes(5_000_000);
    await mounted(url, async (directory) => writeFileSync(join(directory, "file"), content));
    await mounted(url, async (directory) => {
      expect(readFileSync(join(directory, "file")).equals(content)).toBe(true);
    });
    await mustRun(client!, ["fsck", url], withPassphrase);
    const shownBy = async (program: string) => {
      const { err } = await mustRun(program, ["fsck", url], withPassphrase);
      return /Data use (\S+)/.exec(err)?.[1];
    };
    await withStorage(path, async (storage) => {
      expect((await joinedBlocks(storage)).equals(content)).toBe(true);
      expect(storage.displayName).toBe(await shownBy(client!));
    });
  });

  test.each(VOLUMES)("blocks written by decant are read by it: %s %s", async (...volume) => {
    const { url, path } = newSqliteTarget();
    await mustRun(client!, ["format", ...(await storageOptions(volume)), url, "theirs"], withPassphrase);
    await mounted(url, async (directory) => writeFileSync(join(directory, "file"), Buffer.alloc(3_000_000, 1)));
    const content = randomBytes(3_000_000);
    await withStorage(path, async (storage) => {
      const [block] = await listed(storage, "chunks/");
      async function* pieces(): AsyncGenerator<Buffer> {
        yield content.subarray(0, 1_000_000);
        yield content.subarray(1_000_000);
      }
      await storage.putStream(block!.key, pieces(), { signal: SIGNAL });
    });
    await mounted(url, async (directory) => {
      expect(readFileSync(join(directory, "file")).equals(content)).toBe(true);
    });
  });

  test.each<Volume>([
    ["minio", PLAIN],
    ["minio", AES],
    ["file", CHACHA],
  ])("a backup of many parts is copied and loaded by it: %s %s", async (...volume) => {
    const { url, path } = newSqliteTarget();
    await mustRun(client!, ["format", ...(await storageOptions(volume)), url, "theirs"], withPassphrase);
    const dump = readFileSync(fixture("encrypted/plain.json"));
    // stored without compression, so that it has more than two parts
    const backup = gzipSync(Buffer.concat([dump, Buffer.alloc(20_000_000, " ")]), { level: 0 });
    const copies = temporaryDirectory();
    await withStorage(path, async (storage, setting) => {
      async function* pieces(): AsyncGenerator<Buffer> {
        for (let at = 0; at < backup.length; at += 1_000_000) yield backup.subarray(at, at + 1_000_000);
      }
      const { bytes } = await storage.putStream("meta/dump.json.gz", pieces(), { signal: SIGNAL });
      const isEncrypted = volume[1].length > 0;
      expect(bytes).toBe(backup.length + (isEncrypted ? 287 : 0));
      const { host, pathname } =
        volume[0] === "file" ? { host: "", pathname: setting.bucket } : new URL(setting.bucket);
      const keys = `${S3_KEYS.accessKey}:${S3_KEYS.secretKey}@`;
      const prefix = `${pathname.replace(/\/$/, "")}/theirs/meta/`;
      const source = volume[0] === "file" ? `file://${prefix}` : `minio://${keys}${host}${prefix}`;
      mkdirSync(join(copies, "meta"));
      await mustRun(client!, ["sync", source, `${join(copies, "meta")}/`]);
    });
    const target = newSqliteTarget();
    const copy = join(copies, "meta", "dump.json.gz");
    const algorithm = volume[1].includes("chacha20-rsa") ? "chacha20-rsa" : "aes256gcm-rsa";
    const decryption = volume[1].length > 0 ? ["--encrypt-rsa-key", KEY_FILE, "--encrypt-algo", algorithm] : [];
    await mustRun(client!, ["load", target.url, copy, ...decryption], withPassphrase);
    const names = query(target.path, "SELECT CAST(name AS TEXT) FROM jfs_edge ORDER BY name");
    const own = newSqliteTarget();
    await mustRun(client!, ["load", own.url, fixture("encrypted/plain.json")]);
    expect(names).toEqual(query(own.path, "SELECT CAST(name AS TEXT) FROM jfs_edge ORDER BY name"));
  });

  /** The passphrase reaches the client by the environment of this process. */
  async function mounted(url: string, work: (directory: string) => Promise<void>): Promise<void> {
    Object.assign(process.env, PASSPHRASE);
    try {
      await whileMounted(client!, url, work);
    } finally {
      for (const name of Object.keys(PASSPHRASE)) delete process.env[name];
    }
  }
});

describe.skipIf(server === undefined)("format and config with an S3 bucket", () => {
  test("refuse keys that do not work, and leave everything as it was", async () => {
    if (server!.kind === "moto") return; // takes any keys
    const { url, path } = newSqliteTarget();
    const bucket = `http://127.0.0.1:${server!.port}/${await server!.createBucket()}`;
    const options = ["--storage", "minio", "--bucket", bucket, "--access-key", S3_KEYS.accessKey];
    const refused = await runDecant(["format", ...options, "--secret-key", "wrong-secret", url, "ours"]);
    expect(refused.code).toBe(7);
    expect(refused.err).toContain(
      `Storage minio://${bucket.slice(7)}/ours/ is not configured correctly: Failed to put: `,
    );
    expect(refused.err).toContain("SignatureDoesNotMatch");
    expect(refused.err).not.toContain("wrong-secret");
    expect((await runDecant(["format", ...options, "--secret-key", S3_KEYS.secretKey, url, "ours"])).code).toBe(0);
    const before = settingOf(path);
    const changed = await runDecant(["config", url, "--secret-key", "wrong-secret"]);
    expect(changed.code).toBe(7);
    expect(settingOf(path)).toEqual(before);
    const other = newSqliteTarget();
    const taken = await runDecant(["format", ...options, "--secret-key", S3_KEYS.secretKey, other.url, "ours"]);
    expect(taken.code).toBe(5);
    expect(taken.err).toContain("is not empty; please clean it up or pick another volume name");
  });
});
