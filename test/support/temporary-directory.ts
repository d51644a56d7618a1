import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "./is-alive.ts";

/** Environment variable with the directory that the test run removes at its end (global-setup.ts). */
export const TEMPORARY_ROOT = "DECANT_TEST_TMP";

const PREFIX = "decant-test-";
const OF_PROCESS = new RegExp(`^${PREFIX}(\\d+)-`);

let own: string | undefined;
const created: string[] = [];

/**
 * A new empty directory, removed at the end of the test file or, outside of tests, of this process. The path is short: Unix
 * sockets fit into it.
 */
export function temporaryDirectory(): string {
  const root = process.env[TEMPORARY_ROOT] ?? own;
  if (root !== undefined) {
    const directory = mkdtempSync(join(root, "t"));
    created.push(directory);
    return directory;
  }
  const newRoot = newTemporaryRoot();
  own = newRoot;
  process.once("exit", () => remove(newRoot));
  return temporaryDirectory();
}

/** Removes all that `temporaryDirectory` has made so far. */
export function removeTemporaryDirectories(): void {
  for (const directory of created.splice(0)) remove(directory);
}

function remove(directory: string): void {
  try {
    removeTree(directory);
  } catch {
    // a file still held or written by somebody else: the end of the run, or the next one, removes it
  }
}

/** A directory of this process, with a mode as tests of permissions need it. What processes that were killed have left is removed first. */
export function newTemporaryRoot(): string {
  for (const name of readdirSync(tmpdir())) {
    const pid = OF_PROCESS.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) removeTree(join(tmpdir(), name));
  }
  const root = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  chmodSync(root, 0o755);
  return root;
}

/** Also where something is still mounted in it. */
export function removeTree(root: string): void {
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n")) {
    const path = line.split(" ")[1];
    if (path?.startsWith(`${root}/`)) spawnSync("umount", ["--lazy", path]);
  }
  rmSync(root, { recursive: true, force: true, maxRetries: 3 });
}
