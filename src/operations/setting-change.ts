import type { SettingChange } from "../engines/engine.ts";
import { encodeAttribute, newDirectoryAttribute } from "../volume/attribute.ts";
import { effectiveTiers, formatSetting, type Setting } from "../volume/setting.ts";

/** What must be written when a volume's setting becomes another one (docs/spec/settings.md §4). */
export function settingChange(stored: Setting, next: Setting, now: Date): SettingChange {
  return {
    setting: storedForm({ ...next, tiers: effectiveTiers(next) }),
    dropDirStats: next.dirStats && !stored.dirStats,
    dropUserGroupQuotas: next.userGroupQuota && !stored.userGroupQuota,
    trashRoot: next.trashDays > 0n ? trashRootAttribute(now) : undefined,
  };
}

/** The bytes that a database stores. */
export function storedForm(setting: Setting): Buffer {
  return Buffer.from(formatSetting(setting, { form: "stored" }));
}

/** Attribute record of the root of a new volume. */
export function rootAttribute(now: Date): Buffer {
  return encodeAttribute(newDirectoryAttribute(0o777, wholeSeconds(now)));
}

/** Attribute record of the trash root. */
export function trashRootAttribute(now: Date): Buffer {
  return encodeAttribute(newDirectoryAttribute(0o555, wholeSeconds(now)));
}

function wholeSeconds(now: Date): bigint {
  return BigInt(Math.floor(now.getTime() / 1000));
}
