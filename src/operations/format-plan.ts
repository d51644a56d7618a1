import { randomUUID } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { ConflictError, UsageError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { formatBytes } from "../base/units.ts";
import { EMPTY_SETTING, effectiveTiers, type Setting } from "../volume/setting.ts";
import { encryptSecrets } from "../volume/setting-secrets.ts";
import { raiseVersion } from "../volume/version.ts";
import { normalizeBucket } from "./bucket-address.ts";
import { applySecrets } from "./secret-changes.ts";

/** Values that a user gives; what is undefined is a default, or stays in an existing volume (docs/spec/settings.md §5). */
export interface FormatFlags {
  readonly storage?: string;
  readonly bucket?: string;
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly sessionToken?: string;
  readonly storageClass?: string;
  /** KiB. */
  readonly blockSize?: bigint;
  readonly compression?: string;
  /** PEM of a private key: objects are encrypted. */
  readonly encryptKey?: string;
  readonly encryptAlgo?: string;
  readonly hashPrefix?: boolean;
  readonly shards?: bigint;
  /** Bytes. */
  readonly capacity?: bigint;
  readonly inodes?: bigint;
  readonly trashDays?: bigint;
  readonly enableAcl?: boolean;
  readonly rangerRestUrl?: string;
  readonly rangerService?: string;
  /** Content of the file. */
  readonly kerbConf?: string;
}

const MIN_BLOCK_KIB = 64n;
const MAX_BLOCK_KIB = 16384n;
const MAX_SHARDS = 256n;

/** Throws `UsageError` for values that no volume can have, in the reference's words. */
export function assertFormatFlags(name: string, flags: FormatFlags): void {
  const refuse = (message: string): never => {
    throw new UsageError("DECANT_E_OPTION_VALUE", message);
  };
  if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(name)) {
    refuse(
      `invalid name: "${name}", only alphabet, number and - are allowed, and the length should be 3 to 63 characters.`,
    );
  }
  if (!["", "none", "lz4", "zstd"].includes((flags.compression ?? "").toLowerCase())) {
    refuse(`Unsupported compress algorithm: "${flags.compression}"`);
  }
  if ((flags.trashDays ?? 0n) < 0n) refuse(`Invalid trash days: ${flags.trashDays}`);
  const shards = flags.shards ?? 0n;
  if (shards > MAX_SHARDS) refuse(`too many shards: ${shards}`);
  for (const [flag, value] of [
    ["shards", shards],
    ["inodes", flags.inodes ?? 0n],
    ["trash-days", flags.trashDays ?? 0n],
  ] as const) {
    if (value < 0n || value >= 1n << 63n) refuse(`Invalid value "${value}" for "${flag}": out of range`);
  }
}

/** Rounds down to a power of two and clamps, with a warning. KiB. */
export function clampBlockSize(blockSize: bigint, logger: Logger): bigint {
  let power = 1n;
  while (power * 2n <= blockSize) power *= 2n;
  const used = power < MIN_BLOCK_KIB ? MIN_BLOCK_KIB : power > MAX_BLOCK_KIB ? MAX_BLOCK_KIB : power;
  const given = formatBytes((blockSize === 0n ? 0n : power) * 1024n);
  if (power < used) logger.warn(`block size is too small: ${given}, use ${formatBytes(used * 1024n)} instead`);
  if (power > used) logger.warn(`block size is too large: ${given}, use ${formatBytes(used * 1024n)} instead`);
  return used;
}

/** The setting of a new volume. Keys that no flag gives come from the environment. */
export function newSetting(
  name: string,
  flags: FormatFlags,
  context: { readonly env: Readonly<Record<string, string | undefined>>; readonly logger: Logger },
): Setting {
  const { env, logger } = context;
  const storage = flags.storage ?? "file";
  const storageClass = flags.storageClass ?? "";
  const given = (flag: string | undefined, variable: string) => (flag ?? "") || (env[variable] ?? "");
  return encryptSecrets({
    ...EMPTY_SETTING,
    name,
    uuid: randomUUID(),
    storage,
    storageClass,
    tiers: new Map([["0", { id: 0n, storageClass, tag: "" }]]),
    bucket: normalizeBucket(storage, flags.bucket ?? defaultBucket()),
    accessKey: given(flags.accessKey, "ACCESS_KEY"),
    secretKey: given(flags.secretKey, "SECRET_KEY"),
    sessionToken: given(flags.sessionToken, "SESSION_TOKEN"),
    blockSize: clampBlockSize(flags.blockSize ?? 4096n, logger),
    compression: flags.compression ?? "none",
    shards: flags.shards ?? 0n,
    hashPrefix: flags.hashPrefix ?? false,
    capacity: flags.capacity ?? 0n,
    inodes: flags.inodes ?? 0n,
    encryptKey: flags.encryptKey ?? "",
    encryptAlgo: flags.encryptAlgo ?? "aes256gcm-rsa",
    trashDays: flags.trashDays ?? 1n,
    metaVersion: 1n,
    minClientVersion: minimumVersion(flags),
    dirStats: true,
    enableAcl: flags.enableAcl ?? false,
    rangerRestUrl: flags.rangerRestUrl ?? "",
    rangerService: flags.rangerService ?? "",
    kerbConf: flags.kerbConf ?? "",
  });
}

