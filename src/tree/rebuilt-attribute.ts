import { encodeAttribute, newDirectoryAttribute } from "../volume/attribute.ts";
import { FILE_TYPE_NAMES, FileType } from "../volume/file-type.ts";
import { CHUNK_BYTES } from "../volume/inode.ts";
import { SLICE_BYTES } from "../volume/slices.ts";

/** What there is of an inode whose record is lost. */
export interface InodeRemains {
  /** By its first directory entry; 0 = it has none, or one that does not know. */
  readonly entryType: number;
  readonly hasTarget: boolean;
  readonly hasChunks: boolean;
  /** Other inodes have it as their directory. */
  readonly hasEntries: boolean;
}

/**
 * The type that an inode has most likely had. Only files have chunks, and only symbolic links a target: that decides also against an
 * entry, for what hung on an inode of another type would be lost.
 */
export function rebuiltType({ entryType, hasTarget, hasChunks, hasEntries }: InodeRemains): number {
  if (hasChunks) return FileType.regular;
  if (hasTarget) return FileType.symlink;
  if (entryType >= FileType.regular && entryType <= FileType.socket) return entryType;
  return hasEntries ? FileType.directory : FileType.regular;
}

/** An attribute record of the superuser that lets nobody else in. Link counts and parents are for consolidation. */
export function rebuiltAttribute(type: number, length: bigint, seconds: bigint): Buffer {
  const isDirectory = type === FileType.directory;
  return encodeAttribute({
    ...newDirectoryAttribute(MODES.get(type) ?? 0o600, seconds),
    type,
    nlink: isDirectory ? 2 : 1,
    length: isDirectory ? 4096n : length,
    parent: 0n,
  });
}

const MODES: ReadonlyMap<number, number> = new Map([
  [FileType.directory, 0o700],
  [FileType.symlink, 0o777],
]);

/** What was rebuilt, for people. */
export function rebuiltText(type: number, length: bigint): string {
  const hasLength = type === FileType.regular || type === FileType.symlink;
  return `${FILE_TYPE_NAMES[type]}${hasLength ? `, ${length} bytes` : ""}`;
}

/** Bytes of a chunk up to the end of the slice that reaches farthest: packed slices at `view[start..end)`. */
export function describedBytes(view: DataView, start: number, end: number): number {
  let bytes = 0;
  for (let at = start; at + SLICE_BYTES <= end; at += SLICE_BYTES) {
    bytes = Math.max(bytes, view.getUint32(at) + view.getUint32(at + SLICE_LENGTH));
  }
  return Math.min(bytes, CHUNK_BYTES); // what a damaged slice says beyond that is in the next chunk
}

/** Offset of a slice's length in its record (volume/slices.ts). */
const SLICE_LENGTH = 20;
