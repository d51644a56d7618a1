import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { OperationContext } from "../../src/operations/context.ts";
import { type ConvertReport, type ConvertRequest, convert } from "../../src/operations/convert.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { quietContext } from "./volume-files.ts";

/** Converts a file into a new one of that name, whose suffixes decide about compression. */
export async function convertFile(
  file: string,
  name: string,
  options: Omit<ConvertRequest, "source" | "target"> = {},
  context: OperationContext = quietContext(),
): Promise<{ file: string; bytes: Buffer; report: ConvertReport }> {
  const target = join(temporaryDirectory(), name);
  const report = await convert({ ...options, source: { file }, target: { file: target } }, context);
  return { file: target, bytes: readFileSync(target), report };
}
