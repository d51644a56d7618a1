import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { DataError, StorageError } from "../../src/base/errors.ts";
import { backup } from "../../src/operations/backups/backup.ts";
import { readCatalogue } from "../../src/operations/backups/catalogue.ts";
import { freeBackupName, makeBackup } from "../../src/operations/backups/make-backup.ts";
import { readRunStatus } from "../../src/operations/backups/run-status.ts";
import { createContext } from "../../src/operations/context.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import { changedStorage } from "../support/backup-bucket.ts";
import { type BucketVolume, bucketVolume, lastBackup, withStore } from "../support/backup-volume.ts";
import { runDecant } from "../support/decant.ts";
import { FaultPlan, faulty, InjectedFault } from "../support/faults.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { dumpText } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const CONTEXT = createContext({ env: {} });
const { signal } = CONTEXT;

/** Makes a backup of a volume into a storage that is not what it should be. */
async function makeInto(volume: BucketVolume, storage: ObjectStorage, context = CONTEXT) {
  return withStore(volume.url, async (store) => {
    const name = await freeBackupName(volume.storage, new Date(), "json", "gzip", signal);
    return makeBackup({ store, storage, backup: name }, context);
  });
}

async function qualities({ storage }: BucketVolume): Promise<string[]> {
  return (await readCatalogue(storage, signal)).entries.map(({ quality }) => quality);
}

/** Object storage that says it has stored everything and has not. */
function altering(storage: ObjectStorage, alter: (whole: Buffer) => Buffer): ObjectStorage {
  return changedStorage(storage, {
    async putStream(key, pieces) {
      const parts: Buffer[] = [];
      for await (const piece of pieces) parts.push(Buffer.from(piece));
      const whole = Buffer.concat(parts);
      await storage.put(key, alter(whole), signal);
      return { bytes: whole.length };
    },
  });
}

function flipped(whole: Buffer, at: number): Buffer {
  const changed = Buffer.from(whole);
  changed[at]! ^= 1;
  return changed;
}

describe("an object storage that does not keep what it is given", () => {
  test.each([
    ["cuts off the end", (whole: Buffer) => whole.subarray(0, -1), / it has \d+ bytes instead of \d+; it was deleted$/],
    ["keeps nothing", () => Buffer.alloc(0), / it has 0 bytes instead of \d+; it was deleted$/],
    ["changes a byte", (whole: Buffer) => flipped(whole, whole.length >> 1), / its checksum differs; it was deleted$/],
    ["gives back zeroes", (whole: Buffer) => Buffer.alloc(whole.length), / its checksum differs; it was deleted$/],
  ])("and %s is found out, and nothing of it stays", async (_, alter, message) => {
    const volume = await bucketVolume();
    const error = await makeInto(volume, altering(volume.storage, alter)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DataError);
    expect(error).toMatchObject({ code: "DECANT_E_BACKUP_READ_BACK", message: expect.stringMatching(message) });
    expect([volume.names("meta"), volume.names("decant/manifests")]).toEqual([[], []]);
  });

  test("and changes a byte that no checksum covers is found out too", async () => {
    const volume = await bucketVolume();
    const storage = altering(volume.storage, (whole) => {
      const name = Buffer.from("natsqlite");
      return flipped(whole, whole.indexOf(name));
    });
    const error = await withStore(volume.url, async (store) => {
      const name = await freeBackupName(volume.storage, new Date(), "json", "none", signal);
      return makeBackup({ store, storage, backup: name }, CONTEXT).catch((thrown: unknown) => thrown);
    });
    expect(error).toMatchObject({ message: expect.stringMatching(/ its checksum differs; it was deleted$/) });
    expect(volume.names("decant/backups")).toEqual([]);
  });

  test("keeps the backup that another client made in the same second, which is whole", async () => {
    const volume = await bucketVolume();
    const theirs = gzipSync((await dumpText(volume.url)).text);
    const error = await makeInto(
      volume,
      altering(volume.storage, () => theirs),
    ).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "DECANT_E_BACKUP_READ_BACK",
      message: expect.stringMatching(/; it is a backup of somebody else, and was kept$/),
    });
    expect(await qualities(volume)).toEqual(["unknown"]);
  });

  test("loses the object at once is found out", async () => {
    const volume = await bucketVolume();
    const losing = changedStorage(volume.storage, {
      async putStream(key, pieces, options) {
        const result = await volume.storage.putStream(key, pieces, options);
        await volume.storage.delete(key, signal);
        return result;
      },
    });
    await expect(makeInto(volume, losing)).rejects.toThrow(/ it is not there; it was deleted$/);
  });

  test("and fails while it is read back leaves a backup that is not verified", async () => {
    const volume = await bucketVolume();
    const failing = changedStorage(volume.storage, {
      async *getStream(key, options) {
        if (key.startsWith("meta/")) throw new StorageError("DECANT_E_STORAGE_REQUEST", "connection reset");
        yield* volume.storage.getStream(key, options);
      },
    });
    await expect(makeInto(volume, failing)).rejects.toThrow("connection reset");
    expect(await qualities(volume)).toEqual(["unknown"]);
  });
});

