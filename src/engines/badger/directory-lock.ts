import { spawnSync } from "node:child_process";
import { closeSync, fstatSync, openSync } from "node:fs";
import { ConflictError, EngineError, errorText, MissingDependencyError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";

/**
 * Readers exclude clients; a writer excludes readers in other processes too, and a load, which begins with an empty directory,
 * excludes writers in this process.
 */
export type LockMode = "shared" | "exclusive" | "load";

/** A held lock of a directory. */
export interface DirectoryLock {
  release(): void;
}

/**
 * Locks of this process by device and inode of the directory. A lock belongs to an open file, so that a process would shut itself
 * out: whoever reads and writes one directory at the same time, as the agent does, shares one. That is safe: what is written only
 * adds files, and never changes what a reader of this process has seen.
 */
interface HeldLock {
  readonly key: string;
  readonly descriptor: number;
  isShared: boolean;
  isLoading: boolean;
  holders: number;
}

const HELD: Map<string, HeldLock> = new Map();

/** `flock` ends with it when another process holds the lock. */
const BUSY_STATUS = 1;

/**
 * Takes the lock by which a BadgerDB belongs to one process: flock(2) on the directory itself (docs/spec/kv-stores.md §3.1). Node
 * has no call for it, so the program `flock` locks a file that both have open; the lock stays when it ends, and the kernel drops
 * it with this process, however that ends. Throws `EngineError` `DECANT_E_LOCKED` when another process has it, `ConflictError` for a
 * writer while this process loads into the directory, `MissingDependencyError` where there is no such program, `FileError` for a directory that cannot be opened.
 */
export function lockDirectory(directory: string, mode: LockMode): DirectoryLock {
  let descriptor: number;
  try {
    descriptor = openSync(directory, "r");
  } catch (error) {
    throw fileError("read", directory, error);
  }
  const { dev, ino } = fstatSync(descriptor, { bigint: true });
  const key = `${dev}:${ino}`;
  let held = HELD.get(key);
  try {
    if (held === undefined) {
      const isShared = mode === "shared";
      if (!flock(descriptor, directory, isShared)) throw lockedError(directory);
      held = { key, descriptor, isShared, isLoading: false, holders: 0 };
      HELD.set(key, held);
    } else {
      if (mode !== "shared") makeExclusive(held, directory);
      closeSync(descriptor);
    }
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return holdLock(held, mode === "load");
}

function holdLock(held: HeldLock, isLoad: boolean): DirectoryLock {
  held.holders++;
  if (isLoad) held.isLoading = true;
  let isReleased = false;
  return {
    release(): void {
      if (isReleased) return;
      isReleased = true;
      if (isLoad) held.isLoading = false;
      if (--held.holders > 0) return;
      if (HELD.get(held.key) === held) HELD.delete(held.key);
      closeSync(held.descriptor);
    },
  };
}

/**
 * Another reader in the way makes this fail, and the shared lock is lost for a moment: that is a failure only when a client has
 * taken the directory meanwhile.
 */
function makeExclusive(held: HeldLock, directory: string): void {
  if (held.isLoading) {
    throw new ConflictError("DECANT_E_TARGET_BUSY", `Another load into ${directory} is running in this process`);
  }
  if (!held.isShared) return;
  if (flock(held.descriptor, directory, false)) {
    held.isShared = false;
    return;
  }
  if (flock(held.descriptor, directory, true)) throw lockedError(directory);
  HELD.delete(held.key);
  throw new EngineError("DECANT_E_LOCKED", `The lock of ${directory} was lost to another process while it was read`, {
    hint: "What was read may be incomplete: stop this command and start it again when the volume is not mounted",
  });
}

function lockedError(directory: string): EngineError {
  return new EngineError("DECANT_E_LOCKED", `Another process has ${directory} open`, {
    retryable: true,
    hint: "A BadgerDB belongs to one process at a time: unmount the volume first, and wait for other commands that use it",
  });
}

/** False when another process holds it. */
function flock(descriptor: number, directory: string, isShared: boolean): boolean {
  const { status, error, stderr } = spawnSync("flock", ["-n", isShared ? "-s" : "-x", "3"], {
    stdio: ["ignore", "ignore", "pipe", descriptor],
  });
  if (status === 0) return true;
  const said = String(stderr ?? "").trim();
  if (status === BUSY_STATUS && said === "") return false;
  if (error !== undefined && "code" in error && error.code === "ENOENT") {
    throw new MissingDependencyError("DECANT_E_FLOCK", "The program flock is not installed", {
      cause: error,
      hint: `Without it decant cannot keep clients away from ${directory}. It is part of util-linux and of BusyBox`,
    });
  }
  throw new EngineError(
    "DECANT_E_LOCK",
    `Cannot lock ${directory}: ${said || errorText(error ?? `flock ended with ${status}`)}`,
    {
      cause: error,
      hint: "Does its file system know flock?",
    },
  );
}
