import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "./is-alive.ts";

/** Runs `work` while no other process holds the lock of that path. A lock whose holder has died is taken over. */
export async function withFileLock<T>(lock: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(lock), { recursive: true });
  while (!tryLock(lock)) await sleep(200);
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** A directory is made by one process only; the number of its holder stands in it. */
function tryLock(lock: string): boolean {
  const holderFile = join(lock, "pid");
  try {
    mkdirSync(lock);
    writeFileSync(holderFile, String(process.pid));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const holder = readHolder(holderFile);
  const isStale = holder === undefined ? isOld(lock) : !isAlive(holder);
  if (isStale) rmSync(lock, { recursive: true, force: true });
  return false;
}

function readHolder(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, "utf8"));
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined; // its holder is just about to write it, or to remove it
  }
}

/** Its holder died before it wrote its number. */
function isOld(lock: string): boolean {
  const mtimeMs = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  return Date.now() - mtimeMs > 10_000;
}
