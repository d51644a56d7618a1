import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { createContext, type OperationContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import type { DumpReport, LoadReport } from "../../src/operations/report.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A context whose log goes nowhere. */
export function quietContext(parts: Partial<OperationContext> = {}): OperationContext {
  return createContext({ env: {}, ...parts });
}

/** Loads the text of a dump. */
export function loadText(
  target: string,
  text: Buffer,
  context: OperationContext = quietContext(),
): Promise<LoadReport> {
  return load({ target, source: { stream: Readable.from([text]) } }, context);
}

/** Dumps into memory. */
export async function dumpText(
  source: string,
  context: OperationContext = quietContext(),
): Promise<{ text: Buffer; report: DumpReport }> {
  const pieces: Buffer[] = [];
  const stream = new Writable({
    write(piece: Buffer, _encoding, done) {
      pieces.push(piece);
      done();
    },
  });
  const report = await dump({ source, target: { stream } }, context);
  return { text: Buffer.concat(pieces), report };
}

/** The URL of a SQLite database that does not exist yet, and what stands in its directory. */
export function newSqlite(): { url: string; path: string; directory: string; files: () => string[] } {
  const directory = temporaryDirectory();
  const path = join(directory, "volume.db");
  return { url: `sqlite3://${path}`, path, directory, files: () => readdirSync(directory).sort() };
}
