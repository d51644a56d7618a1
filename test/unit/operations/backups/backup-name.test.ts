import { expect, test } from "vitest";
import { backupName, parseBackupKey } from "../../../../src/operations/backups/backup-name.ts";

const TIME = new Date("2026-11-23T06:03:13.987Z");

test("a gzip JSON dump has the name and place of the reference's backups", () => {
  expect(backupName(TIME, "json", "gzip").key).toBe("meta/dump-2026-11-23-060313.json.gz");
});

test("what the reference does not write lies below decant/", () => {
  expect(backupName(TIME, "binary", "zstd").key).toBe("decant/backups/dump-2026-11-23-060313.bin.zst");
  expect(backupName(TIME, "binary", "none").key).toBe("decant/backups/dump-2026-11-23-060313.bin");
  expect(backupName(TIME, "json", "zstd").key).toBe("decant/backups/dump-2026-11-23-060313.json.zst");
});

test("a key is read back, its time to the second", () => {
  for (const format of ["json", "binary"] as const) {
    for (const compression of ["none", "gzip", "zstd"] as const) {
      const made = backupName(TIME, format, compression);
      expect(parseBackupKey(made.key)).toEqual(made);
      expect(made.time).toEqual(new Date("2026-11-23T06:03:13.000Z"));
    }
  }
});

test.each([
  "meta/zump-2026-10-20-010101.json.gz",
  "meta/dump-2026-10-20-010101.json",
  "meta/dump-2026-10-20-010101.json.gz.old",
  "meta/dump-2026-10-20-010101.json.gz/",
  "meta/sub/dump-2026-10-20-010101.json.gz",
  "meta/dump-2026-13-20-010101.json.gz",
  "meta/dump-2026-02-30-010101.json.gz",
  "meta/dump-2026-02-20-250101.json.gz",
  "meta/dump-2026-02-20-010160.json.gz",
  "meta/dump-0000-00-00-000000.json.gz",
  "meta/dump-2026-10-20-010101.bin.zst",
  "decant/backups/dump-2026-10-20-010101.json.gz",
  "decant/manifests/dump-2026-10-20-010101.json.gz",
  "chunks/0/0/1_0_10",
  "dump-2026-10-20-010101.json.gz",
  "meta/DUMP-2026-10-20-010101.json.gz",
  "meta/dump-2026-10-20-010101.json.gz\n",
  "meta/dump-２０２６-10-20-010101.json.gz",
])("%j is no backup", (key) => {
  expect(parseBackupKey(key)).toBeUndefined();
});
