import { describe, expect, test } from "vitest";
import { ConflictError } from "../../../src/base/errors.ts";
import { applySecrets } from "../../../src/operations/secret-changes.ts";
import { EMPTY_SETTING, type Setting } from "../../../src/volume/setting.ts";
import {
  decryptAllSecrets,
  decryptSecrets,
  encryptSecrets,
  removeSecrets,
} from "../../../src/volume/setting-secrets.ts";

const CLEAR: Setting = {
  ...EMPTY_SETTING,
  uuid: "21207cb7-c244-48a0-838a-c21a5b5a3850",
  secretKey: "old",
  sessionToken: "token",
  encryptAlgo: "aes256gcm-rsa",
};
const ENCRYPTED = encryptSecrets(CLEAR);

test("without new secrets nothing is touched", () => {
  expect(applySecrets(ENCRYPTED, {})).toBe(ENCRYPTED);
});

test("a new secret of an encrypted volume is encrypted with the others", () => {
  const changed = applySecrets(ENCRYPTED, { secretKey: "new" });
  expect(changed.keyEncrypted).toBe(true);
  expect(decryptAllSecrets(changed)).toMatchObject({ secretKey: "new", sessionToken: "token" });
});

test("a volume with secrets in clear stays so unless encryption is asked for", () => {
  expect(applySecrets(CLEAR, { secretKey: "new" })).toEqual({ ...CLEAR, secretKey: "new" });
  const encrypted = applySecrets(CLEAR, { encryptSecret: true });
  expect(encrypted.keyEncrypted).toBe(true);
  expect(decryptAllSecrets(encrypted)).toEqual(CLEAR);
});

describe("secrets that a dump has removed", () => {
  const loaded = removeSecrets(ENCRYPTED, "dump");

  test("must all be given, or be deleted in so many words", () => {
    expect(() => applySecrets(loaded, { secretKey: "new" })).toThrow(ConflictError);
    expect(() => applySecrets(loaded, { secretKey: "new" })).toThrow("SessionToken of this volume was removed");
    expect(() => applySecrets(loaded, { sessionToken: "new" })).toThrow("SecretKey of this volume was removed");
    expect(decryptAllSecrets(applySecrets(loaded, { secretKey: "s", sessionToken: "t" }))).toMatchObject({
      secretKey: "s",
      sessionToken: "t",
    });
    const dropped = applySecrets(loaded, { secretKey: "s", sessionToken: "" });
    expect(dropped.sessionToken).toBe("");
    expect(decryptAllSecrets(dropped).secretKey).toBe("s");
  });

  test("are not encrypted as texts either when they stand in clear", () => {
    const clear = removeSecrets(CLEAR, "dump");
    expect(() => applySecrets(clear, { encryptSecret: true })).toThrow(ConflictError);
    expect(() => applySecrets(clear, { secretKey: "new" })).toThrow(ConflictError);
  });

  test("an encryption key that is gone stays marked as gone", () => {
    const gone: Setting = { ...ENCRYPTED, encryptKey: "removed" };
    const changed = applySecrets(gone, { secretKey: "new" });
    expect(changed.encryptKey).toBe("removed");
    expect(decryptSecrets(changed).problems).toMatchObject([{ member: "encryptKey", reason: "removed" }]);
    expect(decryptSecrets(changed).setting).toMatchObject({ secretKey: "new", sessionToken: "token" });
  });
});
