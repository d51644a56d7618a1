import type { PhaseProgress, Progress } from "../base/progress.ts";
import type { RecordBatch, RecordKind } from "../volume/records.ts";

/** The kinds of which a volume may have many; the others are read and written in no time. */
const NAMES: ReadonlyMap<RecordKind, string> = new Map([
  ["node", "inodes"],
  ["edge", "directory entries"],
  ["chunk", "chunks"],
  ["symlink", "symlinks"],
  ["xattr", "extended attributes"],
  ["sliceRef", "slice references"],
  ["dirStat", "directory statistics"],
]);

/** Counts records by kind: a phase each, begun with the first of them. */
export class KindProgress {
  readonly #progress: Progress;
  readonly #verb: "Reading" | "Writing";
  readonly #totals: ReadonlyMap<RecordKind, number>;
  readonly #phases: Map<RecordKind, PhaseProgress> = new Map();

  /** `totals`: how many of a kind are expected, as far as that is known. */
  constructor(progress: Progress, verb: "Reading" | "Writing", totals: ReadonlyMap<RecordKind, number> = new Map()) {
    this.#progress = progress;
    this.#verb = verb;
    this.#totals = totals;
  }

  count(batch: RecordBatch): void {
    let phase = this.#phases.get(batch.kind);
    if (phase === undefined) {
      const name = NAMES.get(batch.kind);
      if (name === undefined) return;
      const total = this.#totals.get(batch.kind);
      phase = this.#progress.begin(`${this.#verb} ${name}`, total === undefined ? {} : { records: total });
      this.#phases.set(batch.kind, phase);
    }
    phase.records += batch.count;
    phase.bytes += batch.bytes.length;
  }

  end(): void {
    for (const phase of this.#phases.values()) this.#progress.end(phase);
  }
}
