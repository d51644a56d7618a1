import { tmpdir } from "node:os";
import { type Logger, silentLogger } from "../base/logger.ts";
import { Progress } from "../base/progress.ts";

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

/** The same context below another ceiling, for one of several indexes that stand side by side. */
export function withMemory(context: OperationContext, maxBytes: number): OperationContext {
  return { ...context, memory: { ...context.memory, maxBytes } };
}

export const DEFAULT_MAX_MEMORY_BYTES: number = 256 * 1024 * 1024;

/**
 * A context with defaults for what is not given: a signal that never fires, no log, the environment of the process, 256 MiB
 * and the system's temporary directory.
 */
export function createContext(parts: Partial<OperationContext> = {}): OperationContext {
  return {
    signal: parts.signal ?? new AbortController().signal,
    logger: parts.logger ?? silentLogger,
    progress: parts.progress ?? new Progress(),
    env: parts.env ?? process.env,
    memory: parts.memory ?? { maxBytes: DEFAULT_MAX_MEMORY_BYTES, tmpDir: tmpdir() },
  };
}
