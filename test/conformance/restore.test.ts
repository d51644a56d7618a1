import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type BackupRequest, backup } from "../../src/operations/backups/backup.ts";
import type { BackupPlaceRequest } from "../../src/operations/backups/backup-place.ts";
import { type RestoreRequest, restore } from "../../src/operations/backups/restore.ts";
import { SLICE_GAP } from "../../src/operations/backups/restore-load.ts";
import { sidecarKey } from "../../src/operations/backups/sidecars.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { BACKUP_LEASE_XATTR } from "../../src/volume/backup-xattrs.ts";
import { formatSetting, parseSetting, type Setting } from "../../src/volume/setting.ts";
import { decryptAllSecrets, encryptSecrets } from "../../src/volume/setting-secrets.ts";
import { bucketVolume, lastBackup, withStore } from "../support/backup-volume.ts";
import { assembleDump, splitSegments } from "../support/binary-segments.ts";
import { differences } from "../support/compare-volumes.ts";
import { fixture } from "../support/repository.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { requireS3Server, S3_KEYS } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";

const CONTEXT = createContext({ env: {} });
const ENGINES = await requireEngines();
const S3 = await requireS3Server();

const PASSPHRASE = readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim();
const KEY = fixture("encrypted/key-pkcs8-encrypted.pem");

const FORMATS: readonly Pick<BackupRequest, "format" | "compression">[] = [
  { format: "json", compression: "gzip" },
  { format: "json", compression: "zstd" },
  { format: "json", compression: "none" },
  { format: "binary", compression: "zstd" },
  { format: "binary", compression: "gzip" },
  { format: "binary", compression: "none" },
];

function settingOf(url: string): Promise<Setting> {
  return withStore(url, async (store) => parseSetting((await store.readSetting(CONTEXT.signal))!));
}

/** What differs, but for counters and for the secret key of a directory, which needs none. */
async function lost(from: string, to: string): Promise<string[]> {
  const { lines } = await differences(from, to, { ignore: new Set(["counters"]) });
  return lines.filter((line) => !/^[MD] setting (?:SecretKey|KeyEncrypted) /.test(line));
}

async function nextSlice(url: string): Promise<bigint> {
  return withStore(url, async (store) => {
    const snapshot = await store.openSnapshot(CONTEXT);
    try {
      let next = 0n;
      for await (const batch of snapshot.records({ kinds: new Set(["counter"]) })) {
        const at = batch.bytes.indexOf("nextChunk");
        if (at >= 0) next = batch.bytes.readBigInt64BE(at - 8);
      }
      return next;
    } finally {
      await snapshot.close();
    }
  });
}

/** A volume of which nothing but its bucket is left. */
async function lostVolume(url: string, formats: readonly Pick<BackupRequest, "format" | "compression">[]) {
  const volume = await bucketVolume(undefined, url);
  await withStore(url, async (store) => {
    const values = new Map([[BACKUP_LEASE_XATTR, Buffer.from("left by an agent")]]);
    expect(await store.swapRootXattrs({ expected: new Map(), values }, CONTEXT.signal)).toBe(true);
  });
  for (const format of formats) await backup({ volume: url, ...format }, CONTEXT);
  return { ...volume, from: { volume: `file://${volume.bucket}${volume.name}` } satisfies BackupPlaceRequest };
}

describe.each(ENGINES.map((engine) => [engine.name, engine] as const))("a volume that was in %s", (_, source) => {
  test("is restored from its bucket alone into every engine", async () => {
    const volume = await lostVolume(await source.createDatabase(), [{ format: "json" }]);
    for (const engine of ENGINES) {
      const target = await engine.createDatabase();
      if (target === volume.url) continue;
      const report = await restore({ target, from: volume.from, checkedSlices: 0 }, CONTEXT);
      expect([engine.name, report.isComplete, report.nextSteps]).toEqual([engine.name, true, []]);
      expect(await lost(volume.url, target)).toEqual([]);
      // Numbers that were given since the backup are in the bucket and in caches.
      expect(await nextSlice(target)).toBe((await nextSlice(volume.url)) + SLICE_GAP);
      expect(report.loaded!.counters.source.nextChunk).toBe(await nextSlice(volume.url));
      expect(await lastBackup(target)).toBe(report.plan.chosen.manifest!.backup.startedAt.replace(".000Z", "Z"));
      await withStore(target, async (store) => {
        expect(await store.readRootXattrs([BACKUP_LEASE_XATTR], CONTEXT.signal)).toEqual(new Map());
      });
    }
  });
});

