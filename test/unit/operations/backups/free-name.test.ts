import { expect, test } from "vitest";
import { freeBackupName } from "../../../../src/operations/backups/make-backup.ts";
import { TestBucket } from "../../../support/backup-bucket.ts";

const SIGNAL = new AbortController().signal;
const TIME = new Date("2026-11-20T01:02:03.900Z");

test.each([
  "meta/dump-2026-11-20-010203.json.gz",
  "decant/backups/dump-2026-11-20-010203.bin.zst",
  "decant/manifests/dump-2026-11-20-010203.json.gz.manifest.json",
  "decant/checks/dump-2026-11-20-010203.bin.zst.json",
  "decant/pins/dump-2026-11-20-010203.json.gz.json",
  "decant/confirmed/dump-2026-11-20-010203.json.gz.json",
])("a second that %s has is not given again, in whatever format", async (key) => {
  const bucket = new TestBucket();
  const name = async () => (await freeBackupName(bucket.storage, TIME, "json", "gzip", SIGNAL)).key;
  expect(await name()).toBe("meta/dump-2026-11-20-010203.json.gz");
  await bucket.put(key);
  expect(await name()).toBe("meta/dump-2026-11-20-010204.json.gz");
  await bucket.put("decant/backups/dump-2026-11-20-010204.json");
  expect(await name()).toBe("meta/dump-2026-11-20-010205.json.gz");
});
