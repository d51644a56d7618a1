import { ATTR_LENGTH, ATTR_MIN_BYTES } from "../../volume/attribute.ts";
import { FileType } from "../../volume/file-type.ts";
import { TRASH_INODE } from "../../volume/inode.ts";
import type { Tally, VolumeUsage } from "../engine.ts";
import { counterKey, decodeCounter, inodeKey, prefixRange, TAG_EDGE, TAG_NODE } from "./kv-keys.ts";
import { pairsOf, scanPairs } from "./kv-page.ts";
import type { KvSnapshot } from "./kv-store.ts";

/** A slice in a value of the family `L`: id and size (docs/spec/kv.md §5.7). */
const DELAYED_SLICE_BYTES = 12;
const EDGE_VALUE_BYTES = 9;
const ATTRIBUTES_PER_CALL = 1000;

/** The numbers of `status` (docs/spec/settings.md §7). */
export async function readVolumeUsage(snapshot: KvSnapshot, more: boolean): Promise<VolumeUsage> {
  const [space, inodes] = await snapshot.get([counterKey("usedSpace"), counterKey("totalInodes")]);
  const usage: VolumeUsage = { usedSpace: decodeCounter(space), totalInodes: decodeCounter(inodes) };
  if (!more) return usage;
  return {
    ...usage,
    trashFiles: await trashFiles(snapshot),
    pendingDeletedFiles: await deletedFiles(snapshot),
    trashSlices: await delayedSlices(snapshot),
    pendingDeletedSlices: await releasedSlices(snapshot),
  };
}

/** Entries of the trash's hour directories whose inode exists; only regular files have a size. */
async function trashFiles(snapshot: KvSnapshot): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  const hours: bigint[] = [];
  for await (const [, value] of scanPairs(snapshot, prefixRange(inodeKey(TRASH_INODE, TAG_EDGE)))) {
    if (value.length === EDGE_VALUE_BYTES) hours.push(value.readBigUInt64BE(1));
  }
  for (const hour of hours) {
    for await (const page of snapshot.scan(prefixRange(inodeKey(hour, TAG_EDGE)))) {
      const entries = Array.from(pairsOf(page), ([, value]) => value).filter(
        ({ length }) => length === EDGE_VALUE_BYTES,
      );
      for (let first = 0; first < entries.length; first += ATTRIBUTES_PER_CALL) {
        const part = entries.slice(first, first + ATTRIBUTES_PER_CALL);
        const attributes = await snapshot.get(part.map((value) => inodeKey(value.readBigUInt64BE(1), TAG_NODE)));
        attributes.forEach((attribute, i) => {
          if (attribute === undefined || attribute.length < ATTR_MIN_BYTES) return;
          total.count++;
          if (part[i]![0] === FileType.regular) total.bytes += attribute.readBigUInt64BE(ATTR_LENGTH);
        });
      }
    }
  }
  return total;
}

async function deletedFiles(snapshot: KvSnapshot): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const [key] of scanPairs(snapshot, prefixRange("D"))) {
    if (key.length !== 17) continue;
    total.count++;
    total.bytes += key.readBigUInt64BE(9);
  }
  return total;
}

/** Replaced slices that are kept for the trash period. A damaged list is left out as a whole, as the reference does it. */
async function delayedSlices(snapshot: KvSnapshot): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const [key, slices] of scanPairs(snapshot, prefixRange("L"))) {
    if (key.length !== 17 || slices.length % DELAYED_SLICE_BYTES !== 0) continue;
    for (let at = 0; at < slices.length; at += DELAYED_SLICE_BYTES) {
      total.count++;
      total.bytes += BigInt(slices.readUInt32BE(at + 8));
    }
  }
  return total;
}

/** Slices without any reference left: a negative value (docs/spec/kv.md §5.6). */
async function releasedSlices(snapshot: KvSnapshot): Promise<Tally> {
  const total = { count: 0n, bytes: 0n };
  for await (const [key, value] of scanPairs(snapshot, prefixRange("K"))) {
    if (key.length !== 13 || decodeCounter(value) >= 0n) continue;
    total.count++;
    total.bytes += BigInt(key.readUInt32BE(9));
  }
  return total;
}
