import { randomBytes } from "node:crypto";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import type { Refusal } from "./refusal.ts";

/** What of a database the check asks. */
export interface ServerClock {
  serverTime(signal: AbortSignal): Promise<Date | undefined>;
}

/** Clocks that are kept in step differ by less, also when a request takes long. */
export const MAX_CLOCK_DIFFERENCE_MS: number = 5 * 60_000;

export interface ClockCheckOptions {
  readonly now: () => Date;
  readonly store: ServerClock | undefined;
  /** Undefined: nothing is written to find out the time of the object storage. */
  readonly storage: ObjectStorage | undefined;
}

/**
 * Compares this host's clock with that of the database's server and that of the object storage, which shows in an object just
 * written. Nobody can tell which of them is wrong: while they disagree, the age of a backup is not known.
 */
export async function checkClocks(options: ClockCheckOptions, signal: AbortSignal): Promise<Refusal | undefined> {
  const { now, store, storage } = options;
  const server = store === undefined ? undefined : await store.serverTime(signal);
  if (server !== undefined) {
    const refusal = compare("the database", server, now());
    if (refusal !== undefined) return refusal;
  }
  if (storage === undefined) return undefined;
  const modified = await timeOfStorage(storage, signal);
  return modified === undefined ? undefined : compare("the object storage", modified, now());
}

/** Each caller has a probe of its own, so that none deletes that of another. */
async function timeOfStorage(storage: ObjectStorage, signal: AbortSignal): Promise<Date | undefined> {
  const key = `decant/clock-probe-${randomBytes(6).toString("hex")}`;
  await storage.put(key, Buffer.from("Written to learn what time it is here\n"), signal);
  const info = await storage.head(key, signal);
  await storage.delete(key, signal);
  return info?.modified;
}

function compare(whose: string, theirs: Date, ours: Date): Refusal | undefined {
  if (Math.abs(theirs.getTime() - ours.getTime()) <= MAX_CLOCK_DIFFERENCE_MS) return undefined;
  return {
    cause: "clock",
    reason: `The clock of ${whose} says ${theirs.toISOString()}, that of this host ${ours.toISOString()}`,
    hint: "Put the clocks right: which backups are old cannot be told before",
  };
}
