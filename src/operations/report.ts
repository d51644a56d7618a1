import type { Finding } from "../volume/findings.ts";
import type { RecordKind } from "../volume/records.ts";
import type { UnsupportedReport } from "./unsupported-values.ts";
import type { Verification } from "./verify-target.ts";

export type { Finding };

/** Counts by record kind, as far as they apply. */
export type RecordCounts = Partial<Record<RecordKind | "directory" | "file", number>>;

export interface ReportBase {
  /** Name and UUID of the volume. */
  readonly volume: { readonly name: string; readonly uuid: string };
  readonly counts: RecordCounts;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
  /** What the user must do next, whole sentences; commands complete enough to be copied. */
  readonly nextSteps: readonly string[];
}

export interface DumpReport extends ReportBase {
  readonly operation: "dump";
  readonly source: string;
  /** File name, or undefined for stdout. */
  readonly file: string | undefined;
  readonly format: "json" | "binary";
  readonly compression: "none" | "gzip" | "zstd";
  /** Bytes of the document before compression, and bytes written. */
  readonly documentBytes: number;
  readonly writtenBytes: number;
  readonly consistency: {
    readonly pointInTime: boolean;
    readonly method: string;
    readonly asOf: string;
    /** No point in time, but nothing else was asked for. */
    readonly asked?: boolean;
    /** Where changed values were read again: how many, in how many rounds, and how long writers were held. */
    readonly tracking?: { readonly rereadKeys: number; readonly rounds: number; readonly heldMs: number };
  };
  /** The manifest that was written beside the file. */
  readonly manifest?: string;
}

/** Counter values as a dump or a loaded volume has them, in the SQL sense (docs/spec/json-dump.md §4). */
export interface CounterValues {
  readonly usedSpace: bigint;
  readonly usedInodes: bigint;
  readonly nextInode: bigint;
  readonly nextChunk: bigint;
  readonly nextSession: bigint;
  readonly nextTrash: bigint;
}

export interface LoadReport extends ReportBase {
  readonly operation: "load" | "migrate";
  /** File name, "STDIN", or the source address of a migration. */
  readonly source: string;
  readonly target: string;
  readonly dryRun: boolean;
  /** Batches of records that an earlier load had stored; 0 when this one began. */
  readonly resumedBatches: number;
  readonly readBytes: number;
  readonly counters: { readonly source: CounterValues; readonly loaded: CounterValues };
  /** What the target could not hold and was left out. */
  readonly unsupported: UnsupportedReport;
  /** Undefined where the target was not read again, as in a dry run. */
  readonly verification?: Verification | undefined;
}
