import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { withFileLock } from "./file-lock.ts";
import { ensureProgram, installPackage } from "./install-package.ts";
import { runCommand } from "./run-command.ts";

/**
 * Makes a virtual environment of Python in `home` and installs a package into it, once; `home` is there only when it is complete.
 * Programs of it are run as `home/bin/python3 -m`, since it is moved when it is done. Returns why that was not possible,
 * undefined on success.
 */
export async function pythonEnvironment(home: string, requirement: string): Promise<string | undefined> {
  if (existsSync(home)) return undefined;
  return withFileLock(`${home}.lock`, async () => (existsSync(home) ? undefined : install(home, requirement)));
}

async function install(home: string, requirement: string): Promise<string | undefined> {
  const python = await ensureProgram("python3", "python3-venv");
  if ("missing" in python) return python.missing;
  const partial = `${home}.partial`;
  await mkdir(dirname(home), { recursive: true });
  await rm(partial, { recursive: true, force: true });
  const environment = await createEnvironment(python.program, partial);
  if (environment !== undefined) return environment;
  const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", requirement];
  const result = await runCommand(join(partial, "bin", "python3"), pip, { timeoutMs: 600_000 });
  if (result.code !== 0) return `pip could not install ${requirement}: ${lastLine(result.err)}`;
  await rename(partial, home);
  return undefined;
}

async function createEnvironment(python: string, directory: string): Promise<string | undefined> {
  const create = () => runCommand(python, ["-m", "venv", directory], { timeoutMs: 300_000 });
  const first = await create();
  if (first.code === 0) return undefined;
  // Debian's Python comes without the part that makes environments
  const failure = await installPackage("python3-venv");
  if (failure !== undefined) return `${lastLine(first.out + first.err)} (${failure})`;
  const second = await create();
  return second.code === 0 ? undefined : lastLine(second.out + second.err);
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
