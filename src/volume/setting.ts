import { DataError } from "../base/errors.ts";
import { formatJson, JsonNumber, type JsonValue, parseJson } from "../base/json-text.ts";

/** Storage class and tag of one tier; tier 0 is that of ordinary files. */
export interface Tier {
  readonly id: bigint;
  readonly storageClass: string;
  readonly tag: string;
}

/**
 * The setting of a volume, "Format" in the reference (docs/spec/settings.md §2). Immutable: change it by spreading. Integers
 * are 64-bit and therefore bigint. An empty text, 0 and false stand for "not there"; the written forms leave them out where
 * the reference does.
 */
export interface Setting {
  readonly name: string;
  readonly uuid: string;
  readonly storage: string;
  readonly storageClass: string;
  /** Key = decimal tier id. Undefined when stored as null or not at all: see `effectiveTiers`. */
  readonly tiers: ReadonlyMap<string, Tier> | undefined;
  readonly bucket: string;
  readonly accessKey: string;
  /** This, the session token and the encryption key are encrypted when `keyEncrypted`: volume/setting-secrets.ts. */
  readonly secretKey: string;
  readonly sessionToken: string;
  /** KiB. */
  readonly blockSize: bigint;
  readonly compression: string;
  readonly shards: bigint;
  readonly hashPrefix: boolean;
  /** Bytes, 0 = unlimited. */
  readonly capacity: bigint;
  /** 0 = unlimited. */
  readonly inodes: bigint;
  readonly encryptKey: string;
  readonly encryptAlgo: string;
  readonly keyEncrypted: boolean;
  /** Mbps, 0 = unlimited. */
  readonly uploadLimit: bigint;
  readonly downloadLimit: bigint;
  readonly trashDays: bigint;
  readonly metaVersion: bigint;
  readonly minClientVersion: string;
  readonly maxClientVersion: string;
  readonly dirStats: boolean;
  readonly userGroupQuota: boolean;
  readonly enableAcl: boolean;
  readonly rangerRestUrl: string;
  readonly rangerService: string;
  readonly changeLog: boolean;
  /** Seconds. */
  readonly changeLogMaxAge: bigint;
  readonly changeLogMaxLines: bigint;
  readonly kerbConf: string;
  /** Members that this version does not know, as they were read. */
  readonly unknown: ReadonlyMap<string, JsonValue>;
}

export interface SettingLayout {
  /**
   * `stored`: as in a database, one member per line without indentation; missing tiers are written as null.
   * `pretty`: as in a dump's head, `config` and `status`, two blanks per level; missing tiers are shown as tier 0.
   */
  readonly form: "stored" | "pretty";
  /** Level of the object itself in a pretty text: 1 inside a dump's head or `status`. Default 0. */
  readonly level?: number;
  /** Whether members that this version does not know are written. Default: `keep` when stored, `drop` when pretty. */
  readonly unknown?: "keep" | "drop";
}

type TextKey = { [K in keyof Setting]: Setting[K] extends string ? K : never }[keyof Setting];
type IntegerKey = { [K in keyof Setting]: Setting[K] extends bigint ? K : never }[keyof Setting];
type FlagKey = { [K in keyof Setting]: Setting[K] extends boolean ? K : never }[keyof Setting];

type Member =
  | { name: string; kind: "text"; key: TextKey; omit: boolean }
  | { name: string; kind: "integer"; key: IntegerKey; omit: boolean; unsigned: boolean }
  | { name: string; kind: "flag"; key: FlagKey; omit: boolean }
  | { name: string; kind: "tiers"; key: "tiers" };

const text = (name: string, key: TextKey, omit: boolean = true): Member => ({ name, kind: "text", key, omit });
const flag = (name: string, key: FlagKey, omit: boolean = true): Member => ({ name, kind: "flag", key, omit });
const integer = (name: string, key: IntegerKey, omit: boolean = true): Member => ({
  name,
  kind: "integer",
  key,
  omit,
  unsigned: false,
});
const unsigned = (name: string, key: IntegerKey): Member => ({
  name,
  kind: "integer",
  key,
  omit: true,
  unsigned: true,
});

