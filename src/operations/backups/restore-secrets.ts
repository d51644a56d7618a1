import type { Setting } from "../../volume/setting.ts";
import { REMOVED } from "../../volume/setting-secrets.ts";
import { applySecrets } from "../secret-changes.ts";

/** Keys of the object storage from one source. They belong together. */
export interface StorageKeys {
  readonly accessKey?: string;
  readonly secretKey?: string;
  /** Empty when there is none. */
  readonly sessionToken?: string;
}

/** What a dump takes out of a setting and a restore puts back. */
export type LostSecret = "secretKey" | "sessionToken";

/** The secrets that were taken out of a setting and that its volume needs: a directory needs none. */
export function lostSecrets(setting: Setting): LostSecret[] {
  if (setting.storage.toLowerCase() === "file") return [];
  return (["secretKey", "sessionToken"] as const).filter((member) => setting[member] === REMOVED);
}

/** The keys that the old volume, or its bucket, was opened with (`BackupPlace.setting`). */
export function keysOf(place: Setting): StorageKeys {
  const { accessKey, secretKey, sessionToken } = place;
  return {
    ...(accessKey === "" ? {} : { accessKey }),
    ...(secretKey === "" ? {} : { secretKey }),
    sessionToken,
  };
}

/** The keys in the environment, by the names that `format` takes them by. */
export function keysOfEnvironment(env: Readonly<Record<string, string | undefined>>): StorageKeys {
  const { ACCESS_KEY: accessKey, SECRET_KEY: secretKey, SESSION_TOKEN: sessionToken } = env;
  return {
    ...(accessKey ? { accessKey } : {}),
    ...(secretKey ? { secretKey } : {}),
    ...(sessionToken ? { sessionToken } : {}),
  };
}

/** Where keys come from, the first one that has a secret key being taken. */
export interface KeySources {
  /** Given on purpose: they are stored also where nothing was removed. */
  readonly given: StorageKeys;
  readonly environment: StorageKeys;
  /** What the bucket was opened with. */
  readonly opened: StorageKeys;
}

/** The keys to be stored. A secret key brings the access key and the session token of its own source. */
export function chooseKeys(setting: Setting, { given, environment, opened }: KeySources): StorageKeys {
  const lost = lostSecrets(setting);
  if (lost.length === 0) return given;
  if (!lost.includes("secretKey")) {
    const sessionToken = [given, environment, opened].find((keys) => keys.sessionToken !== undefined)?.sessionToken;
    return sessionToken === undefined ? given : { ...given, sessionToken };
  }
  const source = [given, environment, opened].find(({ secretKey }) => secretKey !== undefined);
  if (source === undefined) return given;
  // With the very keys that the bucket was opened with, it is known that no token belongs to them, too.
  const token = source.secretKey === opened.secretKey ? opened.sessionToken : undefined;
  return { ...(token === undefined ? {} : { sessionToken: token }), ...source, ...given };
}

/**
 * A setting as a dump has it, with the keys in place and encrypted as they were. Secrets without a value stay as the dump has
 * them, those of a directory go.
 */
export function withKeys(setting: Setting, keys: StorageKeys): Setting {
  const { accessKey, ...secrets } = keys;
  const isDirectory = setting.storage.toLowerCase() === "file";
  const flags = {
    ...(isDirectory && setting.secretKey === REMOVED ? { secretKey: "" } : {}),
    ...(isDirectory && setting.sessionToken === REMOVED ? { sessionToken: "" } : {}),
    ...secrets,
    keepRemoved: true,
  };
  return applySecrets(accessKey === undefined ? setting : { ...setting, accessKey }, flags);
}
