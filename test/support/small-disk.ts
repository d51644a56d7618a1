import { spawnSync } from "node:child_process";
import { statfsSync } from "node:fs";
import { reportUnavailable } from "./skip.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A file system of its own, in memory. */
export interface SmallDisk {
  readonly directory: string;
  /** Bytes in use. */
  used(): number;
  /** Not less than what is in use; bytes, or `1m`. */
  resize(size: number | string): void;
  makeReadOnly(): void;
  unmount(): void;
}

/** Mounts a file system of `size` (`1m`). Undefined where that needs rights that this process does not have; that is said. */
export function mountSmallDisk(size: string, what: string): SmallDisk | undefined {
  const directory = temporaryDirectory();
  if (!run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", directory)) {
    reportUnavailable(what, "only root can mount a small file system");
    return undefined;
  }
  return {
    directory,
    used: () => {
      const { blocks, bfree, bsize } = statfsSync(directory);
      return (blocks - bfree) * bsize;
    },
    resize: (wanted) => {
      if (!run("mount", "-o", `remount,size=${wanted}`, directory)) throw new Error(`Cannot resize ${directory}`);
    },
    makeReadOnly: () => {
      if (!run("mount", "-o", "remount,ro", directory)) throw new Error(`Cannot make ${directory} read-only`);
    },
    unmount: () => {
      if (!run("umount", "-l", directory)) throw new Error(`Cannot unmount ${directory}`);
    },
  };
}

function run(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}
