import { describe, expect, test } from "vitest";
import { ConflictError, UsageError } from "../../../src/base/errors.ts";
import { type ConfigFlags, formatMbps, planConfig } from "../../../src/operations/config-plan.ts";
import { EMPTY_SETTING, type Setting } from "../../../src/volume/setting.ts";

const STORED: Setting = {
  ...EMPTY_SETTING,
  name: "cvol",
  uuid: "6086bafe-8885-4ef6-9ee7-5de317d621c1",
  storage: "file",
  bucket: "/data/cb/",
  blockSize: 4096n,
  trashDays: 1n,
  metaVersion: 1n,
  minClientVersion: "1.1.0-A",
  dirStats: true,
  encryptAlgo: "aes256gcm-rsa",
};

/** Flags and the lines that the reference printed for them on such a volume. */
const SAMPLES: [ConfigFlags, string[]][] = [
  [{ capacity: 10n << 30n }, ["  capacity: 0 B -> 10 GiB"]],
  [{ inodes: 1000n }, ["    inodes: 0 -> 1,000"]],
  [{ trashDays: 7n }, ["trash-days: 1 -> 7"]],
  [{ bucket: "/data/cb2" }, ["    bucket: /data/cb/ -> /data/cb2/"]],
  [{ bucket: "/data/cb" }, []],
  [{ storage: "mem" }, ["   storage: file -> mem"]],
  [
    { uploadLimit: 100n, downloadLimit: 1000n },
    ["download-limit: 0.0 Mbps -> 1.0 Gbps", "upload-limit: 0.0 Mbps -> 100.0 Mbps"],
  ],
  [
    { dirStats: false, userGroupQuota: true, enableAcl: true },
    [
      " dir-stats: true -> false",
      "enable-acl: false -> true",
      "user-group-quota: false -> true",
      "min-client-version: 1.1.0-A -> 1.2.0-A",
    ],
  ],
  [{ changeLog: true }, [" changelog: false -> true", "changelog-max-age: 0s -> 2h0m0s (default)"]],
  [{ changeLog: true, changeLogMaxAge: 0n }, [" changelog: false -> true"]],
  [
    { changeLogMaxAge: 5405n, changeLogMaxLines: 5n },
    ["changelog-max-age: 0s -> 1h30m5s", "changelog-max-lines: 0 -> 5"],
  ],
  [
    { rangerRestUrl: "http://a", rangerService: "s" },
    ["ranger-rest-url:  -> http://a", "ranger-service:  -> s", "min-client-version: 1.1.0-A -> 1.3.0-A"],
  ],
  [{ kerbConf: "x" }, ["kerberos-config-file: updated", "min-client-version: 1.1.0-A -> 1.4.0-A"]],
  [
    { accessKey: "a", secretKey: "b", sessionToken: "c" },
    ["access-key:  -> a", "secret-key: updated", "session-token: updated"],
  ],
  [
    { minClientVersion: "1.3.0", maxClientVersion: "1.5" },
    ["max-client-version:  -> 1.5", "min-client-version: 1.1.0-A -> 1.3.0"],
  ],
  [{ storageClass: "X", tag: "k=v" }, ["storage-class:  -> X", "       tag:  -> k=v"]],
  [{ tier: 1n, storageClass: "GL" }, ["set tier 1 storage-class: GL", "min-client-version: 1.1.0-A -> 1.4.0-A"]],
  [{ trashDays: 1n, dirStats: true, capacity: 0n, minClientVersion: "1.1.0-A" }, []],
];

describe("changes are told in the reference's lines", () => {
  test.each(SAMPLES)("%o", (flags, lines) => {
    expect(planConfig(STORED, flags).lines).toEqual(lines);
  });
});

describe("what is refused", () => {
  test.each([
    [{ trashDays: -1n }, UsageError, "Invalid trash days: -1"],
    [{ changeLogMaxAge: -1n }, UsageError, "negative duration for changelog-max-age: -1s"],
    [{ changeLogMaxLines: -1n }, UsageError, "negative value for changelog-max-lines: -1"],
    [{ inodes: -1n }, UsageError, 'Invalid value "-1" for "inodes": out of range'],
    [{ minClientVersion: "abc" }, UsageError, "Invalid version string: abc"],
    [{ maxClientVersion: "1.x" }, UsageError, "Invalid version string: 1.x"],
    [{ minClientVersion: "1.0" }, ConflictError, "cannot lower min-client-version from 1.1.0-A to 1.0"],
    [{ tier: 4n, tag: "a=b" }, UsageError, "tier should be between 0 and 3"],
    [{ tier: 1n }, UsageError, "missing required flag: --storage-class or --tag"],
    [{ tag: "ab" }, UsageError, "Invalid tag format: ab"],
    [{ tag: "a=b=c" }, UsageError, "Invalid tag format: a=b=c"],
  ] as const)("%o", (flags, ErrorClass, message) => {
    expect(() => planConfig(STORED, flags)).toThrow(ErrorClass);
    expect(() => planConfig(STORED, flags)).toThrow(message);
  });

  test("switching ACL off", () => {
    expect(() => planConfig({ ...STORED, enableAcl: true }, { enableAcl: false })).toThrow("cannot disable acl");
    expect(planConfig(STORED, { enableAcl: false }).lines).toEqual([]);
  });
});

describe("tiers", () => {
  test("without --tier the default one changes without a question, and StorageClass stays", () => {
    const plan = planConfig(STORED, { storageClass: "X" });
    expect(plan.tierWarning).toEqual([]);
    expect(plan.setting.tiers?.get("0")).toEqual({ id: 0n, storageClass: "X", tag: "" });
    expect(plan.setting.storageClass).toBe("");
    expect(plan.storageChanged).toBe(true);
  });

  test("an existing tier that is named is overwritten only with consent", () => {
    expect(planConfig(STORED, { tier: 0n, storageClass: "Z", tag: "a=b" }).tierWarning).toEqual([
      "existing tier will be overwritten: ",
      "tier: 0",
      "storage class:  => Z",
      "tag:  => a=b",
    ]);
    expect(planConfig(STORED, { tier: 2n, tag: "a=b" }).tierWarning).toEqual([]);
  });
});

test("members that are not known and secrets that are not given stay as they are", () => {
  const stored: Setting = { ...STORED, secretKey: "x", keyEncrypted: true, unknown: new Map([["Future", true]]) };
  const { setting } = planConfig(stored, { trashDays: 3n });
  expect(setting).toEqual({ ...stored, trashDays: 3n });
});

test("limits are shown in steps of 1000", () => {
  expect([0n, 999n, 1500n, 2_500_000n, 10n ** 12n].map(formatMbps)).toEqual([
    "0.0 Mbps",
    "999.0 Mbps",
    "1.5 Gbps",
    "2.5 Tbps",
    "1000.0 Pbps",
  ]);
});
