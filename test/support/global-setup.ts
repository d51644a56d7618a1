import { newTemporaryRoot, removeTree, TEMPORARY_ROOT } from "./temporary-directory.ts";

/**
 * One directory for everything that a test run leaves on disk, removed at its end, also what test files that were ended could not
 * remove. It runs once per project, of which the first one does it for all.
 */
export function setup(): (() => void) | undefined {
  if (process.env[TEMPORARY_ROOT] !== undefined) return undefined;
  const root = newTemporaryRoot();
  process.env[TEMPORARY_ROOT] = root;
  return () => removeTree(root);
}
