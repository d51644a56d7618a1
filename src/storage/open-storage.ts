import { UsageError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Setting } from "../volume/setting.ts";
import { EncryptedStorage, openObjectKey } from "./encrypted-storage.ts";
import { FileStorage } from "./file-storage.ts";
import type { ObjectStorage } from "./object-storage.ts";
import { ShardedStorage } from "./sharded-storage.ts";

/** Storage types that this version can reach. */
const REACHABLE = ["file"];

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
    throw new UsageError(
      "DECANT_E_STORAGE_PROBE",
      `This version of decant cannot probe object storage of type ${type}`,
      {
        hint: "Check bucket and keys yourself and set JFS_NO_CHECK_OBJECT_STORAGE=1 (format) or give --force (config) to skip the probe",
      },
    );
  }
  const key =
    setting.encryptKey === "" ? undefined : openObjectKey(setting.encryptKey, setting.encryptAlgo, options.env);
  const storage = setting.shards > 1n ? openShards(setting) : new FileStorage(setting.bucket, setting.name);
  return key === undefined ? storage : new EncryptedStorage(storage, key);
}

/** Whether `openStorage` can open this type. Throws `UsageError` for a type that does not exist. */
export function canReachStorage(setting: Setting): boolean {
  const type = setting.storage.toLowerCase();
  if (!KNOWN.has(type)) throw new UsageError("DECANT_E_STORAGE", `object storage: invalid storage: ${setting.storage}`);
  return REACHABLE.includes(type);
}

function openShards(setting: Setting): ObjectStorage {
  if (!setting.bucket.includes("%d")) {
    throw new UsageError("DECANT_E_SHARDS", `can not generate different endpoint using ${setting.bucket}`, {
      hint: "With --shards the bucket must contain %d, which becomes 0, 1, 2, ...",
    });
  }
  const shards = Array.from({ length: Number(setting.shards) }, (_, i) => {
    return new FileStorage(setting.bucket.replace("%d", String(i)), setting.name);
  });
  return new ShardedStorage(shards, setting.name);
}
