import { getSystemErrorMessage } from "node:util";
import { errorText } from "../base/errors.ts";

/** Why a file could not be used, without the system call and the path that Node.js puts around it. */
export function fileReason(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException;
  return errno === undefined ? errorText(error) : getSystemErrorMessage(errno);
}
