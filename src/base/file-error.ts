import { DecantError, FileError, fileReason, isAbortError, NotFoundError } from "./errors.ts";

/** What can be done about the usual failures, by error code. */
const HINTS: Readonly<Record<string, string>> = {
  EACCES: "Check the permissions of the file and of the directories above it",
  EPERM: "Check the permissions of the file and of the directories above it",
  EISDIR: "Give the name of a file, not of a directory",
  ENOTDIR: "A part of the path is no directory",
  ENOENT: "Check the path; directories are not created",
  ENOSPC: "Make room, or write to another file system or to stdout",
  EDQUOT: "Make room, or write to another file system or to stdout",
  EROFS: "The file system is mounted read-only; write to another one",
  EFBIG: "The file system or a limit of the process (ulimit -f) does not allow files of this size",
  EIO: "The disk or the network file system has failed; see the system log",
};

/**
 * What went wrong with a file, as a `FileError` that names it, or a `NotFoundError` when there is nothing to read. Errors
 * that decant threw itself and aborts are returned as they are.
 */
export function fileError(
  action: "read" | "read the key file" | "write" | "list" | "delete",
  path: string,
  cause: unknown,
): Error {
  if (cause instanceof DecantError || isAbortError(cause)) return cause as Error;
  const { code } = cause as NodeJS.ErrnoException;
  if (action !== "write" && code === "ENOENT") {
    return new NotFoundError("DECANT_E_FILE_NOT_FOUND", `Cannot ${action} ${path}: no such file or directory`, {
      cause,
    });
  }
  const hint = code === undefined ? undefined : HINTS[code];
  return new FileError("DECANT_E_FILE", `Cannot ${action} ${path}: ${fileReason(cause)}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}
