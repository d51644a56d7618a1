import type { OperationContext } from "./context.ts";
import type { LoadReport } from "./report.ts";

export interface MigrateRequest {
  /** META-URLs of the volume and of the empty target. */
  readonly source: string;
  readonly target: string;
  readonly dryRun?: boolean;
}

/** Copies a volume from one engine to another without a file between; secrets are kept as they are stored. */
export async function migrate(request: MigrateRequest, context: OperationContext): Promise<LoadReport> {
  throw new Error(`not there yet: ${request.source} ${context.memory.tmpDir}`);
}
