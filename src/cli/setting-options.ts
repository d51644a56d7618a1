import { readFile } from "node:fs/promises";
import { FileError, fileReason, NotFoundError } from "../base/errors.ts";
import type { FormatFlags } from "../operations/format-plan.ts";
import type { OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

const STORAGE = "Data storage";
const MANAGEMENT = "Management";

/** Options of `format` and `config` alike (docs/spec/settings.md §5, §6). */
export const STORAGE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--storage <TYPE>",
    description: "object storage type (e.g. s3, gs, oss, cos)",
    default: "file",
    group: STORAGE,
  },
  {
    flags: "--bucket <URL>",
    description: "the bucket URL of object storage to store data",
    default: "/var/jfs",
    group: STORAGE,
  },
  { flags: "--access-key <KEY>", description: "access key for object storage", group: STORAGE },
  { flags: "--secret-key <KEY>", description: "secret key for object storage; '' deletes it", group: STORAGE },
  { flags: "--session-token <TOKEN>", description: "session token for object storage; '' deletes it", group: STORAGE },
  { flags: "--storage-class <CLASS>", description: "the default storage class", group: STORAGE },
  { flags: "--tag <KEY=VALUE>", description: "custom tag when uploading to object storage", group: STORAGE },
];

export const MANAGEMENT_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--capacity <SIZE>",
    description: "hard quota of the volume limiting its usage of space, in GiB or with a unit; 0 for none",
    group: MANAGEMENT,
  },
  {
    flags: "--inodes <N>",
    description: "hard quota of the volume limiting its number of inodes; 0 for none",
    group: MANAGEMENT,
  },
  {
    flags: "--trash-days <N>",
    description: "number of days after which removed files will be permanently deleted",
    default: "1",
    group: MANAGEMENT,
  },
  {
    flags: "--enable-acl",
    description: "enable POSIX ACL (this flag is irreversible once enabled)",
    group: MANAGEMENT,
  },
  { flags: "--ranger-rest-url <URL>", description: "URL of the RangerAdmin", group: MANAGEMENT },
  { flags: "--ranger-service <NAME>", description: "name of the Ranger service used for JuiceFS", group: MANAGEMENT },
  { flags: "--kerberos-config-file <FILE>", description: "path to the Kerberos configuration file", group: MANAGEMENT },
];

type SharedFlags = Pick<
  FormatFlags,
  | "storage"
  | "bucket"
  | "accessKey"
  | "secretKey"
  | "sessionToken"
  | "storageClass"
  | "capacity"
  | "inodes"
  | "trashDays"
  | "enableAcl"
  | "rangerRestUrl"
  | "rangerService"
  | "kerbConf"
>;

/** Reads the options above; what was not given is left out. */
export async function readSharedFlags(options: OptionValues): Promise<SharedFlags> {
  const kerberosFile = options.text("kerberos-config-file");
  const kerbConf =
    kerberosFile === undefined
      ? undefined
      : await readTextFile(kerberosFile, `load Kerberos config from "${kerberosFile}"`);
  return given({
    storage: options.text("storage"),
    bucket: options.text("bucket"),
    accessKey: options.text("access-key"),
    secretKey: options.text("secret-key"),
    sessionToken: options.text("session-token"),
    storageClass: options.text("storage-class"),
    capacity: options.size("capacity", "G"),
    inodes: options.integer("inodes"),
    trashDays: options.integer("trash-days"),
    enableAcl: options.given("enable-acl"),
    rangerRestUrl: options.text("ranger-rest-url"),
    rangerService: options.text("ranger-service"),
    kerbConf,
  });
}

/** Leaves out the members that are undefined. */
export function given<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Throws `FileError` beginning with `purpose`. */
export async function readTextFile(file: string, purpose: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const message = `${purpose}: ${fileReason(cause)}`;
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") {
      throw new NotFoundError("DECANT_E_FILE_NOT_FOUND", message, { cause });
    }
    throw new FileError("DECANT_E_FILE", message, { cause });
  }
}
