import type { Readable } from "node:stream";
import type { OperationContext } from "./context.ts";
import type { LoadReport } from "./report.ts";

export interface LoadRequest {
  /** META-URL of the empty target. */
  readonly target: string;
  /** File to read, or a stream (stdin). Plain, gzip or zstd, told by content. */
  readonly source: { readonly file: string } | { readonly stream: Readable };
  /** Decrypt the file first; pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
  /** Read and check everything, write nothing. */
  readonly dryRun?: boolean;
}

/** Loads a JSON dump into an empty database (docs/spec/json-dump.md §9-11). */
export async function load(request: LoadRequest, context: OperationContext): Promise<LoadReport> {
  throw new Error(`not there yet: ${request.target} ${context.memory.tmpDir}`);
}
