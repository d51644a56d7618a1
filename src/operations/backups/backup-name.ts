import type { CompressionName } from "../../formats/container/output.ts";
import type { DumpFormat } from "../../formats/dump-format.ts";

/**
 * Names of backups in a volume's object storage. A gzip JSON dump lies where the reference keeps its own, under the reference's
 * exact name (docs/spec/auto-backup.md §7), so that its clients see an ordinary backup. Everything else lies below `decant/`,
 * which no client of the reference looks at.
 */
export interface BackupName {
  /** Below the volume's prefix. */
  readonly key: string;
  /** The last part of the key, which no other backup of the volume has. */
  readonly name: string;
  /** When it was begun, whole seconds. */
  readonly time: Date;
  readonly format: DumpFormat;
  readonly compression: CompressionName;
}

/** Where backups may lie. */
export const BACKUP_FOLDERS = ["meta/", "decant/backups/"] as const;

const NAME = /^dump-(\d{4})-(\d{2})-(\d{2})-(\d{2})(\d{2})(\d{2})\.(json|bin)(\.gz|\.zst)?$/;

const SUFFIX: Readonly<Record<CompressionName, string>> = { none: "", gzip: ".gz", zstd: ".zst" };

/** The name of a backup begun at that time; parts of a second are cut off. */
export function backupName(time: Date, format: DumpFormat, compression: CompressionName): BackupName {
  const second = new Date(Math.floor(time.getTime() / 1000) * 1000);
  const digits = second.toISOString().replace(/T/, "-").replaceAll(":", "").slice(0, 17);
  const name = `dump-${digits}.${format === "json" ? "json" : "bin"}${SUFFIX[compression]}`;
  return { key: folderOf(format, compression) + name, name, time: second, format, compression };
}

/**
 * What a key says of a backup; undefined for everything that is not exactly the name of one, such as a date that does not exist
 * or an object in a sub-folder: those are never touched.
 */
export function parseBackupKey(key: string): BackupName | undefined {
  const folder = BACKUP_FOLDERS.find((each) => key.startsWith(each));
  if (folder === undefined) return undefined;
  const match = NAME.exec(key.slice(folder.length));
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, suffix, packing] = match;
  const text = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const time = new Date(text);
  // A 30th of February becomes a day of March, an hour 25 no date at all.
  if (Number.isNaN(time.getTime()) || time.toISOString() !== text) return undefined;
  const format = suffix === "json" ? "json" : "binary";
  const compression = packing === ".gz" ? "gzip" : packing === ".zst" ? "zstd" : "none";
  if (folderOf(format, compression) !== folder) return undefined;
  return { key, name: match[0], time, format, compression };
}

function folderOf(format: DumpFormat, compression: CompressionName): (typeof BACKUP_FOLDERS)[number] {
  return format === "json" && compression === "gzip" ? "meta/" : "decant/backups/";
}