function defaultBucket(): string {
  return process.getuid?.() === 0 ? "/var/jfs" : join(homedir(), ".juicefs", "local");
}

function minimumVersion(flags: FormatFlags): string {
  let version = "1.1.0-A";
  if (flags.enableAcl === true) version = raiseVersion(version, "1.2.0-A");
  if ((flags.rangerRestUrl ?? "") !== "" || (flags.rangerService ?? "") !== "")
    version = raiseVersion(version, "1.3.0-A");
  return (flags.kerbConf ?? "") === "" ? version : raiseVersion(version, "1.4.0-A");
}

/** Flags that only count for a new volume. */
const ONLY_NEW: readonly (readonly [keyof FormatFlags, string])[] = [
  ["encryptKey", "encrypt-rsa-key"],
  ["encryptAlgo", "encrypt-algo"],
];
/** Flags that the reference passes over in silence here. */
const ONLY_CONFIG: readonly (readonly [keyof FormatFlags, string])[] = [
  ["storageClass", "storage-class"],
  ["enableAcl", "enable-acl"],
];

/** What an existing volume's setting becomes. Throws `ConflictError` for what must not change, unless forced. */
export function updatedSetting(
  stored: Setting,
  name: string,
  flags: FormatFlags,
  options: { readonly force: boolean; readonly logger: Logger },
): Setting {
  const { logger } = options;
  for (const [key, flag] of ONLY_NEW) {
    if (flags[key] !== undefined) logger.warn(`Flag "${flag}" is ignored since it cannot be updated`);
  }
  for (const [key, flag] of ONLY_CONFIG) {
    if (flags[key] !== undefined)
      logger.warn(`Flag "${flag}" is ignored for an existing volume: use the config command`);
  }
  const storage = flags.storage ?? stored.storage;
  const next: Setting = {
    ...applySecrets(stored, flags),
    name,
    storage,
    bucket: flags.bucket === undefined ? stored.bucket : normalizeBucket(storage, flags.bucket),
    accessKey: flags.accessKey ?? stored.accessKey,
    blockSize: flags.blockSize === undefined ? stored.blockSize : clampBlockSize(flags.blockSize, logger),
    compression: flags.compression ?? stored.compression,
    shards: flags.shards ?? stored.shards,
    hashPrefix: flags.hashPrefix ?? stored.hashPrefix,
    capacity: flags.capacity ?? stored.capacity,
    inodes: flags.inodes ?? stored.inodes,
    trashDays: flags.trashDays ?? stored.trashDays,
    metaVersion: 1n,
    rangerRestUrl: flags.rangerRestUrl ?? stored.rangerRestUrl,
    rangerService: flags.rangerService ?? stored.rangerService,
    kerbConf: flags.kerbConf ?? stored.kerbConf,
    tiers: effectiveTiers(stored),
  };
  if (!options.force) refuseChanged(stored, next);
  return next;
}

/** The order of docs/spec/settings.md §4. */
function refuseChanged(stored: Setting, next: Setting): void {
  const fixed = [
    ["volume name", "name"],
    ["volume block size", "blockSize"],
    ["volume compression", "compression"],
    ["volume shards", "shards"],
    ["volume hash prefix", "hashPrefix"],
    ["volume meta version", "metaVersion"],
  ] as const;
  for (const [label, key] of fixed) {
    if (stored[key] === next[key]) continue;
    throw new ConflictError(
      "DECANT_E_FIXED_SETTING",
      `format: update format: cannot update ${label} from ${stored[key]} to ${next[key]}`,
      { hint: "The data in the object storage is laid out by it" },
    );
  }
}
