import { getSystemErrorMessage } from "node:util";

/**
 * The error tree. Children are cut by who must act: `UsageError` the person at the keyboard, `DataError` whoever made the
 * bytes, `EngineError`, `StorageError` and `FileError` whoever runs the server or the disk, `ConflictError` the choice of target,
 * `InternalError` us. Messages are one sentence without a final period that names the concrete thing (path, key, offset,
 * expected and got); what to do goes into `hint`. See docs/exit-codes.md.
 */
export interface ErrorOptions {
  cause?: unknown;
  /** What the user can do about it: one or more sentences. */
  hint?: string;
  /** True when repeating the same operation may succeed. */
  retryable?: boolean;
  /** Lines that belong to the message: one for each of the things that it counts. */
  details?: readonly string[];
}

/** Base of everything decant throws on purpose. `code` is stable and listed in docs/exit-codes.md. */
export class DecantError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly details: readonly string[];

  constructor(code: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? [];
  }
}

/** Wrong arguments, flags or environment. Exit code 2. */
export class UsageError extends DecantError {}

/** What was asked for does not exist: a file, a volume, a path in it, a session. Exit code 4. */
export class NotFoundError extends DecantError {}

/** The target is in the way: not empty, used by another volume, changed meanwhile, an output file that exists. Exit code 5. */
export class ConflictError extends DecantError {}

/** Where in the input a `DataError` was found. All members are optional; unknown ones stay away. */
export interface DataLocation {
  /** Byte offset in the decoded (decompressed, decrypted) document, from 0. */
  offset?: number;
  /** Line in the decoded document, from 1. */
  line?: number;
  /** Path inside the volume, printable. */
  path?: string;
  /** Key or table row, printable. */
  key?: string;
}

/** Bytes that are not what they must be: damaged, cut off, or of a version not known. Exit code 6. */
export class DataError extends DecantError {
  readonly location: DataLocation;

  constructor(code: string, message: string, options: ErrorOptions & { location?: DataLocation } = {}) {
    super(code, message, options);
    this.location = options.location ?? {};
  }
}

/** A metadata engine refused, failed or went away. Wraps the driver's error as `cause`. Exit code 7. */
export class EngineError extends DecantError {}

/** A local file or directory could not be read or written. Exit code 7. */
export class FileError extends DecantError {}

/** An object storage refused, failed or went away. Wraps the client's error as `cause`. Exit code 7. */
export class StorageError extends DecantError {}

/** An optional package that is not installed. Exit code 7. */
export class MissingDependencyError extends DecantError {}

/** A state that only a fault in decant can bring about. Exit code 1. */
export class InternalError extends DecantError {}

/** True for the error that an aborted `AbortSignal` throws; such errors pass through every layer untouched. */
export function isAbortError(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** The text of anything that was thrown, without a stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Why a file could not be used, without the system call and the path that Node.js puts around it. */
export function fileReason(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException;
  return errno === undefined ? errorText(error) : getSystemErrorMessage(errno);
}
