import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TEMPORARY_ROOT } from "./temporary-directory.ts";

/**
 * One directory for everything that a test run leaves on disk, removed at its end: workers are ended without a chance to
 * clean up themselves. It runs once per project, of which the first one does it for all.
 */
export function setup(): (() => void) | undefined {
  if (process.env[TEMPORARY_ROOT] !== undefined) return undefined;
  const root = mkdtempSync(join(tmpdir(), "decant-test-"));
  chmodSync(root, 0o755); // tests of permissions read as another user, each from a directory with its own mode
  process.env[TEMPORARY_ROOT] = root;
  return () => rmSync(root, { recursive: true, force: true, maxRetries: 3 });
}
