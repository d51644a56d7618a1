import { formatJson, type JsonValue } from "../base/json-text.ts";
import { redactUrl } from "../base/redact-url.ts";
import { type Setting, settingToJson } from "../volume/setting.ts";
import { decryptSecrets, REMOVED, SECRET_NAMES, type SecretMember } from "../volume/setting-secrets.ts";

/** A value of the volume, not of a file in it, that differs. */
export interface ValueChange {
  readonly kind: "setting" | "counter" | "quota" | "user-quota" | "group-quota" | "deleted-file";
  /** Member of the setting, name of the counter, inode, uid or gid. */
  readonly name: string;
  /** Undefined: not there on that side, or (for secrets) not to be shown. */
  readonly from: string | undefined;
  readonly to: string | undefined;
  /** The values are secret and stay away. */
  readonly secret: boolean;
}

/** Members whose values are never shown. */
const HIDDEN: ReadonlySet<string> = new Set([...Object.values(SECRET_NAMES), "AccessKey", "KerbConf"]);
const SECRET_MEMBERS = Object.keys(SECRET_NAMES) as SecretMember[];

/**
 * Differences of two settings, by member in the order of the setting. Secrets are compared in clear, as each encryption of one
 * looks different, and only where both sides have them: what was removed from a dump says nothing. Members that this version
 * does not know count only where both sides have them, as dumps leave them out.
 */
export function compareSettings(from: Setting, to: Setting): ValueChange[] {
  const a = members(from);
  const b = members(to);
  const changes: ValueChange[] = [];
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    const before = a.get(name);
    const after = b.get(name);
    if (before === after || before === REMOVED_TEXT || after === REMOVED_TEXT) continue;
    if (isUnknown(name, from, to) && (before === undefined || after === undefined)) continue;
    const secret = HIDDEN.has(name);
    changes.push({
      kind: "setting",
      name,
      from: secret ? undefined : shown(name, before),
      to: secret ? undefined : shown(name, after),
      secret,
    });
  }
  return changes;
}

const REMOVED_TEXT = JSON.stringify(REMOVED);

/** Members that are there, as texts that are equal when the values are. */
function members(setting: Setting): Map<string, string> {
  const clear = decryptSecrets(setting);
  // Whether a secret is encrypted is seen only where there is one.
  const hasSecret = SECRET_MEMBERS.some((member) => setting[member] !== "");
  const compared = { ...clear.setting, keyEncrypted: hasSecret && setting.keyEncrypted };
  const json = settingToJson(compared, { tiers: "effective", unknown: "keep" });
  return new Map(
    [...json].map(([name, value]) => [name, formatJson(value as JsonValue, { indent: 0 }).replaceAll("\n", " ")]),
  );
}

function isUnknown(name: string, from: Setting, to: Setting): boolean {
  return from.unknown.has(name) || to.unknown.has(name);
}

function shown(name: string, text: string | undefined): string | undefined {
  return text !== undefined && name === "Bucket" ? redactUrl(text) : text;
}
