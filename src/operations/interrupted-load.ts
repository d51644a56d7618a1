import { hostname } from "node:os";
import type { LoadProgress, LoadStamp } from "../engines/engine.ts";
import { type OperationContext, withMemory } from "./context.ts";
import { decantVersion } from "./own-version.ts";

/** What a load that is not complete says of itself, and what can be done. */
export function describeInterrupted({ stamp, checkpoint }: LoadProgress): string {
  const { source, began, process, host, version } = stamp;
  const at = checkpoint === undefined ? "no checkpoint yet" : `a checkpoint after ${checkpoint.batches} batches`;
  return (
    `A load of ${source} that began ${began} (process ${process} on ${host}, decant ${version}; ${at}) is running or was cut off. ` +
    "When it is not running: the same command with --resume goes on, with --clean removes what it wrote"
  );
}

/** The batches of a load depend on the memory that it may use: one that goes on uses what the earlier one did. */
export function resumedContext(context: OperationContext, progress: LoadProgress | undefined): OperationContext {
  if (progress === undefined) return context;
  return withMemory(context, progress.stamp.maxBytes);
}

/** One that goes on keeps the name of its input: who gives another one, of which only then is known that it differs, must not rename it. */
export function loadStamp(source: string, context: OperationContext, earlier: LoadProgress | undefined): LoadStamp {
  return {
    host: hostname(),
    process: process.pid,
    began: new Date().toISOString(),
    version: decantVersion(),
    source: earlier?.stamp.source ?? source,
    maxBytes: context.memory.maxBytes,
  };
}
