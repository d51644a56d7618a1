import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Environment variable with the directory that the test run removes at its end (global-setup.ts). */
export const TEMPORARY_ROOT = "DECANT_TEST_TMP";

const PREFIX = "decant-test-";
const OF_PROCESS = new RegExp(`^${PREFIX}(\\d+)-`);

let own: string | undefined;

/**
 * A new empty directory, removed at the end of the test run or, outside of one, of this process. The path is short: Unix
 * sockets fit into it.
 */
export function temporaryDirectory(): string {
  const root = process.env[TEMPORARY_ROOT] ?? own;
  if (root !== undefined) return mkdtempSync(join(root, "t"));
  const created = newTemporaryRoot();
  own = created;
  process.once("exit", () => {
    try {
      removeTree(created);
    } catch {
      // a file still held by somebody else: the next run removes it
    }
  });
  return temporaryDirectory();
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
