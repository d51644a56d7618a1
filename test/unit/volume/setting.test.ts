import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { effectiveTiers, formatSetting, parseSetting } from "../../../src/volume/setting.ts";
import { removeSecrets } from "../../../src/volume/setting-secrets.ts";
import { dumpedSetting, fixtureText, storedSetting } from "./setting-fixtures.ts";

/** Database of the volume, dumps of it that keep secrets, dumps that do not. */
const DUMPS: [source: string, kept: string[], removed: string[]][] = [
  [
    "golden/engines/golden.redis.jsonl",
    ["golden/dumps/golden.keep.json", "golden/dumps/golden.fast.json", "golden/dumps/golden.threads1.json"],
    [
      "golden/dumps/golden.json",
      "golden/dumps/golden.stdout.json",
      "golden/dumps/golden.skip-trash.json",
      "golden/dumps/golden.fast-skip-trash.json",
      "golden/dumps/golden.subdir-docs.json",
      "golden/dumps/golden.subdir-fast.json",
      "golden/dumps/golden.subdir-links-two.json",
    ],
  ],
  ["golden/native/awkward.redis.jsonl", ["golden/native/awkward.keep.json"], []],
  ["golden/native/natsqlite.sqlite.db", ["golden/native/natsqlite.keep.json"], []],
  ["golden/native/natetcd.etcd.jsonl", ["golden/native/natetcd.keep.json"], []],
  ["golden/changelog/chlogsqlite.sqlite.db", ["golden/changelog/chlogsqlite.json"], []],
  ["golden/changelog/chlogredis.redis.jsonl", ["golden/changelog/chlogredis.json"], []],
  ["golden/changelog/chlogetcd.etcd.jsonl", ["golden/changelog/chlogetcd.json"], []],
  ["legacy/ancient.redis.jsonl", ["legacy/ancient.by-1.4.2.json"], []],
  ["encrypted/encaes.sqlite.db", ["encrypted/encaes.json"], ["encrypted/encaes.removed.json"]],
  ["encrypted/encchacha.sqlite.db", ["encrypted/encchacha.json"], ["encrypted/encchacha.removed.json"]],
  ["encrypted/plain.sqlite.db", ["encrypted/plain.json"], ["encrypted/plain.removed.json"]],
];

describe("a setting read from a database and written as a dump's head", () => {
  for (const [source, kept, removed] of DUMPS) {
    const setting = parseSetting(storedSetting(source));
    test.each(kept)(`${source} gives the bytes of %s`, (dump) => {
      expect(formatSetting(setting, { form: "pretty", level: 1 })).toBe(dumpedSetting(dump));
    });
    test.each(removed)(`${source} without secrets gives the bytes of %s`, (dump) => {
      expect(formatSetting(removeSecrets(setting, "dump"), { form: "pretty", level: 1 })).toBe(dumpedSetting(dump));
    });
  }
});

describe("a setting read and stored again", () => {
  const stored = [...DUMPS.map(([source]) => source), "golden/engines/golden-json.sqlite.db"];
  test.each(stored.filter((source) => !source.includes("ancient")))("%s keeps its bytes", (source) => {
    const bytes = storedSetting(source);
    expect(formatSetting(parseSetting(bytes), { form: "stored" })).toBe(bytes);
  });

  test.each([
    ["golden/dumps/golden.keep.json", "golden/engines/golden-json.redis.jsonl"],
    ["golden/dumps/golden.keep.json", "golden/engines/golden-json.etcd.jsonl"],
    ["golden/dumps/golden.keep.json", "golden/engines/golden-json.sqlite.db"],
  ])("the setting of %s is stored as the reference's load stores it in %s", (dump, database) => {
    expect(formatSetting(parseSetting(dumpedSetting(dump)), { form: "stored" })).toBe(storedSetting(database));
  });
});

test("a dump without tiers is stored with null tiers, otherwise as version 1.3 stored it", () => {
  const stored = formatSetting(parseSetting(dumpedSetting("legacy/legacy-1-3-0.keep.json")), { form: "stored" });
  expect(stored.replace('"Tiers": null,\n', "")).toBe(storedSetting("legacy/legacy-1-3-0.redis-loaded.jsonl"));
  expect(stored).toContain('"Storage": "file",\n"Tiers": null,\n"Bucket"');
});

