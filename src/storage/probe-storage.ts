import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DecantError, errorText, isAbortError, StorageError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { ObjectStorage } from "./object-storage.ts";

/** Pauses after failed tries (docs/spec/object-storage.md §5). */
const PAUSES_MS = [1000, 4000, 7000];

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/**
 * Writes, reads and deletes a small object, three times at most. Nothing is left behind, also where the reference's
 * `config` leaves its object. Throws `StorageError` with the last reason.
 */
export async function probeStorage(
  storage: ObjectStorage,
  { logger, signal, pausesMs = PAUSES_MS }: { logger: Logger; signal: AbortSignal; pausesMs?: readonly number[] },
): Promise<void> {
  let reason = "";
  let hint: string | undefined;
  for (const [i, pauseMs] of pausesMs.entries()) {
    signal.throwIfAborted();
    try {
      await probeOnce(storage, logger, signal);
      return;
    } catch (error) {
      if (signal.aborted || isAbortError(error)) throw error;
      reason = errorText(error);
      hint = error instanceof DecantError ? error.hint : undefined;
      logger.warn(`Test storage ${storage.displayName} failed: ${reason}, tries: #${i + 1}`);
      if (i < pausesMs.length - 1) await sleep(pauseMs, undefined, { signal });
    }
  }
  throw new StorageError(
    "DECANT_E_STORAGE_PROBE",
    `Storage ${storage.displayName} is not configured correctly: ${reason}`,
    { retryable: true, ...(hint === undefined ? {} : { hint }) },
  );
}

async function probeOnce(storage: ObjectStorage, logger: Logger, signal: AbortSignal): Promise<void> {
  const key = `testing/${Array.from(randomBytes(10), (byte) => LETTERS[byte % LETTERS.length]).join("")}`;
  const data = randomBytes(100);
  await step("put", putOrCreate(storage, key, data, signal));
  const read = await step("get", storage.get(key, signal));
  if (!read.equals(data)) throw new StorageError("DECANT_E_STORAGE_PROBE", "Read wrong data");
  try {
    await storage.delete(key, signal);
    await storage.delete("testing/", signal);
  } catch (error) {
    if (signal.aborted) throw error;
    logger.warn(`Failed to delete object ${key} of ${storage.displayName}: ${errorText(error)}`);
  }
}

/** Makes a bucket where writing fails for want of one, or for a reason that nobody understands; the reference does it more often. */
async function putOrCreate(storage: ObjectStorage, key: string, data: Buffer, signal: AbortSignal): Promise<void> {
  try {
    await storage.put(key, data, signal);
  } catch (error) {
    if (!(error instanceof DecantError) || !MAY_LACK_BUCKET.has(error.code)) throw error;
    await storage.create(signal);
    await storage.put(key, data, signal);
  }
}

const MAY_LACK_BUCKET = new Set(["DECANT_E_NO_BUCKET", "DECANT_E_OBJECT_NOT_FOUND", "DECANT_E_OBJECT_STORAGE"]);

async function step<T>(name: string, done: Promise<T>): Promise<T> {
  try {
    return await done;
  } catch (cause) {
    if (isAbortError(cause)) throw cause;
    const hint = cause instanceof DecantError && cause.hint !== undefined ? { hint: cause.hint } : {};
    throw new StorageError("DECANT_E_STORAGE_PROBE", `Failed to ${name}: ${errorText(cause)}`, { cause, ...hint });
  }
}
