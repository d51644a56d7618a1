import { createCipheriv, createDecipheriv, createHash, getCiphers, randomBytes } from "node:crypto";
import { DataError, errorText, MissingDependencyError } from "../base/errors.ts";
import type { Setting } from "./setting.ts";

/** What stands in place of a secret that was taken out (docs/spec/object-storage.md §7). */
export const REMOVED = "removed";

const SECRETS = ["secretKey", "sessionToken", "encryptKey"] as const;
export type SecretMember = (typeof SECRETS)[number];

/** Member names as they stand in the setting, for messages. */
export const SECRET_NAMES: Readonly<Record<SecretMember, string>> = {
  secretKey: "SecretKey",
  sessionToken: "SessionToken",
  encryptKey: "EncryptKey",
};

/**
 * Replaces secrets that are not empty by `removed`: the secret key and the session token for a JSON dump, which keeps the
 * encryption key because nothing can set it again; the encryption key too for `display` and for a binary dump.
 */
export function removeSecrets(setting: Setting, purpose: "dump" | "display"): Setting {
  const hide = (value: string) => (value === "" ? "" : REMOVED);
  return {
    ...setting,
    secretKey: hide(setting.secretKey),
    sessionToken: hide(setting.sessionToken),
    encryptKey: purpose === "display" ? hide(setting.encryptKey) : setting.encryptKey,
  };
}

/** A secret that could not be decrypted. */
export interface SecretProblem {
  readonly member: SecretMember;
  readonly reason: "removed" | "damaged";
  /** The reference's words where it has some. */
  readonly message: string;
}

/** A setting with its secrets in clear. A secret named in `problems` keeps its stored text. */
export interface DecryptedSetting {
  readonly setting: Setting;
  readonly problems: readonly SecretProblem[];
}

/** Decrypts the secrets as far as they can be; leaves a setting alone that does not encrypt them. */
export function decryptSecrets(setting: Setting): DecryptedSetting {
  if (!setting.keyEncrypted) return { setting, problems: [] };
  const cipher = secretCipher(setting);
  const problems: SecretProblem[] = [];
  const clear: Partial<Record<SecretMember, string>> = {};
  for (const member of SECRETS) {
    const value = setting[member];
    if (value === "") continue;
    if (value === REMOVED) {
      const message = "secret was removed; please correct it with `config` command";
      problems.push({ member, reason: "removed", message });
      continue;
    }
    try {
      clear[member] = decryptSecret(cipher, value);
    } catch (error) {
      problems.push({ member, reason: "damaged", message: errorText(error) });
    }
  }
  return { setting: { ...setting, ...clear, keyEncrypted: false }, problems };
}

/** Decrypts all secrets. Throws `DataError` when one was removed or is damaged. */
export function decryptAllSecrets(setting: Setting): Setting {
  const decrypted = decryptSecrets(setting);
  const problem = decrypted.problems[0];
  if (problem !== undefined) {
    throw new DataError("DECANT_E_SECRET", `format decrypt: ${problem.message}`, {
      hint: `${SECRET_NAMES[problem.member]} of volume ${setting.name} cannot be used as it is stored`,
    });
  }
  return decrypted.setting;
}

/** Encrypts the secrets, with new nonces. Nothing happens when they are encrypted already or when there are none. */
export function encryptSecrets(setting: Setting): Setting {
  if (setting.keyEncrypted || SECRETS.every((member) => setting[member] === "")) return setting;
  const cipher = secretCipher(setting);
  const encrypted: Partial<Record<SecretMember, string>> = {};
  for (const member of SECRETS) {
    if (setting[member] !== "") encrypted[member] = encryptSecret(cipher, setting[member]);
  }
  return { ...setting, ...encrypted, keyEncrypted: true };
}

interface SecretCipher {
  readonly name: "aes-128-gcm" | "sm4-gcm";
  readonly key: Buffer;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The key stands beside the secrets, in the UUID: this is obfuscation, as in the reference. */
function secretCipher(setting: Setting): SecretCipher {
  if (setting.encryptAlgo !== "sm4gcm") {
    return { name: "aes-128-gcm", key: createHash("md5").update(setting.uuid).digest() };
  }
  if (!getCiphers().includes("sm4-gcm")) {
    throw new MissingDependencyError(
      "DECANT_E_SM4",
      "Cannot handle the secrets of this volume: no SM4-GCM in this Node.js",
    );
  }
  const counter = Buffer.from([0, 0, 0, 1]);
  return { name: "sm4-gcm", key: createHash("sm3").update(setting.uuid).update(counter).digest().subarray(0, 16) };
}

/** Layout: base64 of nonce, ciphertext, tag. */
function encryptSecret(cipher: SecretCipher, value: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  // Both ciphers are GCM; Node's types know that of the AES names only.
  const encryption = createCipheriv(cipher.name as "aes-128-gcm", cipher.key, nonce);
  const body = Buffer.concat([encryption.update(value, "utf8"), encryption.final()]);
  return Buffer.concat([nonce, body, encryption.getAuthTag()]).toString("base64");
}

function decryptSecret(cipher: SecretCipher, value: string): string {
  const bytes = Buffer.from(value, "base64");
  if (bytes.toString("base64") !== value.replaceAll(/[\r\n]/g, "") || bytes.length < NONCE_BYTES + TAG_BYTES) {
    throw new DataError("DECANT_E_SECRET", "decode key: not the base64 text of an encrypted secret");
  }
  const body = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
  const decryption = createDecipheriv(cipher.name as "aes-128-gcm", cipher.key, bytes.subarray(0, NONCE_BYTES));
  decryption.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decryption.update(body), decryption.final()]).toString("utf8");
  } catch (cause) {
    throw new DataError("DECANT_E_SECRET", "open cipher: message authentication failed", { cause });
  }
}
