import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Environment variable with the directory that the test run removes at its end (global-setup.ts). */
export const TEMPORARY_ROOT = "DECANT_TEST_TMP";

const directories = new Set<string>();

/**
 * A new empty directory, removed at the end of the test run or, outside of one, of this process. The path is short: Unix
 * sockets fit into it.
 */
export function temporaryDirectory(): string {
  const root = process.env[TEMPORARY_ROOT];
  if (root !== undefined) return mkdtempSync(join(root, "t"));
  if (directories.size === 0) process.once("exit", removeAll);
  const directory = mkdtempSync(join(tmpdir(), "decant-test-"));
  directories.add(directory);
  return directory;
}

function removeAll(): void {
  for (const directory of directories) {
    try {
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // a file still held by somebody else: the system cleans its temporary directory itself
    }
  }
}
