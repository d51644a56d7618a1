import { readFile } from "node:fs/promises";
import { ConflictError, DataError, UsageError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { redactUrl } from "../../base/redact-url.ts";
import type { MetadataStore } from "../../engines/engine.ts";
import { openStore } from "../../engines/registry.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { openStorage, STORAGE_TYPES } from "../../storage/open-storage.ts";
import { EMPTY_SETTING, type Setting } from "../../volume/setting.ts";
import { decryptSecrets, REMOVED, SECRET_NAMES, type SecretMember } from "../../volume/setting-secrets.ts";
import { normalizeBucket } from "../bucket-address.ts";
import type { OperationContext } from "../context.ts";
import { readVolumeSetting } from "../volume-setting.ts";

/** Where a volume keeps its backups. */
export interface BackupPlaceRequest {
  /** The volume by its META-URL, or by its bucket, for when the database is gone: in parts, or as `parseBucketUrl` takes it. */
  readonly volume: string | BucketAddress;
  /** Private key of an encrypted volume: a PEM file; pass phrase in `JFS_RSA_PASSPHRASE`. Default: the key in the setting. */
  readonly encryptKeyFile?: string;
  /** `aes256gcm-rsa` (default), `chacha20-rsa`, `sm4gcm`; that of the setting where there is one. */
  readonly encryptAlgorithm?: string;
}

/** Keys come from `ACCESS_KEY`, `SECRET_KEY` and `SESSION_TOKEN` in the environment. */
export interface BucketAddress {
  readonly storage: string;
  readonly bucket: string;
  /** Name of the volume. */
  readonly name: string;
  readonly shards?: number;
}

/**
 * Reads the address of a volume in its bucket, as `status` and log lines show it: `file:///var/jfs/myjfs/`,
 * `minio://host:9000/bucket/myjfs/`, `s3://bucket/myjfs/`. The last part is the name of the volume. Undefined for what is no
 * address of an object storage that can be reached; throws `UsageError` where a part is missing.
 */
export function parseBucketUrl(text: string): BucketAddress | undefined {
  const [, storage = "", path = "", query = ""] = /^([a-z0-9]+):\/\/([^?]*)(\?.*)?$/i.exec(text) ?? [];
  if (!STORAGE_TYPES.includes(storage.toLowerCase())) return undefined;
  const [, bucket = "", name = ""] = /^(.*)\/([^/]+)\/*$/.exec(path) ?? [];
  const isPath = storage.toLowerCase() === "file";
  if (name !== "" && (bucket !== "" || (isPath && path.startsWith("/")))) {
    return { storage, bucket: (isPath ? `${bucket}/` : bucket) + query, name };
  }
  throw new UsageError("DECANT_E_BUCKET", `The address ${redactUrl(text)} does not name a bucket and a volume in it`, {
    hint: "Give it like file:///var/jfs/myjfs or minio://host:9000/bucket/myjfs: the last part is the name of the volume",
  });
}

/** An opened place. Close it in any case. */
export interface BackupPlace {
  readonly storage: ObjectStorage;
  /** Undefined where the place was given by its bucket. */
  readonly store: MetadataStore | undefined;
  /** UUID: empty where nothing tells it. */
  readonly volume: { readonly name: string; readonly uuid: string };
  /** What the storage was opened with, secrets in clear: of a bucket only its address and its keys. */
  readonly setting: Setting;
  /** Never throws. */
  close(): Promise<void>;
}

type Env = OperationContext["env"];

/**
 * Opens the object storage of a volume, and its database when it was given by that. Throws `ConflictError` when the bucket belongs to
 * another volume, `DataError` when a secret is missing, and what opening the two throws.
 */
export async function openBackupPlace(request: BackupPlaceRequest, context: OperationContext): Promise<BackupPlace> {
  const { signal, logger, env } = context;
  const bucket = typeof request.volume === "string" ? parseBucketUrl(request.volume) : request.volume;
  if (bucket !== undefined) return openBucket(request, bucket, context);
  const store = await openStore(request.volume as string, { logger, signal, env, tmpDir: context.memory.tmpDir });
  try {
    const stored = await readVolumeSetting(store, signal);
    const setting = usableSecrets(stored, env, await givenKey(request, stored.encryptAlgo, context));
    const storage = await openOwnStorage(setting, context);
    return {
      storage,
      store,
      volume: { name: setting.name, uuid: setting.uuid },
      setting,
      close: async () => {
        await storage.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** A private key that stands in for that of the setting. */
export interface GivenKey {
  readonly pem: string;
  readonly algorithm: string;
}

/** The object storage of a volume by its setting as it is stored. Throws as `openBackupPlace` does. */
export async function openVolumeStorage(
  setting: Setting,
  context: OperationContext,
  key?: GivenKey,
): Promise<ObjectStorage> {
  return openOwnStorage(usableSecrets(setting, context.env, key), context);
}

async function openOwnStorage(setting: Setting, context: OperationContext): Promise<ObjectStorage> {
  const storage = await openStorage(setting, context);
  try {
    await checkOwner(storage, setting.uuid, context);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function openBucket(
  request: BackupPlaceRequest,
  { storage: type, bucket, name, shards }: BucketAddress,
  context: OperationContext,
): Promise<BackupPlace> {
  const { env } = context;
  const storageType = type.toLowerCase();
  const setting: Setting = {
    ...EMPTY_SETTING,
    name,
    storage: storageType,
    bucket: normalizeBucket(storageType, bucket),
    accessKey: env.ACCESS_KEY ?? "",
    secretKey: env.SECRET_KEY ?? "",
    sessionToken: env.SESSION_TOKEN ?? "",
    shards: BigInt(shards ?? 0),
  };
  const key = await givenKey(request, "", context);
  const usable = usableSecrets(setting, env, key);
  const storage = await openStorage(usable, context);
  try {
    const uuid = await readOwner(storage, context);
    const volume = { name, uuid: uuid ?? "" };
    return { storage, store: undefined, volume, setting: usable, close: () => storage.close() };
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function givenKey(
  { encryptKeyFile: file, encryptAlgorithm }: BackupPlaceRequest,
  algorithm: string,
  { signal }: OperationContext,
): Promise<GivenKey | undefined> {
  if (file === undefined) return undefined;
  const pem = await readFile(file, { encoding: "latin1", signal }).catch((error: unknown) => {
    throw fileError("read the key file", file, error);
  });
  return { pem, algorithm: encryptAlgorithm ?? (algorithm || "aes256gcm-rsa") };
}

/** Where a secret that a dump has removed can be given instead. */
const VARIABLES: Readonly<Partial<Record<SecretMember, string>>> = {
  secretKey: "SECRET_KEY",
  sessionToken: "SESSION_TOKEN",
};

/** Secrets in clear. A directory needs none of those of a server. */
function usableSecrets(stored: Setting, env: Env, key: GivenKey | undefined): Setting {
  const { setting, problems } = decryptSecrets(stored);
  const isServer = setting.storage.toLowerCase() !== "file";
  let usable = key === undefined ? setting : { ...setting, encryptKey: key.pem, encryptAlgo: key.algorithm };
  for (const member of ["secretKey", "sessionToken", "encryptKey"] as const) {
    if (member === "encryptKey" && key !== undefined) continue;
    const problem = problems.find((each) => each.member === member);
    const isRemoved = setting[member] === REMOVED;
    if (!isRemoved && problem === undefined) continue;
    const variable = VARIABLES[member];
    const value = variable === undefined ? undefined : env[variable];
    if (value !== undefined && value !== "") usable = { ...usable, [member]: value };
    else if (member !== "encryptKey" && !isServer) usable = { ...usable, [member]: "" };
    else throw secretError(stored, member, isRemoved ? "was removed by a dump" : `is damaged: ${problem?.message}`);
  }
  return usable;
}

function secretError({ name }: Setting, member: SecretMember, reason: string): DataError {
  const variable = VARIABLES[member];
  const flag = member === "secretKey" ? "--secret-key" : "--session-token";
  return new DataError("DECANT_E_SECRET", `${SECRET_NAMES[member]} of volume ${name} ${reason}`, {
    hint:
      variable === undefined
        ? "Give the volume's private key with --encrypt-rsa-key"
        : `Store it again with decant config ${flag}, or set the environment variable ${variable}`,
  });
}

/** Where clients keep the UUID of the volume (docs/spec/object-storage.md §2). */
const OWNER_KEY = "juicefs_uuid";

async function readOwner(storage: ObjectStorage, { signal }: OperationContext): Promise<string | undefined> {
  if ((await storage.head(OWNER_KEY, signal)) === undefined) return undefined;
  const uuid = (await storage.get(OWNER_KEY, signal)).toString("utf8").trim();
  if (!/^[\x21-\x7e]+$/.test(uuid)) throw unreadableOwner(storage);
  return uuid;
}

function unreadableOwner(storage: ObjectStorage): DataError {
  return new DataError("DECANT_E_OWNER", `Object ${storage.displayName}${OWNER_KEY} does not name a volume`, {
    hint: "The volume is encrypted, or the object is damaged: give the private key of the volume with --encrypt-rsa-key",
  });
}

/** Cleaning up among the backups of another volume would be the end of them. */
async function checkOwner(storage: ObjectStorage, uuid: string, context: OperationContext): Promise<void> {
  const owner = await readOwner(storage, context);
  if (owner === undefined || owner === uuid) return;
  throw new ConflictError(
    "DECANT_E_OTHER_VOLUME",
    `Object storage ${storage.displayName} belongs to volume ${owner}, not to ${uuid}`,
    { hint: "Two volumes of one name must not share a bucket: check bucket and name in the setting (decant config)" },
  );
}

/** The database of a place. Throws `UsageError` where there is none. */
export function storeOf(place: BackupPlace): MetadataStore {
  if (place.store !== undefined) return place.store;
  throw new UsageError("DECANT_E_NO_META_URL", "This needs the database of the volume, not its bucket alone", {
    hint: "Give the META-URL instead of --bucket",
  });
}
