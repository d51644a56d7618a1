import { createPrivateKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { DataError } from "../../../src/base/errors.ts";
import { EMPTY_SETTING, parseSetting, type Setting } from "../../../src/volume/setting.ts";
import {
  decryptAllSecrets,
  decryptSecrets,
  encryptSecrets,
  removeSecrets,
} from "../../../src/volume/setting-secrets.ts";
import { fixtureText, storedSetting } from "./setting-fixtures.ts";

const EXAMPLE: Setting = {
  ...EMPTY_SETTING,
  uuid: "21207cb7-c244-48a0-838a-c21a5b5a3850",
  secretKey: "sUpBN5MfrVReSSffoyeaUQSSnjtXHCxjnt4X7Nkj+zgp",
  sessionToken: "rIU9sq77MQPIG/WlSwu3wJVXYuX1gsjxVNBup7A/y9fOIw==",
  encryptAlgo: "aes256gcm-rsa",
  keyEncrypted: true,
};

test("the worked example of the specification decrypts", () => {
  expect(decryptAllSecrets(EXAMPLE)).toMatchObject({ secretKey: "SKenv", sessionToken: "TOKenv", keyEncrypted: false });
});

test("the secrets of encrypted fixture volumes decrypt", () => {
  for (const volume of ["encaes", "encchacha"]) {
    const setting = decryptAllSecrets(parseSetting(storedSetting(`encrypted/${volume}.sqlite.db`)));
    expect(setting.secretKey).toBe("DUMMYSECRET");
    expect(setting.encryptKey).toBe(fixtureText("encrypted/key-traditional-encrypted.pem"));
    expect(createPrivateKey({ key: setting.encryptKey, passphrase: "correct horse" }).asymmetricKeyType).toBe("rsa");
  }
  const golden = decryptAllSecrets(parseSetting(storedSetting("golden/engines/golden.redis.jsonl")));
  expect(golden.secretKey).toBe('DUMMY/secret+"key"');
});

describe("encrypting and decrypting gives the same secrets", () => {
  test.each(["aes256gcm-rsa", "", "sm4gcm"])("with algorithm '%s'", (encryptAlgo) => {
    const clear: Setting = { ...EXAMPLE, encryptAlgo, secretKey: "s\u00e9cret", sessionToken: "", keyEncrypted: false };
    const encrypted = encryptSecrets(clear);
    expect(encrypted.keyEncrypted).toBe(true);
    expect(encrypted.secretKey).not.toBe(clear.secretKey);
    expect(encrypted.sessionToken).toBe("");
    expect(encryptSecrets(clear).secretKey).not.toBe(encrypted.secretKey);
    expect(decryptAllSecrets(encrypted)).toEqual(clear);
  });

  test("nothing happens without secrets or when they are encrypted already", () => {
    const empty = { ...EXAMPLE, secretKey: "", sessionToken: "", keyEncrypted: false };
    expect(encryptSecrets(empty)).toBe(empty);
    expect(encryptSecrets(EXAMPLE)).toBe(EXAMPLE);
  });
});

test("removed and damaged secrets are named and the others are decrypted", () => {
  const decrypted = decryptSecrets({ ...EXAMPLE, sessionToken: "removed", encryptKey: `AAAA${EXAMPLE.secretKey}` });
  expect(decrypted.setting.secretKey).toBe("SKenv");
  expect(decrypted.setting.sessionToken).toBe("removed");
  expect(decrypted.problems).toEqual([
    {
      member: "sessionToken",
      reason: "removed",
      message: "secret was removed; please correct it with `config` command",
    },
    { member: "encryptKey", reason: "damaged", message: "open cipher: message authentication failed" },
  ]);
  expect(() => decryptAllSecrets({ ...EXAMPLE, secretKey: "removed" })).toThrow(DataError);
  expect(() => decryptAllSecrets({ ...EXAMPLE, secretKey: "!!" })).toThrow("decode key");
});

test("a dump loses the secret key and the token, a display the encryption key too", () => {
  const setting: Setting = { ...EXAMPLE, sessionToken: "", encryptKey: "pem", accessKey: "ak" };
  expect(removeSecrets(setting, "dump")).toMatchObject({ secretKey: "removed", sessionToken: "", encryptKey: "pem" });
  expect(removeSecrets(setting, "display")).toMatchObject({ accessKey: "ak", encryptKey: "removed" });
});
