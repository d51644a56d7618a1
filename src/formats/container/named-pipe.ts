import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";

/**
 * Opens a named pipe for reading. Opened and read like a file it blocks a thread while nobody writes, and nothing can wake
 * that thread: neither a signal nor the end of the process. Throws what `openSync` throws.
 */
export function openNamedPipe(path: string): Readable {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return new Socket({ fd, readable: true, writable: false });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
