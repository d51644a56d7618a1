import type { JsonValue } from "../../base/json-text.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { type Author, isMissing, type PlainObject, readSidecar, unusable, writeSidecar } from "./sidecars.ts";

/** What became of a backup that was due. */
export type RunOutcome = "ok" | "failed" | "skipped";

export const RUN_OUTCOMES: readonly RunOutcome[] = ["ok", "failed", "skipped"];

/** The last run with that outcome. */
export interface RunStatus {
  readonly outcome: RunOutcome;
  /** RFC 3339. */
  readonly at: string;
  /** Name of the backup that was made. */
  readonly name: string | undefined;
  /** Why there is none. */
  readonly reason: string | undefined;
  /** Error code or another stable word for programs. */
  readonly cause: string | undefined;
  readonly by: Author;
}

/** One object per outcome: a run replaces that of its kind, and never has to read what others wrote. */
function statusKey(outcome: RunOutcome): string {
  return `decant/status/${outcome}.json`;
}

export function runStatusJson(status: RunStatus): { readonly [member: string]: JsonValue } {
  return {
    outcome: status.outcome,
    at: status.at,
    name: status.name ?? null,
    reason: status.reason ?? null,
    cause: status.cause ?? null,
    by: { ...status.by },
  };
}

/** Leaves word of a run, so that a backup that was skipped or failed is never silent. */
export function writeRunStatus(storage: ObjectStorage, status: RunStatus, signal: AbortSignal): Promise<void> {
  return writeSidecar(storage, statusKey(status.outcome), runStatusJson(status), signal);
}

/** The last run of each outcome, newest first. */
export async function readRunStatus(storage: ObjectStorage, signal: AbortSignal): Promise<RunStatus[]> {
  const found: RunStatus[] = [];
  for (const outcome of RUN_OUTCOMES) {
    const status = await readOne(storage, outcome, signal);
    if (status !== undefined) found.push(status);
  }
  return found.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

async function readOne(
  storage: ObjectStorage,
  outcome: RunOutcome,
  signal: AbortSignal,
): Promise<RunStatus | undefined> {
  let value: PlainObject;
  try {
    value = await readSidecar(storage, statusKey(outcome), signal);
  } catch (error) {
    if (!isMissing(error)) unusable(error);
    return undefined;
  }
  const by = value.by as Partial<Author> | undefined;
  if (typeof value.at !== "string" || Number.isNaN(Date.parse(value.at))) return undefined;
  const text = (member: unknown) => (typeof member === "string" ? member : undefined);
  return {
    outcome,
    at: value.at,
    name: text(value.name),
    reason: text(value.reason),
    cause: text(value.cause),
    by: { program: text(by?.program) ?? "", host: text(by?.host) ?? "", pid: Number(by?.pid ?? 0) },
  };
}
