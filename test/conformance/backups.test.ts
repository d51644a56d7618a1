import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { backup } from "../../src/operations/backups/backup.ts";
import {
  fetchVolumeBackup,
  listBackups,
  pruneVolumeBackups,
  verifyBackups,
} from "../../src/operations/backups/backups.ts";
import { parsePolicy } from "../../src/operations/backups/retention-policy.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { bucketVolume, lastBackup } from "../support/backup-volume.ts";
import { dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { requireS3Server, S3_KEYS } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CONTEXT = createContext({ env: {} });
const ENGINES = await requireEngines();

describe.each(ENGINES.map((engine) => [engine.name, engine] as const))("a backup of %s", (_, engine) => {
  test("is the dump of the volume, under the reference's name, and tells clients when it was begun", async () => {
    const volume = await bucketVolume(undefined, await engine.createDatabase());
    const { manifest, path } = await backup({ volume: volume.url }, CONTEXT);
    expect(manifest.backup.key).toMatch(/^meta\/dump-\d{4}-\d\d-\d\d-\d{6}\.json\.gz$/);
    expect(path).toBe(`file://${volume.bucket}natsqlite/${manifest.backup.key}`);
    const object = readFileSync(join(volume.bucket, volume.name, manifest.backup.key));
    // Flags, time, level and system of the header as the reference has them.
    expect(object.subarray(0, 10).toString("hex")).toBe("1f8b08000000000004ff");
    const dump = await dumpVolume(volume.url);
    expect(gunzipSync(object).equals(dump.bytes)).toBe(true);
    expect(await lastBackup(volume.url)).toBe(manifest.backup.startedAt.replace(".000Z", "Z"));
    expect(manifest.consistency.pointInTime).toBe(true);
    expect(manifest.counts).toMatchObject({ directory: 69, file: 222 });
    expect(manifest.backup.usage).toEqual({ inodes: 283n, usedSpace: 5_652_873_216n });
  });

  test("below decant/ is the binary dump", async () => {
    const volume = await bucketVolume(undefined, await engine.createDatabase());
    const { manifest } = await backup({ volume: volume.url, format: "binary" }, CONTEXT);
    expect(manifest.backup.key).toMatch(/^decant\/backups\/dump-\d{4}-\d\d-\d\d-\d{6}\.bin\.zst$/);
    const object = readFileSync(join(volume.bucket, volume.name, manifest.backup.key));
    const dump = await dumpVolume(volume.url, { format: "binary" }, "dump.bin");
    expect(zstdDecompressSync(object).equals(dump.bytes)).toBe(true);
    expect(volume.names("meta")).toEqual([]);
  });

  test("is verified, listed and kept, and a second one does not take its place", async () => {
    const volume = await bucketVolume(undefined, await engine.createDatabase());
    const request = { volume: volume.url };
    const first = await backup(request, CONTEXT);
    const second = await backup({ ...request, prune: parsePolicy("all=2d") }, CONTEXT);
    expect(second.manifest.file > first.manifest.file).toBe(true);
    expect(second.manifest.backup).toMatchObject({ suspicious: [], comparedWith: first.manifest.file });
    expect([second.pruned?.refusal, second.pruned?.deleted.size]).toEqual([undefined, 0]);
    const { results } = await verifyBackups(request, CONTEXT);
    expect(results.map(({ backup: { name: file }, ok }) => [file, ok])).toEqual([[second.manifest.file, true]]);
    const { catalogue } = await listBackups(request, CONTEXT);
    expect(catalogue.entries.map(({ quality }) => quality)).toEqual(["good", "good"]);
    const { refusal } = await pruneVolumeBackups({ ...request, policy: parsePolicy("all=2d") }, CONTEXT);
    expect(refusal).toBeUndefined();
  });
});

const s3 = await requireS3Server();

describe.skipIf(s3 === undefined)("a backup in a bucket of S3", () => {
  /** A volume of 50,000 files, whose setting lost its secret key in a dump. */
  async function largeVolume(): Promise<{ url: string; bucket: string }> {
    const { bucket, storage, accessKey } = s3!.setting(await s3!.createBucket());
    const members = `"Storage": "${storage}","Bucket": "${bucket}","AccessKey": "${accessKey}","SecretKey": "removed"`;
    const text = (await wideVolumeText(50_000)).toString("latin1");
    const file = join(temporaryDirectory(), "wide.json");
    writeFileSync(file, text.replace(/"Storage": "[^"]*"/, members).replace(/"Bucket": "\/[^"]*",?/, ""), "latin1");
    const { url } = newSqliteTarget();
    await load({ target: url, source: { file } }, CONTEXT);
    return { url, bucket };
  }

  test("is uploaded in parts, read back, verified, fetched without the database, and cleaned up", async () => {
    const { url, bucket } = await largeVolume();
    await expect(backup({ volume: url }, CONTEXT)).rejects.toThrow(
      "SecretKey of volume conformance was removed by a dump",
    );
    const context = createContext({ env: { SECRET_KEY: S3_KEYS.secretKey, ACCESS_KEY: S3_KEYS.accessKey } });
    const request = { volume: url };
    const { manifest } = await backup({ ...request, compression: "none" }, context);
    // Larger than one part.
    expect(manifest.backup.storedBytes).toBeGreaterThan(10 * 1024 * 1024);
    await backup(request, context);
    const { results } = await verifyBackups({ ...request, names: [manifest.file] }, context);
    expect(results.map(({ ok, check }) => [ok, check.sha256])).toEqual([[true, manifest.sha256]]);
    const file = join(temporaryDirectory(), "fetched.json");
    const place = { storage: "minio", bucket, name: "conformance" };
    await fetchVolumeBackup({ volume: place, name: manifest.file, target: { file } }, context);
    expect(createHash("sha256").update(readFileSync(file)).digest("hex")).toBe(manifest.sha256);
    const pruned = await pruneVolumeBackups({ ...request, policy: parsePolicy("year=forever") }, context);
    expect([pruned.refusal, pruned.deleted]).toEqual([undefined, new Set([manifest.file])]);
    const { catalogue } = await listBackups({ volume: place }, context);
    expect(catalogue.entries.map(({ backup: { compression }, quality }) => [compression, quality])).toEqual([
      ["gzip", "good"],
    ]);
  });
});
