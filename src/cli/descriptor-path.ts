import { readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** More links than a path of descriptors has; a ring of links ends here. */
const MAX_LINKS = 8;

/**
 * The number of the descriptor of this process that a path stands for, undefined for the path of a file: `/dev/stdout`,
 * `/dev/fd/63` of `>(gzip)`, and links to them. Such a path is written to, never replaced: the name of a pipe in /proc leads
 * to no file, and a rename would put one in the place of /dev/stdout itself.
 */
export function descriptorOf(path: string): number | undefined {
  let name = resolve(path);
  for (let links = 0; links <= MAX_LINKS; links++) {
    const match = /^\/(?:dev|proc\/self|proc\/thread-self|proc\/(\d+))\/fd\/(\d+)$/.exec(name);
    if (match !== null && (match[1] === undefined || Number(match[1]) === process.pid)) return Number(match[2]);
    try {
      name = resolve(dirname(name), readlinkSync(name));
    } catch {
      return undefined;
    }
  }
  return undefined;
}
