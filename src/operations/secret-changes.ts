import { ConflictError } from "../base/errors.ts";
import type { Setting } from "../volume/setting.ts";
import {
  type DecryptedSetting,
  decryptSecrets,
  encryptSecrets,
  REMOVED,
  SECRET_NAMES,
  type SecretMember,
} from "../volume/setting-secrets.ts";

/** Secrets that a user gives; an empty text deletes one. */
export interface SecretFlags {
  readonly secretKey?: string;
  readonly sessionToken?: string;
  /** Encrypt secrets that are stored in clear. */
  readonly encryptSecret?: boolean;
  /** One that was taken out of a dump may stay without a value, as a load leaves it. */
  readonly keepRemoved?: boolean;
}

const FLAG_NAMES = { secretKey: "--secret-key", sessionToken: "--session-token" } as const;

/**
 * Puts new secrets in place and encrypts all when they were encrypted before or when that is asked for. Others stay byte
 * for byte what they are. A secret that was taken out of a dump is never stored as if its place holder were one, as the
 * reference does (docs/spec/json-dump.md §13.13): throws `ConflictError` when one is left without a value.
 */
export function applySecrets(stored: Setting, flags: SecretFlags): Setting {
  if (flags.secretKey === undefined && flags.sessionToken === undefined && flags.encryptSecret !== true) return stored;
  const decrypted = decryptSecrets(stored);
  const setting: Setting = {
    ...decrypted.setting,
    secretKey: flags.secretKey ?? decrypted.setting.secretKey,
    sessionToken: flags.sessionToken ?? decrypted.setting.sessionToken,
  };
  if (flags.keepRemoved !== true) refuseRemoved(setting, flags);
  if (!stored.keyEncrypted && flags.encryptSecret !== true) return setting;
  return encryptUsable(setting, stored, decrypted, flags);
}

function refuseRemoved(setting: Setting, flags: SecretFlags): void {
  for (const member of ["secretKey", "sessionToken"] as const) {
    if (setting[member] !== REMOVED || flags[member] !== undefined) continue;
    throw new ConflictError(
      "DECANT_E_SECRET_REMOVED",
      `${SECRET_NAMES[member]} of this volume was removed by a dump and would stay without a value`,
      { hint: `Give ${FLAG_NAMES[member]} in the same call, or ${FLAG_NAMES[member]} '' if there is none` },
    );
  }
}

/** Secrets that could not be decrypted and are not replaced keep the text that is stored. */
function encryptUsable(setting: Setting, stored: Setting, decrypted: DecryptedSetting, flags: SecretFlags): Setting {
  const kept = new Map<SecretMember, string>();
  for (const { member } of decrypted.problems) {
    if (member === "encryptKey" || flags[member] === undefined) kept.set(member, stored[member]);
  }
  const blanks = Object.fromEntries([...kept.keys()].map((member) => [member, ""]));
  const encrypted = encryptSecrets({ ...setting, ...blanks });
  return { ...encrypted, ...Object.fromEntries(kept), keyEncrypted: encrypted.keyEncrypted || kept.size > 0 };
}