test("a backup with records twice is read again, checked again, and restored with each of them once", async () => {
  const volume = await lostVolume(newSqliteTarget().url, [{ format: "binary", compression: "none" }]);
  const [name] = volume.names("decant/backups");
  const file = join(volume.bucket, volume.name, "decant/backups", name!);
  const { segments } = splitSegments(readFileSync(file));
  const twice = assembleDump([...segments, ...segments.filter(({ type }) => type > 2)]);
  writeFileSync(file, twice);
  const manifestFile = join(volume.bucket, volume.name, sidecarKey("manifest", name!));
  const manifest = JSON.parse(readFileSync(manifestFile, "utf8"));
  const sha256 = createHash("sha256").update(twice).digest("hex");
  const sizes = { writtenBytes: twice.length, documentBytes: twice.length };
  const changed = { ...manifest, ...sizes, sha256, backup: { ...manifest.backup, storedBytes: twice.length } };
  writeFileSync(manifestFile, JSON.stringify(changed));

  const target = newSqliteTarget().url;
  const report = await restore({ target, from: volume.from, checkedSlices: 5 }, CONTEXT);
  expect(report.loaded!.findings.map(({ kind }) => kind)).toContain("repeated-record");
  expect(await lost(volume.url, target)).toEqual([]);
  expect(await nextSlice(target)).toBe((await nextSlice(volume.url)) + SLICE_GAP);

  // What is read again counts: bytes that are not those of the manifest become no volume.
  writeFileSync(manifestFile, JSON.stringify({ ...changed, sha256: "0".repeat(64) }));
  const damaged = restore(
    { target: newSqliteTarget().url, from: volume.from, point: { kind: "name", name: name! } },
    CONTEXT,
  );
  await expect(damaged).rejects.toMatchObject({ code: "DECANT_E_BACKUP_DAMAGED" });
});

test("backups of every format and compression are restored as they are", async () => {
  const volume = await lostVolume(newSqliteTarget().url, FORMATS);
  for (const { format, compression } of FORMATS) {
    const ending = `${format === "json" ? ".json" : ".bin"}${{ gzip: ".gz", zstd: ".zst", none: "" }[compression!]}`;
    const name = [...volume.names("meta"), ...volume.names("decant/backups")].find((each) => each.endsWith(ending))!;
    const target = newSqliteTarget().url;
    const report = await restore(
      { target, from: volume.from, point: { kind: "name", name }, checkedSlices: 0 },
      CONTEXT,
    );
    expect([report.plan.chosen.backup.name, report.isComplete]).toEqual([name, true]);
    // Each backup is of the moment before the next one.
    const lines = (await lost(volume.url, target)).filter((line) => line !== "M / (xattr lastBackup changed)");
    expect(lines).toEqual([]);
  }
});

