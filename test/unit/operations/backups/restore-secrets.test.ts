import { describe, expect, test } from "vitest";
import { chooseKeys, keysOf, lostSecrets, withKeys } from "../../../../src/operations/backups/restore-secrets.ts";
import { mountCommand, otherBucketStep } from "../../../../src/operations/backups/restore-steps.ts";
import { EMPTY_SETTING, type Setting } from "../../../../src/volume/setting.ts";
import { decryptAllSecrets, encryptSecrets, REMOVED, removeSecrets } from "../../../../src/volume/setting-secrets.ts";

const CLEAR: Setting = {
  ...EMPTY_SETTING,
  name: "vol",
  uuid: "e369eebd-5538-4cc1-bfd4-6c1534d5c460",
  storage: "minio",
  bucket: "http://host:9000/bk",
  accessKey: "old-access",
  secretKey: "old-secret",
  encryptKey: "private key",
};
/** What a backup holds. */
const DUMPED = removeSecrets(encryptSecrets(CLEAR), "dump");
const WITH_TOKEN = removeSecrets(encryptSecrets({ ...CLEAR, sessionToken: "old-token" }), "dump");

const NONE = { given: {}, environment: {}, opened: {} };

describe("the keys of a restored volume", () => {
  test("are those that were given, with nothing of another source beside them", () => {
    const sources = {
      given: { secretKey: "given" },
      environment: { accessKey: "env-access", secretKey: "env" },
      opened: { accessKey: "opened-access", secretKey: "opened", sessionToken: "" },
    };
    expect(chooseKeys(DUMPED, sources)).toEqual({ secretKey: "given" });
    expect(chooseKeys(DUMPED, { ...sources, given: {} })).toEqual({ accessKey: "env-access", secretKey: "env" });
    expect(chooseKeys(DUMPED, { ...sources, given: {}, environment: {} })).toEqual(sources.opened);
    expect(chooseKeys(DUMPED, NONE)).toEqual({});
  });

  test("are left alone where the backup lacks none, unless they were given", () => {
    const environment = { accessKey: "env-access", secretKey: "env" };
    const directory = { ...EMPTY_SETTING, storage: "file" };
    expect(chooseKeys(directory, { ...NONE, environment })).toEqual({});
    expect(chooseKeys(directory, { ...NONE, environment, given: { secretKey: "x" } })).toEqual({ secretKey: "x" });
  });

  test("are known to have no token when the bucket was opened with them", () => {
    const environment = { secretKey: "env" };
    const sources = { given: {}, environment, opened: { secretKey: "env", sessionToken: "" } };
    expect(chooseKeys(WITH_TOKEN, sources)).toEqual({ secretKey: "env", sessionToken: "" });
    expect(lostSecrets(withKeys(WITH_TOKEN, chooseKeys(WITH_TOKEN, sources)))).toEqual([]);
  });

  test("may lack the token", () => {
    const keys = chooseKeys(WITH_TOKEN, { ...NONE, environment: { secretKey: "env" } });
    const setting = withKeys(WITH_TOKEN, keys);
    expect(lostSecrets(setting)).toEqual(["sessionToken"]);
    expect(setting.sessionToken).toBe(REMOVED);
    const next = withKeys(WITH_TOKEN, { ...keys, sessionToken: "" });
    expect(decryptAllSecrets(next)).toMatchObject({ secretKey: "env", sessionToken: "", encryptKey: "private key" });
  });

  test("are stored encrypted as the volume stored them, and its own key stays as it is", () => {
    expect(DUMPED.secretKey).toBe(REMOVED);
    const setting = withKeys(DUMPED, { accessKey: "new-access", secretKey: "new-secret" });
    expect([setting.keyEncrypted, setting.accessKey]).toEqual([true, "new-access"]);
    expect(setting.secretKey).not.toContain("new-secret");
    expect(decryptAllSecrets(setting)).toMatchObject({ secretKey: "new-secret", encryptKey: "private key" });
    const inClear = withKeys(removeSecrets(CLEAR, "dump"), { secretKey: "new-secret" });
    expect([inClear.keyEncrypted, inClear.secretKey]).toEqual([false, "new-secret"]);
  });

  test("stay removed where none are known, and go where a directory needs none", () => {
    expect(lostSecrets(withKeys(DUMPED, {}))).toEqual(["secretKey"]);
    const directory = { ...WITH_TOKEN, storage: "file" };
    expect(lostSecrets(directory)).toEqual([]);
    expect(decryptAllSecrets(withKeys(directory, {}))).toMatchObject({ secretKey: "", sessionToken: "" });
  });

  test("of an old volume are its own", () => {
    expect(keysOf(CLEAR)).toEqual({ accessKey: "old-access", secretKey: "old-secret", sessionToken: "" });
    expect(keysOf(EMPTY_SETTING)).toEqual({ sessionToken: "" });
  });
});

describe("the way to mount it", () => {
  test("shows no password and says where it goes", () => {
    expect(mountCommand("redis://:****@host/1", { ...CLEAR, encryptKey: "" })).toBe(
      "META_PASSWORD=... juicefs mount -d redis://:@host/1 /mnt/vol",
    );
    expect(mountCommand("mysql://u:****@(host:3306)/db", CLEAR)).toBe(
      "META_PASSWORD=... JFS_RSA_PASSPHRASE=... juicefs mount -d 'mysql://u:@(host:3306)/db' /mnt/vol",
    );
  });

  test("is by another bucket only where that is another one", () => {
    for (const bucket of ["http://host:9000/bk", "host:9000/bk", "host:9000/bk/"]) {
      expect(otherBucketStep(CLEAR, { ...CLEAR, bucket }, "redis://h/1")).toEqual([]);
    }
    expect(otherBucketStep(CLEAR, { ...CLEAR, bucket: "http://other:9000/bk" }, "redis://h/1")[0]).toMatch(
      /; when the data is there: decant config redis:\/\/h\/1 --storage minio --bucket http:\/\/other:9000\/bk$/,
    );
  });
});
