import { UsageError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { redactUrl } from "../base/redact-url.ts";
import type { Setting } from "../volume/setting.ts";
import { EncryptedStorage, openObjectKey } from "./encrypted-storage.ts";
import { FileStorage } from "./file-storage.ts";
import type { ObjectStorage } from "./object-storage.ts";
import { S3_TYPES, type S3Type } from "./s3/s3-address.ts";
import { ShardedStorage } from "./sharded-storage.ts";

/** Storage types that this version can reach: docs/storage.md. */
export const STORAGE_TYPES: readonly string[] = ["file", ...S3_TYPES];

/** Types of the reference's standard build (docs/spec/object-storage.md §4). */
const KNOWN = new Set(
  (
    "file s3 minio oss gs wasb cos obs bos ks3 tos oos eos ufile swift qingstor qiniu space wasabi scw ibmcos b2 storj " +
    "dragonfly webdav sftp hdfs nfs cifs smb redis tikv etcd sqlite3 mysql postgres mem"
  ).split(" "),
);

export interface OpenStorageOptions {
  /** For the pass phrase of a key and for credentials that the setting does not hold. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

/**
 * The object storage of a volume whose secrets are in clear (`decryptAllSecrets`): store, shards, prefix, encryption. Nothing is
 * asked of a server yet. Close it. Throws `UsageError` for a type that does not exist, and for one that this version cannot reach.
 */
export async function openStorage(setting: Setting, options: OpenStorageOptions): Promise<ObjectStorage> {
  const type = setting.storage.toLowerCase();
  if (!canReachStorage(setting)) {
    throw new UsageError("DECANT_E_STORAGE", `This version of decant cannot reach object storage of type ${type}`, {
      hint: `It can reach ${STORAGE_TYPES.join(", ")}. ${INSTEAD}`,
    });
  }
  const { encryptKey, encryptAlgo } = setting;
  const key = encryptKey === "" ? undefined : openObjectKey(encryptKey, encryptAlgo, options.env);
  const storage = setting.shards > 1n ? await openShards(setting, options) : await openBucket(setting, options);
  return key === undefined ? storage : new EncryptedStorage(storage, key);
}

const INSTEAD =
  "Many others have an address for the protocol of S3 too, which type s3 reaches. To leave the storage alone, check bucket and keys yourself and set JFS_NO_CHECK_OBJECT_STORAGE=1 (format) or give --force (config)";

/** Whether `openStorage` can open this type. Throws `UsageError` for a type that does not exist. */
export function canReachStorage(setting: Setting): boolean {
  const type = setting.storage.toLowerCase();
  if (!KNOWN.has(type)) throw new UsageError("DECANT_E_STORAGE", `object storage: invalid storage: ${setting.storage}`);
  return STORAGE_TYPES.includes(type);
}

/** What a server needs is loaded only when it is used: it takes time and memory. */
async function openBucket(setting: Setting, options: OpenStorageOptions): Promise<ObjectStorage> {
  const type = setting.storage.toLowerCase();
  if (type === "file") return new FileStorage(setting.bucket, setting.name);
  const { openS3Storage } = await import("./s3/s3-storage.ts");
  return openS3Storage(type as S3Type, setting, options);
}

async function openShards(setting: Setting, options: OpenStorageOptions): Promise<ObjectStorage> {
  if (!setting.bucket.includes("%d")) {
    throw new UsageError("DECANT_E_SHARDS", `can not generate different endpoint using ${redactUrl(setting.bucket)}`, {
      hint: "With --shards the bucket must contain %d, which becomes 0, 1, 2, ...",
    });
  }
  const shards: ObjectStorage[] = [];
  for (let i = 0; i < Number(setting.shards); i++) {
    shards.push(await openBucket({ ...setting, bucket: setting.bucket.replace("%d", String(i)) }, options));
  }
  return new ShardedStorage(shards, setting.name);
}