test("a backup that a client made and nobody has verified is restored, without the lease of an agent that it holds", async () => {
  const volume = await lostVolume(newSqliteTarget().url, [{ format: "json" }]);
  const [name] = volume.names("meta");
  const at = (folder: string, file: string) => join(volume.bucket, volume.name, folder, file);
  rmSync(at("decant/manifests", `${name}.manifest.json`));
  // Clients take the lease for an attribute like those of users.
  const text = gunzipSync(readFileSync(at("meta", name!))).toString("latin1");
  const withLease = text.replace(/(\{"name":"lastBackup",)/, `{"name":"${BACKUP_LEASE_XATTR}","value":"busy"},$1`);
  expect(withLease.length).toBeGreaterThan(text.length);
  writeFileSync(at("meta", name!), gzipSync(Buffer.from(withLease, "latin1")));
  const target = newSqliteTarget().url;
  const report = await restore({ target, from: volume.from, checkedSlices: 0 }, CONTEXT);
  expect([report.plan.chosen.quality, report.isComplete]).toEqual(["unknown", true]);
  expect(await lost(volume.url, target)).toEqual([]);
  await withStore(target, async (store) => {
    expect(await store.readRootXattrs([BACKUP_LEASE_XATTR], CONTEXT.signal)).toEqual(new Map());
  });
});

test("a volume whose bucket was moved is restored, and the report says how to set the new one", async () => {
  const volume = await lostVolume(newSqliteTarget().url, [{ format: "json" }]);
  const moved = `${temporaryDirectory()}/`;
  cpSync(join(volume.bucket, volume.name), join(moved, volume.name), { recursive: true });
  const target = newSqliteTarget().url;
  const from = { volume: `file://${moved}${volume.name}` };
  const report = await restore({ target, from, checkedSlices: 0 }, CONTEXT);
  expect([report.isComplete, report.nextSteps.length]).toEqual([false, 1]);
  expect(report.nextSteps[0]).toContain(`decant config ${target} --storage file --bucket ${moved}`);
});

test("a dry run writes nothing, neither into the target nor into the bucket", async () => {
  const volume = await lostVolume(newSqliteTarget().url, [{ format: "json" }, { format: "binary" }]);
  const target = newSqliteTarget().url;
  const before = volume.names("decant");
  const report = await restore({ target, from: { volume: volume.url }, dryRun: true }, CONTEXT);
  expect([report.loaded, report.blocks, report.plan.others.length]).toEqual([undefined, undefined, 1]);
  expect(report.plan.old).toMatchObject({ address: volume.url, sessions: 0, usage: { totalInodes: 283n } });
  expect(volume.names("decant")).toEqual(before);
  expect(existsSync(target.slice("sqlite3://".length))).toBe(false);
});

describe.each([
  ["encaes", "aes256gcm-rsa"],
  ["encchacha", "chacha20-rsa"],
] as const)("the encrypted volume %s", (name, algorithm) => {
  const context = createContext({ env: { JFS_RSA_PASSPHRASE: PASSPHRASE } });

  async function encrypted(format: BackupRequest["format"] & string) {
    const volume = await bucketVolume(`encrypted/${name}.json`);
    cpSync(fixture(`encrypted/objects/${name}`), join(volume.bucket, name), { recursive: true });
    await backup({ volume: volume.url, format }, context);
    const from = {
      volume: { storage: "file", bucket: volume.bucket, name },
      encryptKeyFile: KEY,
      encryptAlgorithm: algorithm,
    };
    return { ...volume, from };
  }

  test.each(["json", "binary"] as const)(
    "is restored with its key from a %s backup, blocks and all",
    async (format) => {
      const volume = await encrypted(format);
      for (const from of [volume.from, { volume: volume.url }]) {
        const target = newSqliteTarget().url;
        const report = await restore({ target, from }, context);
        expect(report.isComplete).toBe(true);
        expect(report.blocks).toMatchObject({ missingBlocks: 0, stopped: undefined });
        expect(report.blocks!.checkedBlocks).toBeGreaterThan(0);
        expect(report.mount).toBe(`JFS_RSA_PASSPHRASE=... juicefs mount -d ${target} /mnt/${name}`);
        expect(await lost(volume.url, target)).toEqual([]);
        const keyOf = async (url: string) => decryptAllSecrets(await settingOf(url)).encryptKey;
        expect(await keyOf(target)).toBe(await keyOf(volume.url));
      }
    },
  );

  test("is not restored without its key, or with another one", async () => {
    const volume = await encrypted("json");
    const target = newSqliteTarget().url;
    const attempt = (from: RestoreRequest["from"]) => restore({ target, from }, context);
    await expect(attempt({ volume: volume.from.volume })).rejects.toMatchObject({
      code: "DECANT_E_OWNER",
      hint: expect.stringContaining("--encrypt-rsa-key"),
    });
    const other = fixture("object-storage/rsa2048-pkcs8-plain.pem");
    await expect(attempt({ ...volume.from, encryptKeyFile: other })).rejects.toMatchObject({
      code: "DECANT_E_DECRYPT",
    });
  });
});

describe.skipIf(S3 === undefined)("a volume whose data is in S3", () => {
  /** Loaded from a dump, with its backup made. */
  async function inBucket() {
    const bucket = await S3!.createBucket();
    const { storage, bucket: address, accessKey, secretKey } = S3!.setting(bucket);
    const url = newSqliteTarget().url;
    await load({ target: url, source: { file: fixture("golden/native/natsqlite.keep.json") } }, CONTEXT);
    await withStore(url, (store) =>
      store.updateSetting((bytes) => {
        const setting = {
          ...decryptAllSecrets(parseSetting(bytes!)),
          storage,
          bucket: address,
          accessKey,
          secretKey,
        };
        const stored = Buffer.from(formatSetting(encryptSecrets(setting), { form: "stored" }));
        return { setting: stored, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined };
      }, CONTEXT.signal),
    );
    await backup({ volume: url }, CONTEXT);
    return { url, address: `minio://127.0.0.1:${S3!.port}/${bucket}/natsqlite` };
  }

  const keys = { ACCESS_KEY: S3_KEYS.accessKey, SECRET_KEY: S3_KEYS.secretKey };

  test("gets its keys from the environment, or from the old volume", async () => {
    const volume = await inBucket();
    for (const [from, env] of [
      [volume.address, keys],
      [volume.url, {}],
    ] as const) {
      const target = newSqliteTarget().url;
      const report = await restore({ target, from: { volume: from }, checkedSlices: 0 }, createContext({ env }));
      expect([report.isComplete, report.nextSteps]).toEqual([true, []]);
      const setting = await settingOf(target);
      expect([setting.keyEncrypted, setting.secretKey === S3_KEYS.secretKey]).toEqual([true, false]);
      expect(decryptAllSecrets(setting)).toMatchObject({ ...S3_KEYS, sessionToken: "" });
      expect(await lost(volume.url, target)).toEqual([]);
    }
  });

  test("lacks blocks that are not in the bucket, and says so", async () => {
    const volume = await inBucket();
    const report = await restore(
      { target: newSqliteTarget().url, from: { volume: volume.address }, checkedSlices: 5 },
      createContext({ env: keys }),
    );
    expect(report.isComplete).toBe(false);
    expect(report.blocks).toMatchObject({ sampledSlices: 5, stopped: undefined });
    expect(report.blocks!.missingBlocks).toBe(report.blocks!.checkedBlocks);
  });
});