/** Members in the order in which they are written (docs/spec/settings.md §2). */
const MEMBERS: readonly Member[] = [
  text("Name", "name", false),
  text("UUID", "uuid", false),
  text("Storage", "storage", false),
  text("StorageClass", "storageClass"),
  { name: "Tiers", kind: "tiers", key: "tiers" },
  text("Bucket", "bucket", false),
  text("AccessKey", "accessKey"),
  text("SecretKey", "secretKey"),
  text("SessionToken", "sessionToken"),
  integer("BlockSize", "blockSize", false),
  text("Compression", "compression"),
  integer("Shards", "shards"),
  flag("HashPrefix", "hashPrefix"),
  unsigned("Capacity", "capacity"),
  unsigned("Inodes", "inodes"),
  text("EncryptKey", "encryptKey"),
  text("EncryptAlgo", "encryptAlgo"),
  flag("KeyEncrypted", "keyEncrypted"),
  integer("UploadLimit", "uploadLimit"),
  integer("DownloadLimit", "downloadLimit"),
  integer("TrashDays", "trashDays", false),
  integer("MetaVersion", "metaVersion"),
  text("MinClientVersion", "minClientVersion"),
  text("MaxClientVersion", "maxClientVersion"),
  flag("DirStats", "dirStats"),
  flag("UserGroupQuota", "userGroupQuota"),
  flag("EnableACL", "enableAcl", false),
  text("RangerRestUrl", "rangerRestUrl"),
  text("RangerService", "rangerService"),
  flag("ChangeLog", "changeLog"),
  integer("ChangeLogMaxAge", "changeLogMaxAge"),
  integer("ChangeLogMaxLines", "changeLogMaxLines"),
  text("KerbConf", "kerbConf"),
];

const MEMBER_BY_NAME: ReadonlyMap<string, Member> = new Map(
  MEMBERS.map((member) => [member.name.toLowerCase(), member]),
);

/** A setting in which everything is empty, 0 or false. */
export const EMPTY_SETTING: Setting = {
  ...(Object.fromEntries(
    MEMBERS.map((member) => [member.key, { text: "", integer: 0n, flag: false, tiers: undefined }[member.kind]]),
  ) as unknown as Setting),
  unknown: new Map(),
};

/**
 * Reads a stored setting or the `Setting` of a dump. Member names match in any case, null counts as not there, members not
 * known are kept apart. Throws `DataError` for anything that is not such an object.
 */
export function parseSetting(json: Buffer | string): Setting {
  const source = typeof json === "string" ? json : json.toString("utf8");
  let value: JsonValue;
  try {
    value = parseJson(source);
  } catch (cause) {
    throw new DataError("DECANT_E_SETTING", `Cannot read the volume setting: ${(cause as Error).message}`, {
      cause,
      hint: SETTING_HINT,
    });
  }
  return settingFromJson(value);
}

/** What a setting lacks of that without which nobody can read the data of the files, or knows whose they are; undefined for a whole one. */
export function settingGap({ name, uuid, blockSize }: Setting): string | undefined {
  if (name === "" || uuid === "") return "it has no Name or no UUID";
  return blockSize > 0n ? undefined : "it has no BlockSize";
}

/** The same for a value parsed by `parseJson`. */
export function settingFromJson(value: JsonValue): Setting {
  if (!isObject(value)) throw wrongType("the volume setting", "an object", value);
  const known: Record<string, unknown> = {};
  const unknown = new Map<string, JsonValue>();
  for (const [name, content] of Object.entries(value)) {
    const member = MEMBER_BY_NAME.get(name.toLowerCase());
    if (member === undefined) unknown.set(name, content as JsonValue);
    else if (content !== null) known[member.key] = readMember(member, content as JsonValue);
  }
  return { ...EMPTY_SETTING, ...known, unknown };
}

function readMember(member: Member, value: JsonValue): unknown {
  switch (member.kind) {
    case "text":
      return readText(member.name, value);
    case "flag":
      if (typeof value !== "boolean") throw wrongType(member.name, "true or false", value);
      return value;
    case "integer":
      return readInteger(member.name, value, member.unsigned);
    case "tiers":
      return readTiers(value);
  }
}

function readText(name: string, value: JsonValue): string {
  if (typeof value !== "string") throw wrongType(name, "a text", value);
  return value;
}

