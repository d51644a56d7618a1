import { silentLogger } from "../../base/logger.ts";
import { ATTR_LENGTH, ATTR_MIN_BYTES } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import type { Tally, VolumeUsage } from "../engine.ts";
import { Notes } from "../notes.ts";
import { signedOrZero } from "./decimal.ts";
import { copyPairs, hashPages, sortedSetPages } from "./hash-pages.ts";
import type { RespConnection } from "./resp-connection.ts";

/** A slice in `delSlices`: id and size (docs/spec/redis.md §7.4). */
const DELAYED_SLICE_BYTES = 12;
const ATTRIBUTES_PER_CALL = 1000;

/** The numbers of `status` (docs/spec/settings.md §7). */
export async function readVolumeUsage(connection: RespConnection, prefix: Buffer, more: boolean): Promise<VolumeUsage> {
  const key = (name: string): Buffer => Buffer.concat([prefix, Buffer.from(name)]);
  const [space, inodes] = (await connection.call(["MGET", key("usedSpace"), key("totalInodes")])) as (Buffer | null)[];
  const usage: VolumeUsage = {
    usedSpace: signedOrZero(space),
    totalInodes: signedOrZero(inodes),
  };
  if (!more) return usage;
  return {
    ...usage,
    trashFiles: await trashFiles(connection, key),
    pendingDeletedFiles: await deletedFiles(connection, key),
    trashSlices: await delayedSlices(connection, key),
    pendingDeletedSlices: await releasedSlices(connection, key),
  };
}

type KeyOf = (name: string) => Buffer;

/** Entries of the trash's hour directories; only regular files have a size. */
async function trashFiles(connection: RespConnection, key: KeyOf): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  const notes = new Notes(silentLogger);
  const hours: bigint[] = [];
  for await (const page of hashPages(connection, key(`d${TRASH_INODE}`), notes)) {
    for (const [, value] of copyPairs(page)) if (value.length === 9) hours.push(value.readBigUInt64BE(1));
  }
  for (const hour of hours) {
    for await (const page of hashPages(connection, key(`d${hour}`), notes)) {
      const entries = copyPairs(page).filter(([, value]) => value.length === 9);
      const files = entries.filter(([, value]) => value[0] === FileType.regular);
      total.count += BigInt(entries.length - files.length);
      for (let first = 0; first < files.length; first += ATTRIBUTES_PER_CALL) {
        const part = files.slice(first, first + ATTRIBUTES_PER_CALL);
        const keys = part.map(([, value]) => key(`i${value.readBigUInt64BE(1)}`));
        for (const attribute of (await connection.call(["MGET", ...keys])) as (Buffer | null)[]) {
          if (attribute === null || attribute.length < ATTR_MIN_BYTES) continue;
          total.count++;
          total.bytes += attribute.readBigUInt64BE(ATTR_LENGTH);
        }
      }
    }
  }
  return total;
}

async function deletedFiles(connection: RespConnection, key: KeyOf): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const page of sortedSetPages(connection, key("delfiles"), new Notes(silentLogger))) {
    for (const [member] of copyPairs(page)) {
      const length = deletedFileLength(member);
      if (length === undefined) continue;
      total.count++;
      total.bytes += length;
    }
  }
  return total;
}

/** Replaced slices that are kept for the trash period. */
async function delayedSlices(connection: RespConnection, key: KeyOf): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const page of hashPages(connection, key("delSlices"), new Notes(silentLogger))) {
    for (const [, slices] of copyPairs(page)) {
      const { count, bytes } = delayedSliceTally(slices);
      total.count += count;
      total.bytes += bytes;
    }
  }
  return total;
}

/** Slices without any reference left: a negative value in `sliceRef` (docs/spec/redis.md §7.3). */
async function releasedSlices(connection: RespConnection, key: KeyOf): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const page of hashPages(connection, key("sliceRef"), new Notes(silentLogger))) {
    for (const [field, value] of copyPairs(page)) {
      const size = releasedSliceSize(field, value);
      if (size === undefined) continue;
      total.count++;
      total.bytes += size;
    }
  }
  return total;
}

/** Length of the file that a member of `delfiles` stands for, undefined in an old or damaged form. */
export function deletedFileLength(member: Buffer): bigint | undefined {
  const length = /^[0-9]+:([0-9]+)$/.exec(member.toString("latin1"));
  return length === null ? undefined : BigInt(length[1]!);
}

/** The slices of a value of `delSlices`. A damaged list is left out as a whole, as the reference does it. */
export function delayedSliceTally(slices: Buffer): Tally {
  let [count, bytes] = [0n, 0n];
  if (slices.length % DELAYED_SLICE_BYTES !== 0) return { count, bytes };
  for (let at = 0; at < slices.length; at += DELAYED_SLICE_BYTES) {
    count++;
    bytes += BigInt(slices.readUInt32BE(at + 8));
  }
  return { count, bytes };
}

/** Size of a slice of `sliceRef` without any reference left, undefined for all others. */
export function releasedSliceSize(field: Buffer, value: Buffer): bigint | undefined {
  const size = /^k[0-9]+_([0-9]+)$/.exec(field.toString("latin1"));
  return size === null || signedOrZero(value) >= 0n ? undefined : BigInt(size[1]!);
}
