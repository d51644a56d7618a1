/**
 * Progress is counted apart from how it is shown: operations add to plain counters, whoever renders them reads the
 * counters by a timer. No call per record.
 */
export interface PhaseProgress {
  /** What is being done, in the user's words: "Reading nodes", "Writing entries". */
  readonly name: string;
  /** Records done so far. */
  records: number;
  /** Bytes done so far, 0 where it makes no sense. */
  bytes: number;
  /** Expected number of records, when it is known. */
  totalRecords: number | undefined;
  /** Expected number of bytes, when it is known. */
  totalBytes: number | undefined;
  /** `performance.now()` of the beginning and end. */
  readonly startedAt: number;
  endedAt: number | undefined;
}

/** Collects the phases of one operation. */
export class Progress {
  readonly phases: PhaseProgress[] = [];

  /** Starts a phase; several may run at once. */
  begin(name: string, totals: { records?: number; bytes?: number } = {}): PhaseProgress {
    const phase: PhaseProgress = {
      name,
      records: 0,
      bytes: 0,
      totalRecords: totals.records,
      totalBytes: totals.bytes,
      startedAt: performance.now(),
      endedAt: undefined,
    };
    this.phases.push(phase);
    return phase;
  }

  end(phase: PhaseProgress): void {
    phase.endedAt = performance.now();
  }
}