function readInteger(name: string, value: JsonValue, isUnsigned: boolean): bigint {
  const kind = isUnsigned ? "an unsigned 64-bit integer" : "a 64-bit integer";
  if (!(value instanceof JsonNumber) || !/^-?\d+$/.test(value.source)) throw wrongType(name, kind, value);
  const number = BigInt(value.source);
  const fits = isUnsigned ? BigInt.asUintN(64, number) === number : BigInt.asIntN(64, number) === number;
  if (!fits) throw wrongType(name, kind, value);
  return number;
}

function readTiers(value: JsonValue): ReadonlyMap<string, Tier> {
  if (!isObject(value)) throw wrongType("Tiers", "an object", value);
  const tiers = new Map<string, Tier>();
  for (const [key, content] of Object.entries(value)) {
    if (!/^\d+$/.test(key) || BigInt(key) > 255n) throw wrongType("Tiers", "an object with tier numbers as names", key);
    tiers.set(BigInt(key).toString(), readTier(key, content as JsonValue));
  }
  return tiers;
}

function readTier(key: string, value: JsonValue): Tier {
  if (value === null) return { id: 0n, storageClass: "", tag: "" };
  if (!isObject(value)) throw wrongType(`Tiers["${key}"]`, "an object", value);
  let tier: Tier = { id: 0n, storageClass: "", tag: "" };
  for (const [name, content] of Object.entries(value)) {
    if (content === null || content === undefined) continue;
    const where = `Tiers["${key}"].${name}`;
    const lower = name.toLowerCase();
    if (lower === "id") tier = { ...tier, id: readInteger(where, content, false) };
    else if (lower === "storageclass") tier = { ...tier, storageClass: readText(where, content) };
    else if (lower === "tag") tier = { ...tier, tag: readText(where, content) };
  }
  return tier;
}

function isObject(value: JsonValue): value is { readonly [member: string]: JsonValue | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

function wrongType(name: string, wanted: string, value: JsonValue): DataError {
  const got = typeof value === "string" ? "a text" : formatJson(value).slice(0, 40);
  return new DataError("DECANT_E_SETTING", `Cannot read the volume setting: ${name} must be ${wanted}, got ${got}`, {
    hint: SETTING_HINT,
  });
}

const SETTING_HINT = "It was edited or damaged: correct the Setting by hand, or use a dump from before";

/** The tiers as clients see them: tier 0 with the old storage class where none are stored (docs/spec/settings.md §2). */
export function effectiveTiers(setting: Setting): ReadonlyMap<string, Tier> {
  return setting.tiers ?? new Map([["0", { id: 0n, storageClass: setting.storageClass, tag: "" }]]);
}

/** Writes a setting without a final newline, byte for byte as the reference does. */
export function formatSetting(setting: Setting, layout: SettingLayout): string {
  const pretty = layout.form === "pretty";
  const json = settingToJson(setting, {
    tiers: pretty ? "effective" : "stored",
    unknown: layout.unknown ?? (pretty ? "drop" : "keep"),
  });
  return formatJson(json, { indent: pretty ? 2 : 0, level: layout.level ?? 0 });
}

/** The members to write, in order, for a setting that stands inside a larger JSON document. */
export function settingToJson(
  setting: Setting,
  options: { readonly tiers: "stored" | "effective"; readonly unknown: "keep" | "drop" },
): ReadonlyMap<string, JsonValue> {
  const members = new Map<string, JsonValue>();
  for (const member of MEMBERS) {
    if (member.kind === "tiers") {
      const tiers = options.tiers === "effective" ? effectiveTiers(setting) : setting.tiers;
      members.set(member.name, tiers === undefined ? null : tiersToJson(tiers));
    } else {
      const value = setting[member.key];
      if (!member.omit || (value !== "" && value !== 0n && value !== false)) members.set(member.name, value);
    }
  }
  if (options.unknown === "keep") for (const [name, value] of setting.unknown) members.set(name, value);
  return members;
}

function tiersToJson(tiers: ReadonlyMap<string, Tier>): ReadonlyMap<string, JsonValue> {
  const keys = [...tiers.keys()].sort(); // as text: "0", "10", "2"
  return new Map(
    keys.map((key) => {
      const tier = tiers.get(key)!;
      return [key, { ID: tier.id, StorageClass: tier.storageClass, Tag: tier.tag }];
    }),
  );
}
