import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { backup } from "../../src/operations/backups/backup.ts";
import { fetchVolumeBackup, listBackups, verifyBackups } from "../../src/operations/backups/backups.ts";
import { createContext } from "../../src/operations/context.ts";
import { TestBucket } from "../support/backup-bucket.ts";
import { bucketVolume, lastBackup } from "../support/backup-volume.ts";
import { differences } from "../support/compare-volumes.ts";
import { runDecant } from "../support/decant.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";

const client = await realClient();
const mounting = client === undefined ? undefined : await mountingClient();
const engines = client === undefined ? [] : await requireEngines();

const PASSPHRASE = readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim();
const KEY = fixture("encrypted/key-pkcs8-encrypted.pem");

/** What differs between a volume and what the client has loaded, but for what every load computes anew. */
async function lost(from: string, to: string): Promise<string[]> {
  return (await differences(from, to, { ignore: new Set(["counters", "deleted-files"]) })).lines;
}

describe.skipIf(client === undefined)("juicefs load", () => {
  test.each(engines.map((engine) => [engine.name, engine] as const))(
    "takes a backup of %s as one of its own",
    async (_, engine) => {
      const volume = await bucketVolume("golden/dumps/golden.json", await engine.createDatabase());
      const { manifest } = await backup({ volume: volume.url }, createContext({ env: {} }));
      const copy = newSqliteTarget().url;
      await mustRun(client!, ["load", copy, join(volume.bucket, volume.name, manifest.backup.key)]);
      // Its load cannot hold times after 2262, from whatever dump.
      expect(await lost(volume.url, copy)).toEqual(["M /times/y2300 (atime, mtime)"]);
    },
  );

  test.each(["encaes", "encchacha"])(
    "takes a backup of the encrypted volume %s, and its own are verified and fetched",
    async (name) => {
      const env = { JFS_RSA_PASSPHRASE: PASSPHRASE };
      const context = createContext({ env });
      const volume = await bucketVolume(`encrypted/${name}.json`);
      cpSync(fixture(`encrypted/objects/${name}`), join(volume.bucket, name), { recursive: true });
      const request = { volume: volume.url };
      const { manifest } = await backup(request, context);
      const object = join(volume.bucket, name, manifest.backup.key);
      expect(manifest.backup.storedBytes).toBe(manifest.writtenBytes + 287);
      expect(readFileSync(object).subarray(0, 3).toString("hex")).toBe("01000c");
      const algorithm = name === "encaes" ? "aes256gcm-rsa" : "chacha20-rsa";
      const copy = newSqliteTarget().url;
      await mustRun(client!, ["load", copy, object, "--encrypt-rsa-key", KEY, "--encrypt-algo", algorithm], { env });
      expect(await lost(volume.url, copy)).toEqual([]);

      const { results } = await verifyBackups({ ...request, unverified: true }, context);
      expect(results.map(({ ok, dump }) => [ok, dump.container])).toEqual([
        [true, "gzip"],
        [true, "gzip"],
      ]);
      const file = join(temporaryDirectory(), "fetched.json.gz");
      // The database may be gone: the bucket and the key are enough.
      await fetchVolumeBackup(
        {
          volume: { storage: "file", bucket: volume.bucket, name },
          encryptKeyFile: KEY,
          encryptAlgorithm: algorithm,
          name: "latest",
          target: { file },
        },
        context,
      );
      expect(readFileSync(file).length).toBe(manifest.writtenBytes);
      await mustRun(client!, ["load", newSqliteTarget().url, file]);
    },
  );
});

describe.skipIf(mounting === undefined)("a mount that makes backups itself", () => {
  test("does not make one after that of decant, nor does its clean-up take what is decant's", async () => {
    const { url } = newSqliteTarget();
    const bucket = new TestBucket();
    await mustRun(mounting!, ["format", "--storage", "file", "--bucket", `${bucket.directory}/`, url, "vol"]);
    const objects = () => bucket.keys("meta/");
    const until = async (isReached: () => Promise<boolean>): Promise<void> => {
      for (let i = 0; !(await isReached()); i++) {
        if (i > 1200) throw new Error(`Waited a minute; there are ${(await objects()).join(", ")}`);
        await sleep(50);
      }
    };
    const options = ["--no-usage-report", "--backup-meta", "20s", "--metrics", "127.0.0.1:0"];
    await whileMounted(
      mounting!,
      url,
      async () => {
        await until(async () => (await objects()).length === 1);
        const theirs = (await objects())[0]!;
        // Of two of one day, which is days ago, its clean-up keeps the older one.
        const day = Date.now() - 5 * 86_400_000;
        const older = await bucket.putBackup(new Date(day - 3_600_000), { inodes: 0n });
        const newer = await bucket.putBackup(new Date(day), { inodes: 0n });
        await bucket.put("decant/backups/dump-2020-01-01-000000.bin.zst");
        const run = await runDecant(["backup", url]);
        expect([run.code, run.out]).toEqual([0, ""]);
        const ours = (await objects()).filter((key) => ![theirs, older.key, newer.key].includes(key));
        expect(ours).toHaveLength(1);
        const stamp = await lastBackup(url);
        expect(Date.parse(stamp!)).toBe(Date.parse(nameToTime(ours[0]!)));

        await until(async () => !(await objects()).includes(newer.key));
        const left = await objects();
        const next = left.filter((key) => ![theirs, older.key, ours[0]].includes(key));
        expect([left.length, next.length]).toEqual([4, 1]);
        expect(Date.parse(nameToTime(next[0]!)) - Date.parse(stamp!)).toBeGreaterThanOrEqual(20_000);
        expect(await bucket.keys("decant/backups/")).toEqual(["decant/backups/dump-2020-01-01-000000.bin.zst"]);
        expect(await bucket.keys("decant/manifests/")).toHaveLength(3);
      },
      { options, env: { SKIP_BACKUP_META_CHECK: "true" } },
    );
    const { catalogue } = await listBackups({ volume: url }, createContext({ env: {} }));
    expect(catalogue.entries.map(({ quality, manifest }) => [quality, manifest === undefined])).toEqual([
      ["unknown", true],
      ["good", false],
      ["unknown", true],
      ["good", false],
      ["unknown", true],
    ]);
    const verified = await runDecant(["backups", "verify", url, "--unverified", "--quiet"]);
    // What stands there for a binary backup is none.
    expect(verified.code).toBe(6);
    const later = await listBackups({ volume: url }, createContext({ env: {} }));
    expect(later.catalogue.entries.map(({ quality }) => quality)).toEqual(["good", "good", "good", "good", "bad"]);
  });
});

/** `meta/dump-2026-11-23-060313.json.gz` as RFC 3339. */
function nameToTime(key: string): string {
  const [, date, hour, minute, second] = /dump-(\d{4}-\d\d-\d\d)-(\d\d)(\d\d)(\d\d)/.exec(key)!;
  return `${date}T${hour}:${minute}:${second}Z`;
}
