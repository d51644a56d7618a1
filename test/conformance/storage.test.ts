import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { openStorage } from "../../src/storage/open-storage.ts";
import { probeStorage } from "../../src/storage/probe-storage.ts";
import { EMPTY_SETTING, type Setting } from "../../src/volume/setting.ts";
import { fixture, REPOSITORY } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { requireS3Server, type S3Server } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { describeStorage, listed, PART_BYTES, randomPieces, type StorageUnderTest } from "./storage-suite.ts";

const SIGNAL: AbortSignal = new AbortController().signal;
const OPEN = { env: {}, logger: silentLogger };
const PEM = readFileSync(fixture("object-storage/rsa2048-pkcs8-plain.pem"), "utf8");
/** Of an object that is encrypted with a key of 2048 bits. */
const OVERHEAD = 3 + 256 + 12 + 16;

const server = await requireS3Server();

const ENCRYPTIONS: readonly (readonly [name: string, parts: Partial<Setting>, overhead: number])[] = [
  ["", {}, 0],
  [", encrypted with AES-256-GCM", { encryptKey: PEM, encryptAlgo: "aes256gcm-rsa" }, OVERHEAD],
  [", encrypted with ChaCha20-Poly1305", { encryptKey: PEM, encryptAlgo: "chacha20-rsa" }, OVERHEAD],
  [", encrypted with SM4-GCM", { encryptKey: PEM, encryptAlgo: "sm4gcm" }, OVERHEAD],
];

for (const [encryption, parts, overhead] of ENCRYPTIONS) {
  describeStorage(`a directory${encryption}`, inDirectory(parts, overhead));
  if (server !== undefined) describeStorage(`an S3 bucket${encryption}`, inBucket(server, parts, overhead));
}
describeStorage("three directories", inDirectory({ shards: 3n }, 0));
if (server !== undefined) describeStorage("three S3 buckets", inBucket(server, { shards: 3n }, 0));

function inDirectory(parts: Partial<Setting>, overhead: number): StorageUnderTest {
  let directory = "";
  return {
    open: () => {
      directory = temporaryDirectory();
      const bucket = parts.shards === undefined ? `${directory}/` : `${directory}/shard-%d/`;
      return openStorage({ ...EMPTY_SETTING, name: "vol", storage: "file", bucket, ...parts }, OPEN);
    },
    overhead,
    leftovers: async () =>
      readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => name.includes(".jfs.")),
  };
}

function inBucket(s3: S3Server, parts: Partial<Setting>, overhead: number): StorageUnderTest {
  let buckets: string[] = [];
  const client = s3.client();
  return {
    open: async () => {
      buckets = [await s3.createBucket()];
      const bucket = buckets[0]!;
      if (parts.shards === undefined) return openStorage(s3.setting(bucket, parts), OPEN);
      const setting = s3.setting(`${bucket}-%d`, parts);
      const storage = await openStorage(setting, OPEN);
      await storage.create(SIGNAL);
      buckets = ["0", "1", "2"].map((shard) => `${bucket}-${shard}`);
      return storage;
    },
    overhead,
    leftovers: async () => {
      const found: string[] = [];
      for (const Bucket of buckets) {
        const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
        found.push(...Uploads.map(({ Key = "" }) => Key));
      }
      return found;
    },
  };
}

describe("a directory", () => {
  test("keeps temporary files of others out of listings, and replaces files that programs have open", async () => {
    const under = inDirectory({}, 0);
    const storage = await under.open();
    await storage.put("meta/x", Buffer.from("old"), SIGNAL);
    await storage.put("meta/.jfs.x.tmp.123", Buffer.from("of another client"), SIGNAL);
    const file = storage.displayName.replace("file://", "");
    const before = statSync(join(file, "meta/x")).ino;
    await storage.put("meta/x", Buffer.from("new"), SIGNAL);
    expect(statSync(join(file, "meta/x")).ino).not.toBe(before);
    expect((await listed(storage, "")).map(({ key }) => key)).toEqual(["meta/x"]);
  });
});

