import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { withFileLock } from "./file-lock.ts";
import { CACHE } from "./repository.ts";
import { runCommand } from "./run-command.ts";

/** Full path of a program on `PATH`, undefined when there is none. */
export function findProgram(name: string): string | undefined {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const file = join(directory, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // look further
    }
  }
  return undefined;
}

/**
 * The program of a Debian package, installed first where it is missing and this process may do that. Otherwise the reason
 * why there is none.
 */
export async function ensureProgram(
  name: string,
  debianPackage: string,
): Promise<{ program: string } | { missing: string }> {
  const failure = findProgram(name) === undefined ? await installPackage(debianPackage) : undefined;
  const program = findProgram(name);
  return program === undefined ? { missing: failure ?? `${debianPackage} brings no ${name}` } : { program };
}

/** Installs a Debian package (root, apt-get). Returns why that was not possible, undefined on success. */
export async function installPackage(debianPackage: string): Promise<string | undefined> {
  const apt = findProgram("apt-get");
  if (apt === undefined || process.getuid?.() !== 0) {
    return `${debianPackage} is not installed, and only root can install it with apt-get`;
  }
  return withFileLock(join(CACHE, "apt.lock"), async () => {
    const options = { env: { DEBIAN_FRONTEND: "noninteractive" }, timeoutMs: 300_000 };
    const wait = ["-o", "DPkg::Lock::Timeout=120"];
    await runCommand(apt, [...wait, "update"], options);
    const result = await runCommand(apt, [...wait, "install", "-y", "--no-install-recommends", debianPackage], options);
    return result.code === 0
      ? undefined
      : `cannot install ${debianPackage}: ${result.err.trim().split("\n").slice(-3).join("; ")}`;
  });
}
