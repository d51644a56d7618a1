import type { LoadProgress } from "../engine.ts";
import { encodeProgress, PROGRESS_NAME } from "../load-progress.ts";

/**
 * Rows of the setting table that are there while a load runs, or when one was cut off: clients ask for the row `format` only
 * (docs/spec/sql.md §9.1), and take a database without it for no volume. They go in the transaction in which that row comes.
 */
export const MARKER_NAME = "decantLoading";
/** How many rows of each numbered table are stored, so that a load that goes on gives the next ones the numbers they would have had. */
export const ROW_COUNTS_NAME = "decantLoadRows";

export const LOAD_ROW_NAMES: readonly string[] = [MARKER_NAME, PROGRESS_NAME, ROW_COUNTS_NAME];

/** The same as a list of literals. */
export const LOAD_ROW_LITERALS: string = LOAD_ROW_NAMES.map((name) => `'${name}'`).join(",");

/** Rows so far, by table name without prefix. */
export type RowCounts = ReadonlyMap<string, number>;

export const NO_ROWS: RowCounts = new Map();

/** What collects rows of a table, as far as it counts them. */
interface RowCounter {
  readonly isNumbered: boolean;
  readonly rowCount: number;
}

export function countRows<T extends RowCounter>(writers: readonly T[], tableOf: (writer: T) => string): RowCounts {
  const numbered = writers.filter(({ isNumbered }) => isNumbered);
  return new Map(numbered.map((writer) => [tableOf(writer), writer.rowCount]));
}

/** One line of JSON. */
export function encodeRowCounts(counts: RowCounts): string {
  return JSON.stringify(Object.fromEntries(counts));
}

/** Undefined for what is no such text: then nobody can go on with the load. */
export function parseRowCounts(text: string | undefined): RowCounts | undefined {
  try {
    const entries = Object.entries(JSON.parse(text ?? "") as Record<string, unknown>);
    const isWhole = entries.every(([, count]) => Number.isSafeInteger(count) && (count as number) >= 0);
    return isWhole ? new Map(entries as [string, number][]) : undefined;
  } catch {
    return undefined;
  }
}

/** In ASCII: not every database has characters for the name of every dump. */
export function progressText(progress: LoadProgress): string {
  const text = encodeProgress(progress).toString();
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
