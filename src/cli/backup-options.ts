import { UsageError } from "../base/errors.ts";
import type { BackupPlaceRequest } from "../operations/backups/backup-place.ts";
import { DEFAULT_POLICY_TEXT } from "../operations/backups/retention-policy.ts";
import type { ArgumentSpec, CommandGroup, Invocation, OptionSpec } from "./command-spec.ts";
import type { OptionValues } from "./option-values.ts";

export const BACKUPS_GROUP: CommandGroup = {
  name: "backups",
  summary: "List, verify, pin, clean up and fetch the backups in a volume's bucket",
  description:
    "What can be done with the backups in the object storage of a volume, those of juicefs clients and those of decant " +
    "(docs/backups.md). The volume is given by its META-URL or, when its database is gone, by its bucket.",
};

export const META_URL: ArgumentSpec = {
  name: "META-URL",
  required: false,
  description:
    "address of the volume's metadata, or, when its database is gone, that of the volume in its bucket, such as " +
    "file:///var/jfs/myjfs or minio://host:9000/bucket/myjfs; left out with --bucket",
};

export const BACKUP_NAME: ArgumentSpec = {
  name: "BACKUP",
  required: false,
  description: "name of the backup, as list shows it; latest = the newest verified one",
};

const BUCKET = "Bucket instead of META-URL";

/** Where the backups are, when that is not told by a META-URL, and how to decrypt them. */
export const PLACE_OPTIONS: readonly OptionSpec[] = [
  { flags: "--bucket <ADDRESS>", description: "bucket of the volume, as format takes it", group: BUCKET },
  {
    flags: "--storage <TYPE>",
    description: "type of the object storage; keys: ACCESS_KEY, SECRET_KEY, SESSION_TOKEN in the environment",
    default: "file",
    group: BUCKET,
  },
  { flags: "--volume <NAME>", description: "name of the volume", group: BUCKET },
  { flags: "--shards <N>", description: "number of buckets, with %d in the address", group: BUCKET },
  {
    flags: "--encrypt-rsa-key <PEM>",
    description:
      "private key of an encrypted volume, in place of that in its setting (pass phrase: JFS_RSA_PASSPHRASE)",
  },
  {
    flags: "--encrypt-algo <ALGO>",
    description: "aes256gcm-rsa, chacha20-rsa or sm4gcm",
    default: "the setting's, or aes256gcm-rsa",
  },
];

export const POLICY_OPTION: OptionSpec = {
  flags: "--policy <RULES>",
  description:
    "which backups stay: all, hour, day, week, month or year = how far back one of each stays (h, d, w, mo, y, forever)",
  default: DEFAULT_POLICY_TEXT,
};

export const NO_WAIT_OPTION: OptionSpec = {
  flags: "--no-wait",
  description: "fail with 5 instead of waiting while another process makes or cleans up backups",
};

/** How many arguments a command takes besides META-URL. */
export interface ArgumentCount {
  readonly least: number;
  readonly most: number;
}

/** The place, and the arguments that are left. Throws `UsageError` for too few and too many, and for half an address. */
export function readPlace(
  { args, options }: Invocation,
  { least, most }: ArgumentCount,
): { place: BackupPlaceRequest; rest: readonly string[] } {
  const bucket = readBucket(options);
  const own = bucket === undefined ? 1 : 0;
  if (args.length < own + least) {
    throw new UsageError("DECANT_E_USAGE", `This command requires at least ${own + least} arguments`, {
      hint: own === 1 && args.length === 0 ? "Give a META-URL, or --bucket and --volume" : "Run it with --help",
    });
  }
  if (args.length > own + most) {
    throw new UsageError(
      "DECANT_E_USAGE",
      `This command accept at most ${own + most} arguments but got ${args.length}`,
      {
        hint: bucket === undefined ? "Run it with --help" : "With --bucket there is no META-URL",
      },
    );
  }
  return { place: { volume: bucket ?? args[0]!, ...readKey(options) }, rest: args.slice(own) };
}

/** The bucket that is given in parts; undefined where none is. */
export function readBucket(options: OptionValues): Exclude<BackupPlaceRequest["volume"], string> | undefined {
  const [bucket, name, storage] = [options.text("bucket"), options.text("volume"), options.text("storage")];
  const shards = options.integer("shards");
  if (bucket === undefined && name === undefined && storage === undefined && shards === undefined) return undefined;
  if (bucket === undefined || bucket === "" || name === undefined || name === "") {
    throw new UsageError(
      "DECANT_E_USAGE",
      `A bucket needs --bucket and --volume: ${bucket ? "--volume" : "--bucket"} is missing`,
      {
        hint: "Objects of a volume lie below its name in the bucket",
      },
    );
  }
  if (shards !== undefined && (shards < 0n || shards > 256n)) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${shards}" for "shards": not 0 to 256`);
  }
  return { storage: storage ?? "file", bucket, name, ...(shards === undefined ? {} : { shards: Number(shards) }) };
}

/** The private key of an encrypted volume, where one was given. */
export function readKey(options: OptionValues): Pick<BackupPlaceRequest, "encryptKeyFile" | "encryptAlgorithm"> {
  const [file, algorithm] = [options.text("encrypt-rsa-key"), options.text("encrypt-algo")];
  return {
    ...(file === undefined ? {} : { encryptKeyFile: file }),
    ...(algorithm === undefined ? {} : { encryptAlgorithm: algorithm }),
  };
}
