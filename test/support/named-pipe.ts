import { execFileSync } from "node:child_process";
import { constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A new named pipe, alone in its directory. */
export function makeNamedPipe(): string {
  const path = join(temporaryDirectory(), "pipe");
  execFileSync("mkfifo", [path]);
  return path;
}

/** The writing end, opened without waiting for a reader. */
export function openPipeWriter(path: string): number {
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

/** Returns when the pipe has taken all of it, which for more than 64 KiB takes a reader. */
export async function writePipe(descriptor: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await sleep(5);
    }
  }
}