test("a failure of any one call leaves nothing that counts as a backup, unless it is one", async () => {
  const volume = await bucketVolume("malformed/base.json");
  const run = async (plan: FaultPlan) =>
    withStore(volume.url, async (store) => {
      const name = await freeBackupName(volume.storage, new Date(), "json", "gzip", signal);
      const request = { store: faulty(store, plan), storage: faulty(volume.storage, plan), backup: name };
      return { name, result: await makeBackup(request, CONTEXT).catch((error: unknown) => error) };
    });
  const whole = new FaultPlan(Number.POSITIVE_INFINITY);
  await run(whole);
  expect(whole.calls.length).toBeGreaterThan(10);
  for (let failAt = 0; failAt < whole.calls.length; failAt++) {
    const plan = new FaultPlan(failAt);
    const { name, result } = await run(plan);
    expect([failAt, plan.hasFailed, result]).toEqual([failAt, true, expect.any(InjectedFault)]);
    const { entries } = await readCatalogue(volume.storage, signal);
    const entry = entries.find(({ backup: found }) => found.name === name.name);
    // The answer to the last request of all was lost: then it is complete.
    const isComplete = plan.calls.at(-1) === "put";
    expect([failAt, plan.calls.at(-1), entry?.quality]).toEqual([
      failAt,
      plan.calls.at(-1),
      isComplete ? "good" : entry === undefined ? undefined : "unknown",
    ]);
  }
});

describe("a backup that fails", () => {
  test("puts back the time that clients share, and the bucket says what happened", async () => {
    const volume = await bucketVolume();
    const before = await lastBackup(volume.url);
    // A file where the folder of backups would be.
    await volume.storage.put("meta", Buffer.from("x"), signal);
    await expect(backup({ volume: volume.url }, CONTEXT)).rejects.toThrow(/^Cannot write .*: file already exists$/);
    expect(await lastBackup(volume.url)).toBe(before);
    const [run] = await readRunStatus(volume.storage, signal);
    expect(run).toMatchObject({
      outcome: "failed",
      cause: "DECANT_E_FILE",
      reason: expect.stringMatching(/^Cannot write /),
    });
  });

  test("for an interruption leaves nothing in the bucket but word of it", async () => {
    const volume = await bucketVolume();
    const controller = new AbortController();
    const progress = createContext().progress;
    const begin = progress.begin.bind(progress);
    progress.begin = (name, totals) => {
      if (name === "Writing entries") controller.abort();
      return begin(name, totals);
    };
    const context = createContext({ env: {}, progress, signal: controller.signal });
    await expect(backup({ volume: volume.url }, context)).rejects.toMatchObject({ name: "AbortError" });
    expect([volume.names("meta"), volume.names("decant/manifests")]).toEqual([[], []]);
    expect((await readRunStatus(volume.storage, signal))[0]).toMatchObject({
      outcome: "failed",
      cause: "DECANT_E_INTERRUPTED",
    });
  });
});

test("a backup that was killed leaves nothing that counts, and others wait for its turn to end", async () => {
  const file = join(temporaryDirectory(), "wide.json");
  writeFileSync(file, await wideVolumeText(50_000));
  const volume = await bucketVolume(file);
  const { url } = volume;
  const running = startDecant(["backup", url]);
  const isUploading = () => volume.names("meta").some((name) => name.startsWith(".jfs."));
  while (!isUploading()) await sleep(2);
  running.kill("SIGKILL");
  expect((await running.ended).signalName).toBe("SIGKILL");
  expect((await readCatalogue(volume.storage, signal)).entries).toEqual([]);
  const list = await runDecant(["backups", "list", url]);
  expect([list.code, list.out]).toEqual([0, "No backups.\n"]);
  const next = await runDecant(["backup", url, "--no-wait"]);
  expect([next.code, next.err]).toEqual([
    5,
    expect.stringMatching(/:\d+ makes or cleans up backups of this volume now\n/),
  ]);
  // One who knows that nobody is at work does not have to ask.
  await backup({ volume: url }, CONTEXT);
  expect(await qualities(volume)).toEqual(["good"]);
});
