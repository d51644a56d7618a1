import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createContext } from "../../src/operations/context.ts";
import { type DumpRequest, dump } from "../../src/operations/dump.ts";
import { type LoadRequest, load } from "../../src/operations/load.ts";
import type { DumpReport, LoadReport } from "../../src/operations/report.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** Options of a dump but for its two ends. */
export type DumpOptions = Omit<DumpRequest, "source" | "target">;

/** Dumps a volume into a file and reads it back. The name decides about compression. */
export async function dumpVolume(
  source: string,
  options: DumpOptions = {},
  name: string = "dump.json",
): Promise<{ bytes: Buffer; report: DumpReport }> {
  const file = join(temporaryDirectory(), name);
  const report = await dump({ source, target: { file }, ...options }, createContext({ env: {} }));
  return { bytes: readFileSync(file), report };
}

/** Loads a dump file into an empty target. */
export function loadVolumeFile(
  target: string,
  file: string,
  options: Pick<LoadRequest, "decryption" | "dryRun" | "format"> & { env?: Record<string, string> } = {},
): Promise<LoadReport> {
  const { env, ...request } = options;
  return load({ target, source: { file }, ...request }, createContext({ env: env ?? {} }));
}

/** META-URL and path of a SQLite file that does not exist yet. */
export function newSqliteTarget(): { path: string; url: string } {
  const path = join(temporaryDirectory(), "new.db");
  return { path, url: `sqlite3://${path}` };
}
