import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { EngineError, StorageError } from "../../src/base/errors.ts";
import { backup } from "../../src/operations/backups/backup.ts";
import { restore } from "../../src/operations/backups/restore.ts";
import { createContext } from "../../src/operations/context.ts";
import { type BucketVolume, bucketVolume, withStore } from "../support/backup-volume.ts";
import { differences } from "../support/compare-volumes.ts";
import { runDecant } from "../support/decant.ts";
import { startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CONTEXT = createContext({ env: {} });

/** A volume with two backups, of which the files' names are returned, oldest first. */
async function twoBackups(): Promise<BucketVolume & { readonly files: readonly string[]; readonly from: string }> {
  const volume = await bucketVolume("golden/native/natsqlite.keep.json");
  for (let i = 0; i < 2; i++) await backup({ volume: volume.url }, CONTEXT);
  const files = volume.names("meta").map((name) => join(volume.bucket, volume.name, "meta", name));
  expect(files).toHaveLength(2);
  return { ...volume, files, from: `file://${volume.bucket}${volume.name}` };
}

function forget(volume: BucketVolume, kind: string): void {
  rmSync(join(volume.bucket, volume.name, "decant", kind), { recursive: true });
}

function change(file: string, edit: (text: string) => string): void {
  writeFileSync(file, gzipSync(edit(gunzipSync(readFileSync(file)).toString("latin1")), { level: 1 }));
}

async function isEmpty(url: string): Promise<boolean> {
  const found = await runDecant(["status", url]);
  return found.code === 4;
}

describe("a newest backup that", () => {
  test.each([
    ["is cut off", (file: string) => truncateSync(file, 1000)],
    ["is empty", (file: string) => truncateSync(file, 0)],
    ["has a wrong byte in the middle", (file: string) => flip(file, 0.5)],
    ["has a wrong byte at its end", (file: string) => flip(file, 0.999)],
    ["is something else", (file: string) => writeFileSync(file, gzipSync("no dump at all"))],
    ["has no end", (file: string) => change(file, (text) => text.slice(0, -10))],
    [
      "is of another volume",
      (file: string) => change(file, (text) => text.replace(/"UUID": "....../, '"UUID": "000000')),
    ],
  ])("%s makes way for the one before", async (_, damage) => {
    const volume = await twoBackups();
    forget(volume, "manifests");
    damage(volume.files[1]!);
    const target = newSqliteTarget().url;
    const report = await restore({ target, from: { volume: volume.from }, checkedSlices: 0 }, CONTEXT);
    expect(report.plan.passedOver.map(({ entry }) => volume.files[1]!.endsWith(entry.backup.name))).toEqual([true]);
    expect([volume.files[0]!.endsWith(report.plan.chosen.backup.name), report.isComplete]).toEqual([true, false]);
    const { lines } = await differences(volume.url, target, { ignore: new Set(["counters"]) });
    expect(lines.filter((line) => !/^[MD] setting |lastBackup/.test(line))).toEqual([]);
  });

  test("has another content than its manifest says is found out by its checksum", async () => {
    const volume = await twoBackups();
    const name = volume.names("meta")[1]!;
    const sidecar = join(volume.bucket, volume.name, "decant/manifests", `${name}.manifest.json`);
    const text = readFileSync(sidecar, "utf8");
    writeFileSync(sidecar, text.replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000'));
    const target = newSqliteTarget().url;
    const report = await restore({ target, from: { volume: volume.from }, checkedSlices: 0 }, CONTEXT);
    expect(report.plan.passedOver[0]!.reason).toMatch(/is not what its manifest says: \d+ bytes with SHA-256 /);
    const other = newSqliteTarget().url;
    const named = await runDecant(["restore", other, "--from", volume.from, "--at", name]);
    expect([named.code, named.err]).toEqual([6, expect.stringContaining("hint: Nothing was restored.")]);
    expect(await isEmpty(other)).toBe(true);
  });
});

function flip(file: string, part: number): void {
  const bytes = readFileSync(file);
  bytes[Math.floor((bytes.length - 1) * part)]! ^= 0x40;
  writeFileSync(file, bytes);
}

test("where all are damaged nothing is restored, and each is named", async () => {
  const volume = await twoBackups();
  for (const file of volume.files) truncateSync(file, 500);
  forget(volume, "manifests");
  const target = newSqliteTarget().url;
  const { code, err } = await runDecant(["restore", target, "--from", volume.from]);
  expect(code).toBe(6);
  for (const name of volume.names("meta")) expect(err).toContain(`\n  ${name}: `);
  expect(await isEmpty(target)).toBe(true);
});

test("a failure of the target or of the bucket is no reason to take an older one", async () => {
  const volume = await twoBackups();
  const target = "redis://127.0.0.1:1/0";
  await expect(restore({ target, from: { volume: volume.from } }, CONTEXT)).rejects.toThrow(EngineError);
  const from = { volume: { storage: "minio", bucket: "http://127.0.0.1:1/bk", name: "vol" } };
  await expect(restore({ target: newSqliteTarget().url, from }, CONTEXT)).rejects.toThrow(StorageError);
});

test("a target that holds something is refused before anything is read", async () => {
  const volume = await twoBackups();
  const { code, err } = await runDecant(["restore", volume.url, "--from", "file:///does/not/exist"]);
  expect([code, err]).toEqual([5, expect.stringContaining(`is used by volume ${volume.name}`)]);
});

test("blocks that are missing are named with their files, and end with 3", async () => {
  const volume = await twoBackups();
  const target = newSqliteTarget().url;
  const { code, err, out } = await runDecant(["restore", target, "--from", volume.from, "--check-blocks", "3"]);
  expect([code, out]).toEqual([3, ""]);
  expect(err).toMatch(/\n.*\d+ blocks? of 3 of \d+ slices looked for in the bucket: \d+ MISSING or of another size, /);
  expect(err).toMatch(/\n.* missing: chunks\/\S+ of \/.+, inode \d+\n/);
  const none = await runDecant(["restore", newSqliteTarget().url, "--from", volume.from, "--check-blocks", "0"]);
  expect([none.code, none.err]).toEqual([0, expect.not.stringContaining("looked for")]);
});

const hasRedis = await requireRedisServer("a restore that was killed");

describe.skipIf(!hasRedis)("a restore that was killed", () => {
  test("leaves no volume, and is repeated with --clean", async () => {
    const server = await startRedis();
    const client = server.client();
    try {
      const dump = join(temporaryDirectory(), "dump.json");
      writeFileSync(dump, await wideVolumeText(60_000));
      const volume = await bucketVolume(dump);
      await backup({ volume: volume.url }, CONTEXT);
      const args = ["restore", server.url(), "--from", `file://${volume.bucket}${volume.name}`, "--check-blocks", "0"];
      const running = startDecant(args);
      while ((await client.dbsize()) < 100) await sleep(2);
      running.kill("SIGKILL");
      await running.ended;
      expect(await client.exists("setting")).toBe(0);
      const again = await runDecant(args);
      expect([again.code, again.err]).toEqual([5, expect.stringContaining("--clean")]);
      expect((await runDecant([...args, "--clean"])).code).toBe(0);
      const stored = await withStore(server.url(), (store) => store.readSetting(CONTEXT.signal));
      expect(stored?.toString()).toContain(`"Name": "${volume.name}"`);
    } finally {
      client.disconnect();
      await server.stop();
    }
  });
});
