import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directories = new Set<string>();

/** A new empty directory, removed when the test process ends. The path is short: Unix sockets fit into it. */
export function temporaryDirectory(): string {
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
