import type { Writable } from "node:stream";
import type { OperationContext } from "./context.ts";
import type { DumpReport } from "./report.ts";

export interface DumpRequest {
  /** META-URL of the volume. */
  readonly source: string;
  /** File to write, or a stream (stdout). A file appears under its name only when it is complete. */
  readonly target: { readonly file: string } | { readonly stream: Writable };
  /** Only this directory or file of the volume; `/` and undefined = all. */
  readonly subdir?: string;
  readonly skipTrash?: boolean;
  readonly keepSecretKey?: boolean;
}

/** Writes a JSON dump of a volume (docs/spec/json-dump.md). */
export async function dump(request: DumpRequest, context: OperationContext): Promise<DumpReport> {
  throw new Error(`not there yet: ${request.source} ${context.memory.tmpDir}`);
}
