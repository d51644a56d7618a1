import { describe, expect, test } from "vitest";
import { planText, restoreSummary } from "../../../src/cli/restore-text.ts";
import { backupName } from "../../../src/operations/backups/backup-name.ts";
import type { RestorePlan } from "../../../src/operations/backups/restore.ts";
import { EMPTY_SETTING } from "../../../src/volume/setting.ts";
import { runInMemory } from "./memory-io.ts";

const BACKUP = backupName(new Date("2026-11-23T06:03:13Z"), "json", "gzip");

const PLAN: RestorePlan = {
  storage: "minio://host:9000/bk/vol/",
  target: "redis://host/2",
  volume: { name: "vol", uuid: "e369eebd-5538-4cc1-bfd4-6c1534d5c460" },
  asOf: new Date("2026-11-23T09:08:00Z"),
  chosen: {
    backup: BACKUP,
    size: 2600,
    modified: BACKUP.time,
    quality: "unknown",
    why: "never verified",
    pinned: false,
    pin: undefined,
    manifest: undefined,
    sidecars: new Set(),
    check: undefined,
    suspicious: [],
    confirmation: undefined,
  },
  setting: { ...EMPTY_SETTING, name: "vol", storage: "minio", bucket: "http://host:9000/bk" },
  missingSecrets: ["secretKey", "sessionToken"],
  passedOver: [],
  others: [],
  old: undefined,
};

describe("the plan of a restore", () => {
  test("says what is restored, what is lost and what is missing", () => {
    const chosen = { ...PLAN.chosen, backup: backupName(new Date("2026-11-23T07:00:00Z"), "json", "gzip") };
    const older = (day: number) => ({
      ...PLAN.chosen,
      backup: backupName(new Date(Date.UTC(2026, 10, day)), "json", "gzip"),
    });
    const plan = {
      ...PLAN,
      passedOver: [{ entry: chosen, reason: "damaged: it ends\u001b[2J too early" }],
      others: [20, 19, 18, 17, 16, 15, 14].map(older),
      old: {
        address: "redis://host/1",
        usage: { totalInodes: 1234n, usedSpace: 1n << 40n },
        lastBackup: "2026-11-23T07:00:00Z",
        sessions: 2,
      },
    };
    expect(planText(plan)).toBe(`\
Backup dump-2026-11-23-060313.json.gz, begun 2026-11-23T06:03:13Z, 3 h ago
  volume     vol (e369eebd-5538-4cc1-bfd4-6c1534d5c460), data in minio http://host:9000/bk
  object     minio://host:9000/bk/vol/meta/dump-2026-11-23-060313.json.gz, 2.5 KiB, by juicefs
  state      unverified: never verified; it is checked while it is loaded
  old        redis://host/1, 1,234 inodes, 1.0 TiB now, 2 clients connected
             its last backup was begun 2026-11-23T07:00:00Z
  lost       everything that was changed since 2026-11-23T06:03:13Z: 3 h
  not taken  dump-2026-11-23-070000.json.gz: damaged: it ends?[2J too early
  missing    secret key and session token of the object storage
  if damaged dump-2026-11-20-000000.json.gz, dump-2026-11-19-000000.json.gz, dump-2026-11-18-000000.json.gz, dump-2026-11-17-000000.json.gz, dump-2026-11-16-000000.json.gz and 2 more
`);
  });
});

test("the closing lines warn of the old database with --quiet too", () => {
  const report = {
    operation: "restore" as const,
    dryRun: false,
    plan: PLAN,
    loaded: undefined,
    blocks: undefined,
    mount: "juicefs mount -d redis://host/2 /mnt/vol",
    nextSteps: [],
    isComplete: true,
  };
  const important = (old: RestorePlan["old"]) =>
    restoreSummary({ ...report, plan: { ...PLAN, old } })
      .filter((line) => line.important)
      .map(({ text }) => text);
  expect(important(undefined)[0]).toMatch(/^ {2}before: make sure that no client uses the old database any more/);
  const old = { address: "redis://host/1", usage: undefined, lastBackup: undefined, sessions: 1 };
  expect(important(old)[0]).toMatch(
    /^ {2}WARNING: the old database redis:\/\/host\/1 is still there: .* where 1 is connected/,
  );
  expect(important(old).at(-1)).toBe("  mount: juicefs mount -d redis://host/2 /mnt/vol");
});

test.each([
  [[], "--from is missing"],
  [["--from", "redis://host/1", "--bucket", "/b", "--volume", "v"], "--from and --bucket are given"],
  [["--bucket", "/b"], "--volume is missing"],
  [["--from", "redis://host/1", "--check-blocks", "-1"], "not 0 to 100000"],
  [["--from", "redis://host/1", "--at", "someday"], "neither a time nor a backup"],
])("restore with %j is refused", async (args, message) => {
  const { code, stderr, stdout } = await runInMemory(["restore", "sqlite3:///nowhere.db", ...args]);
  expect([code, stdout, stderr]).toEqual([2, "", expect.stringContaining(message)]);
});
