import { appendFileSync } from "node:fs";

/**
 * Says in a visible line that something is not tested and why. With `CI=true` nothing may be left out, so it throws there.
 * Lines are also appended to the file `DECANT_TEST_SKIPS`, from which `npm test` repeats them at its end.
 */
export function reportSkip(what: string, why: string): void {
  const line = `SKIPPED: ${what}: ${why}`;
  if (isContinuousIntegration()) throw new Error(`${line} (with CI=true this is a failure)`);
  reportGap(line);
}

/** Like `reportSkip`, for what no test run can provide by itself (a kernel device, a database that no registry has): never a failure. */
export function reportUnavailable(what: string, why: string): void {
  reportGap(`SKIPPED: ${what}: ${why}`);
}

function reportGap(line: string): void {
  console.warn(line);
  const file = process.env.DECANT_TEST_SKIPS;
  if (file !== undefined && file !== "") appendFileSync(file, `${line}\n`);
}

function isContinuousIntegration(): boolean {
  const value = process.env.CI ?? "";
  return value !== "" && value !== "0" && value !== "false";
}