test("the status of a volume shows the setting without secrets", () => {
  const setting = removeSecrets(parseSetting(storedSetting("golden/engines/golden.redis.jsonl")), "display");
  expect(fixtureText("golden/status.json")).toContain(
    `"Setting": ${formatSetting(setting, { form: "pretty", level: 1 })},\n`,
  );
});

test("member names match in any case and the last one wins", () => {
  const setting = parseSetting('{"Name":"avol","uuid":"u","TRASHDAYS":3,"name":"lower","enableacl":true,"tiers":null}');
  expect(setting).toMatchObject({ name: "lower", uuid: "u", trashDays: 3n, enableAcl: true, tiers: undefined });
});

test("members that are not known are kept when stored and left out when shown", () => {
  const setting = parseSetting('{"Name":"v","Future":{"b":[1.50,18446744073709551616],"a":null},"X":"<"}');
  const stored = formatSetting(setting, { form: "stored" });
  expect(stored).toContain('"Future": {\n"b": [\n1.50,\n18446744073709551616\n],\n"a": null\n},\n"X": "\\u003c"\n}');
  expect(formatSetting(parseSetting(stored), { form: "stored" })).toBe(stored);
  expect(formatSetting(setting, { form: "pretty" })).not.toContain("Future");
  expect(formatSetting(setting, { form: "stored", unknown: "drop" })).not.toContain("Future");
});

test("64-bit numbers keep all digits", () => {
  const json = '{"Capacity":18446744073709551615,"Inodes":9007199254740993,"TrashDays":-9223372036854775808}';
  const setting = parseSetting(json);
  expect([setting.capacity, setting.inodes, setting.trashDays]).toEqual([2n ** 64n - 1n, 2n ** 53n + 1n, -(2n ** 63n)]);
  expect(formatSetting(setting, { form: "stored" })).toContain('"Capacity": 18446744073709551615');
});

test("tiers are written with all members and sorted as text", () => {
  const setting = parseSetting('{"Tiers":{"2":{"tag":"x"},"10":{"ID":10},"0":null}}');
  const tier = (key: string, id: number, tag: string) =>
    `"${key}": {\n"ID": ${id},\n"StorageClass": "",\n"Tag": "${tag}"\n}`;
  expect(formatSetting(setting, { form: "stored" })).toContain(
    `"Tiers": {\n${tier("0", 0, "")},\n${tier("10", 10, "")},\n${tier("2", 0, "x")}\n},`,
  );
});

test("missing tiers are stored as null, shown as tier 0, and an empty object stays", () => {
  const missing = parseSetting('{"StorageClass":"COLD"}');
  expect(formatSetting(missing, { form: "stored" })).toContain('"Tiers": null,');
  expect(formatSetting(missing, { form: "pretty" })).toContain('"StorageClass": "COLD",\n      "Tag": ""');
  expect(effectiveTiers(missing).get("0")).toEqual({ id: 0n, storageClass: "COLD", tag: "" });
  expect(formatSetting(parseSetting('{"Tiers":{}}'), { form: "pretty" })).toContain('"Tiers": {},');
});

test("texts are escaped by the reference's rules", () => {
  const json = '{"Bucket":"<>&\\u2028\\u0008\\f\\n\\t\\"\\\\/\\u007f\\ud800\u00e9","KerbConf":"\\ud83d\\ude00"}';
  const text = formatSetting(parseSetting(json), { form: "stored" });
  expect(text).toContain('"\\u003c\\u003e\\u0026\\u2028\\u0008\\u000c\\n\\t\\"\\\\/\u007f\ufffd\u00e9"');
  expect(text).toContain('"\u{1f600}"');
});

describe("what is no setting is refused", () => {
  test.each([
    ["", "Unexpected end"],
    ["[]", "the volume setting must be an object, got []"],
    ['{"Name":5}', "Name must be a text, got 5"],
    ['{"BlockSize":4096.0}', "BlockSize must be a 64-bit integer, got 4096.0"],
    ['{"Capacity":-1}', "Capacity must be an unsigned 64-bit integer, got -1"],
    ['{"EnableACL":1}', "EnableACL must be true or false, got 1"],
    ['{"Tiers":{"+1":{}}}', "Tiers must be an object with tier numbers as names, got a text"],
    ['{"Tiers":{"1":{"ID":"x"}}}', 'Tiers["1"].ID must be a 64-bit integer, got a text'],
  ])("%s", (json, message) => {
    expect(() => parseSetting(json)).toThrow(DataError);
    expect(() => parseSetting(json)).toThrow(message);
  });
});
