import { ConflictError, UsageError } from "../base/errors.ts";
import { formatGoDuration } from "../base/go-duration.ts";
import { formatBytes, formatCount } from "../base/units.ts";
import { effectiveTiers, type Setting, type Tier } from "../volume/setting.ts";
import { compareVersions, parseVersion, raiseVersion } from "../volume/version.ts";
import { normalizeBucket } from "./bucket-address.ts";
import { applySecrets, type SecretFlags } from "./secret-changes.ts";

/** New values; what is undefined stays (docs/spec/settings.md §6). */
export interface ConfigFlags extends SecretFlags {
  readonly storage?: string;
  readonly bucket?: string;
  readonly accessKey?: string;
  readonly storageClass?: string;
  /** `key=value`, empty for none. */
  readonly tag?: string;
  /** Mbps. */
  readonly uploadLimit?: bigint;
  readonly downloadLimit?: bigint;
  /** Bytes. */
  readonly capacity?: bigint;
  readonly inodes?: bigint;
  readonly trashDays?: bigint;
  readonly enableAcl?: boolean;
  readonly rangerRestUrl?: string;
  readonly rangerService?: string;
  /** Content of the file. */
  readonly kerbConf?: string;
  readonly minClientVersion?: string;
  readonly maxClientVersion?: string;
  readonly dirStats?: boolean;
  readonly userGroupQuota?: boolean;
  readonly changeLog?: boolean;
  /** Seconds. */
  readonly changeLogMaxAge?: bigint;
  readonly changeLogMaxLines?: bigint;
  /** Which tier `storageClass` and `tag` mean; undefined = the default one, without a question. */
  readonly tier?: bigint;
}

/** What a change of the setting comes to. */
export interface ConfigPlan {
  readonly setting: Setting;
  /** One line per changed value, as the reference prints them. */
  readonly lines: readonly string[];
  /** Old and new values of a tier that is overwritten: needs the user's consent. */
  readonly tierWarning: readonly string[];
  /** The object storage is another one, or is used with other keys. */
  readonly storageChanged: boolean;
}

const DEFAULT_CHANGE_LOG_AGE = 7200n;

/** Applies flags to a stored setting. Throws `UsageError` for values that make no sense and `ConflictError` for changes that are refused. */
export function planConfig(stored: Setting, flags: ConfigFlags): ConfigPlan {
  const plan = new ConfigPlanner(stored);
  // In the order of the flags' names, which is the order of the lines.
  plan.text("access-key", "accessKey", flags.accessKey);
  plan.bucket(flags);
  plan.number("capacity", "capacity", flags.capacity, formatBytes);
  plan.changeLog(flags);
  plan.flag("dir-stats", "dirStats", flags.dirStats);
  plan.number("download-limit", "downloadLimit", flags.downloadLimit, formatMbps);
  plan.acl(flags.enableAcl);
  plan.number("inodes", "inodes", flags.inodes, formatCount);
  plan.kerberos(flags.kerbConf);
  plan.maxVersion(flags.maxClientVersion);
  plan.minVersion(flags.minClientVersion);
  plan.ranger(flags);
  plan.secrets(flags);
  plan.text("storage", "storage", flags.storage);
  plan.tier(flags);
  plan.trashDays(flags.trashDays);
  plan.number("upload-limit", "uploadLimit", flags.uploadLimit, formatMbps);
  plan.flag("user-group-quota", "userGroupQuota", flags.userGroupQuota);
  return plan.finish();
}

type KeysOf<T> = { [K in keyof Setting]: Setting[K] extends T ? K : never }[keyof Setting];

class ConfigPlanner {
  readonly #stored: Setting;
  #next: Setting;
  readonly #lines: string[] = [];
  #tierWarning: string[] = [];
  #versionFloor = "";

  constructor(stored: Setting) {
    this.#stored = stored;
    this.#next = stored;
  }

