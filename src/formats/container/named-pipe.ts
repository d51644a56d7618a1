import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

/**
 * Opens a named pipe for reading. Opened and read like a file it blocks a thread while nobody writes, and nothing can wake
 * that thread: neither a signal nor the end of the process. Throws what `openSync` throws.
 */
export function openNamedPipe(path: string): Readable {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return socketOf(fd, { readable: true, writable: false });
}

/** How often a pipe is tried that nobody reads yet. */
const WAIT_MS = 50;

/** Opens a named pipe for writing as soon as somebody reads it, for the same reason. Throws what `openSync` throws. */
export async function openNamedPipeForWriting(path: string, signal: AbortSignal): Promise<Writable> {
  for (;;) {
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return socketOf(fd, { readable: false, writable: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    }
    await delay(WAIT_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

function socketOf(fd: number, sides: { readable: boolean; writable: boolean }): Socket {
  try {
    return new Socket({ fd, ...sides });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
