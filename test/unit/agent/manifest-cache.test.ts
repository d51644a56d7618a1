import { expect, test } from "vitest";
import { ManifestCache } from "../../../src/agent/manifest-cache.ts";
import { Gate } from "../../../src/base/gate.ts";
import { readCatalogue } from "../../../src/operations/backups/catalogue.ts";
import { sidecarKey } from "../../../src/operations/backups/sidecars.ts";
import type { ObjectStorage } from "../../../src/storage/object-storage.ts";
import { changedStorage, TestBucket } from "../../support/backup-bucket.ts";

const signal = new AbortController().signal;

/** Notes what is read of manifests. */
function counted(storage: ObjectStorage): { storage: ObjectStorage; reads: string[] } {
  const reads: string[] = [];
  const note = (key: string) => {
    if (key.startsWith("decant/manifests/")) reads.push(key);
  };
  return {
    reads,
    storage: changedStorage(storage, {
      get: (key, wanted) => {
        note(key);
        return storage.get(key, wanted);
      },
      head: (key, wanted) => {
        note(key);
        return storage.head(key, wanted);
      },
    }),
  };
}

test("manifests are read once, and again only when they are others", async () => {
  const bucket = new TestBucket();
  const first = await bucket.putBackup("2026-11-23T10:00:00Z");
  await bucket.putBackup("2026-11-23T11:00:00Z");
  const { storage, reads } = counted(bucket.storage);
  const cache = new ManifestCache();
  const expected = await readCatalogue(bucket.storage, signal);
  expect(await readCatalogue(cache.over(storage), signal)).toEqual(expected);
  expect(new Set(reads).size).toBe(2);
  reads.length = 0;
  expect(await readCatalogue(cache.over(storage), signal)).toEqual(expected);
  expect(reads).toEqual([]);

  const third = await bucket.putBackup("2026-11-23T12:00:00Z", { inodes: 7n });
  bucket.setModified(sidecarKey("manifest", first.name), new Date("2026-11-24T00:00:00Z"));
  const { entries } = await readCatalogue(cache.over(storage), signal);
  expect(entries[0]!.manifest!.backup.usage.inodes).toBe(7n);
  expect(new Set(reads)).toEqual(new Set([sidecarKey("manifest", first.name), sidecarKey("manifest", third.name)]));
});

test("what is gone from the bucket is forgotten, and asked for anew when it comes back", async () => {
  const bucket = new TestBucket();
  const backup = await bucket.putBackup("2026-11-23T10:00:00Z");
  const key = sidecarKey("manifest", backup.name);
  const bytes = await bucket.storage.get(key, signal);
  const { storage, reads } = counted(bucket.storage);
  const cache = new ManifestCache();
  await readCatalogue(cache.over(storage), signal);
  await bucket.storage.delete(key, signal);
  expect((await readCatalogue(cache.over(storage), signal)).entries[0]!.quality).toBe("unknown");
  await bucket.storage.put(key, bytes, signal);
  reads.length = 0;
  expect((await readCatalogue(cache.over(storage), signal)).entries[0]!.quality).toBe("good");
  expect(reads).toContain(key);
});

test("who waits at a gate goes away when it is told to, and takes no place", async () => {
  const gate = new Gate(1);
  let end!: () => void;
  const first = gate.run(() => new Promise<void>((resolve) => (end = resolve)), signal);
  const abort = new AbortController();
  const second = gate.run(async () => "second", abort.signal);
  const third = gate.run(async () => "third", signal);
  abort.abort(new Error("told to"));
  await expect(second).rejects.toThrow("told to");
  end();
  await first;
  expect(await third).toBe("third");
  await expect(gate.run(() => Promise.reject(new Error("failed")), signal)).rejects.toThrow("failed");
  expect(await gate.run(async () => "after a failure", signal)).toBe("after a failure");
});
