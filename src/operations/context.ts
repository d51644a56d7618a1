import type { Logger } from "../base/logger.ts";
import type { Progress } from "../base/progress.ts";

/** What every operation gets from its caller: the command line, a program that uses the library, a test. */
export interface OperationContext {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly progress: Progress;
  /** Environment variables for passwords and pass phrases; operations never look at `process.env`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly memory: MemoryLimits;
}

/** Where the record index may live. */
export interface MemoryLimits {
  /** Ceiling of the record index in bytes; what does not fit is spilled. */
  readonly maxBytes: number;
  /** Directory for spill files; removed whatever happens. */
  readonly tmpDir: string;
}

export const DEFAULT_MAX_MEMORY_BYTES: number = 256 * 1024 * 1024;
