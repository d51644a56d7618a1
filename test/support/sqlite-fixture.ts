import { chmodSync, copyFileSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import { fixture } from "./repository.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A writable copy of a SQLite fixture (a path, or a name below test/fixtures) in a directory of its own. */
export function copySqliteFixture(file: string): { path: string; url: string } {
  const source = isAbsolute(file) ? file : fixture(file);
  const path = join(temporaryDirectory(), basename(source));
  copyFileSync(source, path);
  chmodSync(path, 0o644);
  return { path, url: `sqlite3://${path}` };
}