describe.skipIf(server === undefined)("an S3 bucket", () => {
  async function inNewBucket(
    work: (storage: ObjectStorage, bucket: string) => Promise<void>,
    parts: Partial<Setting> = {},
  ): Promise<void> {
    const bucket = await server!.createBucket();
    const storage = await openStorage(server!.setting(bucket, parts), OPEN);
    await work(storage, bucket).finally(() => storage.close());
  }

  test("is listed to its end, page by page", () =>
    inNewBucket(async (storage) => {
      const keys = Array.from({ length: 1100 }, (_, i) => `meta/${String(i).padStart(5, "0")}`);
      const queue = keys.values();
      const writers = Array.from({ length: 8 }, async () => {
        for (const key of queue) await storage.put(key, Buffer.from("x"), SIGNAL);
      });
      await Promise.all(writers);
      expect((await listed(storage, "meta/")).map(({ key }) => key)).toEqual(keys);
    }));

  test("is made by a probe when it is not there, and nothing is left in it", async () => {
    const bucket = `new-${process.pid}`;
    const storage = await openStorage(server!.setting(bucket), OPEN);
    await expect(storage.get("x", SIGNAL)).rejects.toMatchObject({ code: "DECANT_E_NO_BUCKET" });
    await probeStorage(storage, { logger: silentLogger, signal: SIGNAL, pausesMs: [0] });
    expect(await listed(storage, "")).toEqual([]);
    await storage.create(SIGNAL);
    await storage.close();
  });

  test("belongs to a volume as far as its prefix goes", () =>
    inNewBucket(async (storage, bucket) => {
      const other = await openStorage(server!.setting(bucket, { name: "vol2" }), OPEN);
      await other.put("juicefs_uuid", Buffer.from("other"), SIGNAL);
      expect(await storage.findForeignObject(SIGNAL)).toBeUndefined();
      expect(await listed(storage, "")).toEqual([]);
      await other.close();
    }));

  test("takes a stream and gives it again without holding it in memory", async () => {
    const bucket = await server!.createBucket();
    const program = join(REPOSITORY, "test/support/stream-object.ts");
    const setting = server!.setting(bucket, { encryptKey: PEM });
    const { storage, accessKey, secretKey, encryptKey } = setting;
    const input = JSON.stringify({ name: "vol", storage, bucket: setting.bucket, accessKey, secretKey, encryptKey });
    const run = async (bytes: number) => {
      const { out } = await mustRun(process.execPath, [program, String(bytes)], { input });
      return JSON.parse(out) as { written: number; read: number; peakBytes: number };
    };
    // Both are large enough for all buffers of parts and sockets, and for garbage that waits for its collection.
    const [large, larger] = [await run(16 * PART_BYTES), await run(80 * PART_BYTES)];
    expect(larger.read).toBe(80 * PART_BYTES);
    expect(larger.written).toBe(larger.read + OVERHEAD);
    expect(larger.peakBytes - large.peakBytes).toBeLessThan(32 * PART_BYTES);
  });
});

describe("large backups of the reference on an encrypted volume, which are plain gzip", () => {
  test("are read as they are, which is said", async () => {
    const bucket = `${temporaryDirectory()}/`;
    const setting = { ...EMPTY_SETTING, name: "vol", storage: "file", bucket };
    const gzip = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(100_000, 1)]);
    await (await openStorage(setting, OPEN)).put("meta/dump", gzip, SIGNAL);
    const encrypted = await openStorage({ ...setting, encryptKey: PEM }, OPEN);
    const said: string[] = [];
    const pieces: Buffer[] = [];
    const options = { signal: SIGNAL, onClear: () => void said.push("clear") };
    for await (const piece of encrypted.getStream("meta/dump", options)) pieces.push(piece);
    expect(Buffer.concat(pieces).equals(gzip)).toBe(true);
    expect(said).toEqual(["clear"]);
    await encrypted.putStream("meta/own", randomPieces(10).pieces, { signal: SIGNAL });
    for await (const _ of encrypted.getStream("meta/own", options)) expect(said).toEqual(["clear"]);
  });

  test("are told from objects that are neither gzip nor encrypted", async () => {
    const bucket = `${temporaryDirectory()}/`;
    const setting = { ...EMPTY_SETTING, name: "vol", storage: "file", bucket };
    const plain = await openStorage(setting, OPEN);
    const encrypted = await openStorage({ ...setting, encryptKey: PEM }, OPEN);
    for (const content of ["", "x", "{}", "plain text of some length, which nobody has encrypted"]) {
      await plain.put("x", Buffer.from(content), SIGNAL);
      await expect(encrypted.get("x", SIGNAL)).rejects.toMatchObject({ code: "DECANT_E_DECRYPT" });
    }
    await expect(encrypted.get("x", SIGNAL)).rejects.toThrow(
      /^Cannot read file:\/\/.*\/vol\/x: malformed ciphertext: /,
    );
  });
});