  text(flag: string, key: KeysOf<string>, value: string | undefined): void {
    if (value === undefined || value === this.#stored[key]) return;
    this.#set({ [key]: value });
    this.#line(flag, `${this.#stored[key]} -> ${value}`);
  }

  flag(flag: string, key: KeysOf<boolean>, value: boolean | undefined): void {
    if (value === undefined || value === this.#stored[key]) return;
    this.#set({ [key]: value });
    this.#line(flag, `${this.#stored[key]} -> ${value}`);
  }

  number(flag: string, key: KeysOf<bigint>, value: bigint | undefined, format: (value: bigint) => string): void {
    if (value === undefined || value === this.#stored[key]) return;
    const limit = key === "capacity" || key === "inodes" ? 1n << 64n : 1n << 63n;
    if (value < 0n || value >= limit) {
      throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${value}" for "${flag}": out of range`);
    }
    this.#set({ [key]: value });
    this.#line(flag, `${format(this.#stored[key])} -> ${format(value)}`);
  }

  /** Unlike the reference, the same path without its final slash is no change. */
  bucket(flags: ConfigFlags): void {
    if (flags.bucket === undefined) return;
    this.text("bucket", "bucket", normalizeBucket(flags.storage ?? this.#stored.storage, flags.bucket));
  }

  changeLog(flags: ConfigFlags): void {
    this.flag("changelog", "changeLog", flags.changeLog);
    let { changeLogMaxAge: age } = flags;
    const isDefault = age === undefined && flags.changeLog === true && this.#stored.changeLogMaxAge === 0n;
    if (isDefault && !this.#stored.changeLog) age = DEFAULT_CHANGE_LOG_AGE;
    if (age !== undefined && age < 0n) {
      throw new UsageError("DECANT_E_OPTION_VALUE", `negative duration for changelog-max-age: ${age}s`);
    }
    const suffix = age === undefined || !isDefault ? "" : " (default)";
    this.number("changelog-max-age", "changeLogMaxAge", age, (seconds) => {
      return formatGoDuration(Number(seconds) * 1000) + (seconds === age ? suffix : "");
    });
    const lines = flags.changeLogMaxLines;
    if (lines !== undefined && lines < 0n) {
      throw new UsageError("DECANT_E_OPTION_VALUE", `negative value for changelog-max-lines: ${lines}`);
    }
    this.number("changelog-max-lines", "changeLogMaxLines", lines, String);
  }

  acl(value: boolean | undefined): void {
    if (value === false && this.#stored.enableAcl)
      throw new ConflictError("DECANT_E_ACL_IRREVERSIBLE", "cannot disable acl");
    this.flag("enable-acl", "enableAcl", value);
    if (value === true && !this.#stored.enableAcl) this.#raise("1.2.0-A");
  }

  kerberos(content: string | undefined): void {
    if (content === undefined || content === this.#stored.kerbConf) return;
    this.#set({ kerbConf: content });
    this.#line("kerberos-config-file", "updated");
    this.#raise("1.4.0-A");
  }

  maxVersion(value: string | undefined): void {
    if (value === undefined || value === this.#stored.maxClientVersion) return;
    assertVersion(value);
    this.text("max-client-version", "maxClientVersion", value);
  }

  minVersion(value: string | undefined): void {
    if (value === undefined || value === this.#stored.minClientVersion) return;
    const version = assertVersion(value);
    const current = parseVersion(this.#stored.minClientVersion);
    if (current !== undefined && compareVersions(version, current) < 0) {
      const { minClientVersion } = this.#stored;
      throw new ConflictError(
        "DECANT_E_VERSION_LOWERED",
        `cannot lower min-client-version from ${minClientVersion} to ${value}`,
      );
    }
    this.text("min-client-version", "minClientVersion", value);
  }

  ranger(flags: ConfigFlags): void {
    const before = this.#lines.length;
    this.text("ranger-rest-url", "rangerRestUrl", flags.rangerRestUrl);
    this.text("ranger-service", "rangerService", flags.rangerService);
    if (this.#lines.length > before) this.#raise("1.3.0-A");
  }

  secrets(flags: ConfigFlags): void {
    this.#next = applySecrets(this.#next, flags);
    if (flags.secretKey !== undefined) this.#line("secret-key", "updated");
    if (flags.sessionToken !== undefined) this.#line("session-token", "updated");
    if (this.#next.keyEncrypted && !this.#stored.keyEncrypted)
      this.#line("encrypt-secret", "secrets are now encrypted");
  }

  tier(flags: ConfigFlags): void {
    const { storageClass, tag } = flags;
    if (tag !== undefined && tag !== "") assertTag(tag);
    if (flags.tier !== undefined && (flags.tier < 0n || flags.tier > 3n)) {
      throw new UsageError("DECANT_E_OPTION_VALUE", "tier should be between 0 and 3");
    }
    if (storageClass === undefined && tag === undefined) {
      if (flags.tier === undefined) return;
      throw new UsageError("DECANT_E_OPTION_VALUE", "missing required flag: --storage-class or --tag");
    }
    const key = (flags.tier ?? 0n).toString();
    const tiers = effectiveTiers(this.#stored);
    const old: Tier = tiers.get(key) ?? { id: flags.tier ?? 0n, storageClass: "", tag: "" };
    const next: Tier = { ...old, storageClass: storageClass ?? old.storageClass, tag: tag ?? old.tag };
    if (next.storageClass === old.storageClass && next.tag === old.tag) return;
    if (this.#stored.shards > 1n && flags.tier !== undefined) {
      throw new ConflictError("DECANT_E_TIER_SHARDS", "Current tiered storage does not support multi-bucket mode");
    }
    this.#set({ tiers: new Map([...tiers, [key, next]]) });
    this.#tierLines(flags.tier, old, next);
    if (flags.tier !== undefined && tiers.has(key)) this.#tierWarning = tierWarning(key, old, next);
    if (flags.tier !== undefined && flags.tier > 0n) this.#raise("1.4.0-A");
  }

  #tierLines(tier: bigint | undefined, old: Tier, next: Tier): void {
    if (next.storageClass !== old.storageClass) {
      if (tier === undefined) this.#line("storage-class", `${old.storageClass} -> ${next.storageClass}`);
      else this.#line(`set tier ${tier} storage-class`, next.storageClass);
    }
    if (next.tag !== old.tag) {
      if (tier === undefined) this.#line("tag", `${old.tag} -> ${next.tag}`);
      else this.#line(`set tier ${tier} tag`, next.tag);
    }
  }

  trashDays(days: bigint | undefined): void {
    if (days !== undefined && days < 0n) throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid trash days: ${days}`);
    this.number("trash-days", "trashDays", days, String);
  }

  finish(): ConfigPlan {
    this.#raiseMinimum();
    const { accessKey, bucket, storage, tiers, secretKey, sessionToken } = this.#stored;
    const next = this.#next;
    const storageChanged =
      next.accessKey !== accessKey ||
      next.bucket !== bucket ||
      next.storage !== storage ||
      next.secretKey !== secretKey ||
      next.sessionToken !== sessionToken ||
      next.tiers !== tiers;
    return { setting: next, lines: this.#lines, tierWarning: this.#tierWarning, storageChanged };
  }

  #raiseMinimum(): void {
    if (this.#versionFloor === "") return;
    const { minClientVersion: before } = this.#next;
    const raised = raiseVersion(before, this.#versionFloor);
    if (raised === before) return;
    this.#set({ minClientVersion: raised });
    this.#line("min-client-version", `${before} -> ${raised}`);
  }

  #raise(version: string): void {
    this.#versionFloor = this.#versionFloor === "" ? version : raiseVersion(this.#versionFloor, version);
  }

  #set(change: Partial<Setting>): void {
    this.#next = { ...this.#next, ...change };
  }

  #line(label: string, change: string): void {
    this.#lines.push(`${label.padStart(10)}: ${change}`);
  }
}

function tierWarning(key: string, old: Tier, next: Tier): string[] {
  const lines = ["existing tier will be overwritten: ", `tier: ${key}`];
  if (old.storageClass !== next.storageClass) lines.push(`storage class: ${old.storageClass} => ${next.storageClass}`);
  if (old.tag !== next.tag) lines.push(`tag: ${old.tag} => ${next.tag}`);
  return lines;
}

function assertVersion(text: string): NonNullable<ReturnType<typeof parseVersion>> {
  const version = parseVersion(text);
  if (version === undefined) throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid version string: ${text}`);
  return version;
}

function assertTag(tag: string): void {
  if (!/^[^=]+=[^=]+$/s.test(tag)) throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid tag format: ${tag}`);
}

const MBPS_UNITS = ["Mbps", "Gbps", "Tbps", "Pbps"];

/** `100.0 Mbps`, `1.5 Gbps`: steps of 1000. */
export function formatMbps(limit: bigint): string {
  let value = Number(limit);
  let unit = 0;
  for (; value >= 1000 && unit < MBPS_UNITS.length - 1; unit++) value /= 1000;
  return `${value.toFixed(1)} ${MBPS_UNITS[unit]}`;
}
