import { ATTR_LENGTH, ATTR_MIN_BYTES } from "../../../volume/attribute.ts";
import { FileType } from "../../../volume/file-type.ts";
import { TRASH_INODE } from "../../../volume/inode.ts";
import type { SessionDetail, SessionSummary, Tally, VolumeUsage } from "../../engine.ts";
import { signedOrZero } from "../decimal.ts";
import { DENTRY_BYTES } from "../dentry.ts";
import type { SessionSource } from "../redis-sessions.ts";
import { findSession, readSessions } from "../redis-sessions.ts";
import { delayedSliceTally, deletedFileLength, releasedSliceSize } from "../redis-usage.ts";
import { SeenSet } from "../seen-set.ts";
import { KeyPass } from "./point-reads.ts";
import type { ValueHandler } from "./rdb-consumer.ts";
import type { RdbFile } from "./rdb-file.ts";
import type { RdbText } from "./rdb-text.ts";
import { HashTaker, ScoreTaker, SetTaker, StringTaker } from "./value-collectors.ts";
import type { VolumePlace } from "./volume-place.ts";

interface RunningTally {
  count: bigint;
  bytes: bigint;
}

/** The numbers of `status` (docs/spec/settings.md §7): one pass over the file, and with `more` up to two for what is in the trash. */
export async function readRdbUsage(
  file: RdbFile,
  place: VolumePlace,
  more: boolean,
  signal: AbortSignal,
): Promise<VolumeUsage> {
  const counters = new Map<string, bigint>();
  const pendingDeletedFiles: RunningTally = { count: 0n, bytes: 0n };
  const trashSlices: RunningTally = { count: 0n, bytes: 0n };
  const pendingDeletedSlices: RunningTally = { count: 0n, bytes: 0n };
  const hours = new Set<string>();
  const takers = new Map<string, ValueHandler>();
  for (const name of ["usedSpace", "totalInodes"]) {
    takers.set(name, new StringTaker((value) => counters.set(name, signedOrZero(value.copy()))));
  }
  if (more) {
    const count = (tally: RunningTally, bytes: bigint | undefined): void => {
      if (bytes === undefined) return;
      tally.count++;
      tally.bytes += bytes;
    };
    takers.set("delfiles", new ScoreTaker((member) => count(pendingDeletedFiles, deletedFileLength(member.copy()))));
    takers.set("delSlices", new HashTaker((_, slices) => add(trashSlices, delayedSliceTally(slices.copy()))));
    takers.set(
      "sliceRef",
      new HashTaker((field, value) => count(pendingDeletedSlices, releasedSliceSize(field.copy(), value.copy()))),
    );
    takers.set(
      `d${TRASH_INODE}`,
      entryTaker((_, inode) => hours.add(`d${inode}`)),
    );
  }
  await KeyPass.run(file, place, signal, (name) => takers.get(name));
  const usage = { usedSpace: counters.get("usedSpace") ?? 0n, totalInodes: counters.get("totalInodes") ?? 0n };
  if (!more) return usage;
  const trashFiles = await tallyTrash(file, place, hours, signal);
  return { ...usage, trashFiles, pendingDeletedFiles, trashSlices, pendingDeletedSlices };
}

function add(total: RunningTally, { count, bytes }: Tally): void {
  total.count += count;
  total.bytes += bytes;
}

function entryTaker(take: (type: number, inode: bigint) => void): HashTaker {
  return new HashTaker((_, value) => {
    if (value.length === DENTRY_BYTES) take(value.bytes[value.start]!, value.view.getBigUint64(value.start + 1));
  });
}

/** Entries of the trash's hour directories. Regular files have a size, which stands in their attributes. */
async function tallyTrash(
  file: RdbFile,
  place: VolumePlace,
  hours: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Tally> {
  const total: RunningTally = { count: 0n, bytes: 0n };
  if (hours.size === 0) return total;
  const files = new SeenSet();
  /** Entries beyond the first of files with several. */
  const repeated = new Map<bigint, bigint>();
  let isAnyFile = false;
  const entries = entryTaker((type, inode) => {
    if (type !== FileType.regular) {
      total.count++;
      return;
    }
    isAnyFile = true;
    const isNew = files.add(Number(inode >> 32n), Number(inode & 0xffff_ffffn));
    if (!isNew) repeated.set(inode, (repeated.get(inode) ?? 0n) + 1n);
  });
  await KeyPass.run(file, place, signal, (name) => (hours.has(name) ? entries : undefined));
  if (!isAnyFile) return total;
  let current = 0n;
  const attributes = new StringTaker((attribute) => {
    if (attribute.length < ATTR_MIN_BYTES) return;
    const times = 1n + (repeated.get(current) ?? 0n);
    total.count += times;
    total.bytes += times * attribute.view.getBigUint64(attribute.start + ATTR_LENGTH);
  });
  await KeyPass.run(file, place, signal, (name) => {
    if (name[0] !== "i" || !/^i(?:0|[1-9][0-9]*)$/.test(name)) return undefined;
    current = BigInt(name.slice(1));
    return files.has(Number(current >> 32n), Number(current & 0xffff_ffffn)) ? attributes : undefined;
  });
  return total;
}

/** Sessions that are registered in the file. */
export async function readRdbSessions(
  file: RdbFile,
  place: VolumePlace,
  signal: AbortSignal,
): Promise<SessionSummary[]> {
  return readSessions(await SessionValues.read(file, place, signal), place.prefix);
}

export async function findRdbSession(
  file: RdbFile,
  place: VolumePlace,
  sid: bigint,
  signal: AbortSignal,
): Promise<SessionDetail | undefined> {
  return findSession(await SessionValues.read(file, place, signal), place.prefix, sid);
}

const SESSION_KEY = /^(?:sessions|allSessions|sessionInfos|session[0-9]+|locked[0-9]+|lock[fp][0-9]+)$/;

/** What belongs to sessions, which clients hold while they run, in the form of a server's answers. */
class SessionValues implements SessionSource {
  readonly #prefix: Buffer;
  /** Pairs of hashes and sorted sets, members of sets. */
  readonly #values: Map<string, Buffer[]> = new Map();

  private constructor(prefix: Buffer) {
    this.#prefix = prefix;
  }

  static async read(file: RdbFile, place: VolumePlace, signal: AbortSignal): Promise<SessionValues> {
    const values = new SessionValues(place.prefix);
    await KeyPass.run(file, place, signal, (name) => (SESSION_KEY.test(name) ? values.#handlerOf(name) : undefined));
    return values;
  }

  #handlerOf(name: string): ValueHandler {
    const items: Buffer[] = [];
    this.#values.set(name, items);
    const pair = (field: RdbText, value: RdbText): number => items.push(field.copy(), value.copy());
    if (name === "sessionInfos" || /^lock[fp]/.test(name)) return new HashTaker(pair);
    if (/^(?:session|locked)[0-9]/.test(name)) return new SetTaker((member) => items.push(member.copy()));
    return new ScoreTaker((member, score) => items.push(member.copy(), Buffer.from(String(score))));
  }

  async call(command: readonly (string | Buffer)[]): Promise<(Buffer | null)[]> {
    const [name, key, ...fields] = command as [string, Buffer, ...string[]];
    const items = this.#values.get(key.toString("latin1", this.#prefix.length)) ?? [];
    if (name !== "HMGET") return items;
    const byField = new Map<string, Buffer>();
    for (let i = 0; i < items.length; i += 2) byField.set(items[i]!.toString("latin1"), items[i + 1]!);
    return fields.map((field) => byField.get(field) ?? null);
  }
}
