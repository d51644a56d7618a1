import {
  ConflictError,
  DataError,
  EngineError,
  FileError,
  isAbortError,
  MissingDependencyError,
  NotFoundError,
  StorageError,
  UsageError,
} from "../base/errors.ts";
import { Interruption } from "./cli-io.ts";

/** How decant ends (docs/exit-codes.md). */
export const ExitCode = {
  ok: 0,
  failed: 1,
  /** Of `diff`, where every failure has another code. */
  different: 1,
  usage: 2,
  incomplete: 3,
  notFound: 4,
  conflict: 5,
  badData: 6,
  unavailable: 7,
  /** In place of `failed`, by commands whose 1 is an answer. */
  fault: 70,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** What each code means: for help pages and docs/exit-codes.md. */
export const EXIT_CODE_MEANINGS: readonly (readonly [ExitCode, string])[] = [
  [ExitCode.ok, "done"],
  [ExitCode.failed, "failed for a reason that none of the others names; of diff: the two sides differ"],
  [ExitCode.usage, "wrong arguments, options or environment; nothing was done"],
  [ExitCode.incomplete, "finished, but something is missing, was changed, or could not be proven: read the report"],
  [ExitCode.notFound, "what was asked for does not exist: file, volume, path in it, session"],
  [ExitCode.conflict, "the target is not empty, is another volume, or the change is refused"],
  [ExitCode.badData, "damaged, cut off or not understood: the file or the content of the database"],
  [ExitCode.unavailable, "a server, the object storage or a local file failed or could not be reached"],
  [ExitCode.fault, "of diff: failed for a reason that none of the others names"],
  [ExitCode.interrupted, "interrupted by SIGINT"],
  [ExitCode.terminated, "stopped by SIGTERM"],
];

/** The exit code for what a command threw. */
export function exitCodeOf(error: unknown, signal: AbortSignal): ExitCode {
  if (signal.aborted && (isAbortError(error) || error === signal.reason)) {
    const byTerm = signal.reason instanceof Interruption && signal.reason.signalName === "SIGTERM";
    return byTerm ? ExitCode.terminated : ExitCode.interrupted;
  }
  if (error instanceof UsageError) return ExitCode.usage;
  if (error instanceof NotFoundError) return ExitCode.notFound;
  if (error instanceof ConflictError) return ExitCode.conflict;
  if (error instanceof DataError) return ExitCode.badData;
  if (error instanceof EngineError || error instanceof FileError) return ExitCode.unavailable;
  if (error instanceof StorageError || error instanceof MissingDependencyError) return ExitCode.unavailable;
  return ExitCode.failed;
}
