import type { Readable } from "node:stream";
import { type DiffTreesResult, diffTrees } from "../tree/diff-trees.ts";
import { DirectChanges } from "../tree/direct-changes.ts";
import type { FactName } from "../tree/fact-names.ts";
import { RenameJoin } from "../tree/rename-join.ts";
import { NEW_SIDE, OLD_SIDE, type Side, type TreeChange } from "../tree/tree-changes.ts";
import { assertTreeOrder, UnsortedTreeError } from "../tree/tree-cursor.ts";
import type { Finding } from "../volume/findings.ts";
import { parsePath } from "../volume/path.ts";
import type { OperationContext } from "./context.ts";
import { compareCounters, compareQuotas, DeletedFiles, type HeadValues, SideReader } from "./diff-head.ts";
import type { DiffPart } from "./diff-parts.ts";
import { compareSettings, type ValueChange } from "./diff-settings.ts";
import type { SnapshotChoice } from "./snapshot-choice.ts";
import { canReadOnce, openVolumeSource, type VolumeSource } from "./volume-source.ts";

export type { FactChange, FactTime, FactValue } from "../tree/compare-facts.ts";
export type { FactName } from "../tree/fact-names.ts";
export type { TreeChange } from "../tree/tree-changes.ts";
export type { DiffPart } from "./diff-parts.ts";
export type { ValueChange } from "./diff-settings.ts";

/** One difference: a path, or a value of the volume. */
export type Difference = TreeChange | ValueChange;

export interface DiffRequest extends SnapshotChoice {
  /** META-URL (with a scheme), file name, or a stream (stdin); a stream can be only one of the two. */
  readonly from: string | { readonly stream: Readable };
  readonly to: string | { readonly stream: Readable };
  /** Only this directory on both sides: its tree is compared, nothing else. */
  readonly subdir?: string | Uint8Array;
  readonly skipTrash?: boolean;
  /** Default: `atime`. */
  readonly ignore?: ReadonlySet<DiffPart>;
  /** Look for renamed files; only ever done between states of one volume. Default true. */
  readonly renames?: boolean;
  /** For those of the files that are encrypted. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
}

/** One of the two sides. */
export interface DiffSide {
  readonly source: string;
  readonly volume: { readonly name: string; readonly uuid: string };
  readonly entries: number;
  /** What was noticed while reading; a loss means that the side could not be read whole. */
  readonly findings: readonly Finding[];
}

export interface DiffReport {
  readonly operation: "diff";
  readonly from: DiffSide;
  readonly to: DiffSide;
  readonly counts: DiffCounts;
  /** No difference was found. */
  readonly equal: boolean;
  /** Both sides were read whole and, where they are databases, at one instant. */
  readonly complete: boolean;
  readonly durationMs: number;
}

export interface DiffCounts {
  added: number;
  removed: number;
  renamed: number;
  changed: number;
  /** Entries that are the same. */
  equal: number;
  /** Settings, counters, quotas, files waiting for deletion. */
  values: number;
}

/**
 * Compares two volumes, live or dumped, by path. Differences are handed over as they are known, in batches: values of the
 * volume first, then paths in the order of names, in which the trash comes last. Memory is bounded by the context's ceiling.
 * JSON dumps are compared as they are read; one whose names come in another order is begun again and sorted.
 *
 * Numbers of files mean something only within one volume: when the UUIDs differ, inodes are not compared.
 */
export async function diff(
  request: DiffRequest,
  context: OperationContext,
  onDifferences: (differences: readonly Difference[]) => Promise<void>,
): Promise<DiffReport> {
  const startedAt = performance.now();
  const unsorted = new Set<Side>();
  for (;;) {
    const comparison = new Comparison(request, context, onDifferences, unsorted);
    try {
      const sides = await comparison.run();
      const { counts } = comparison;
      return {
        operation: "diff",
        from: sides[OLD_SIDE],
        to: sides[NEW_SIDE],
        counts,
        equal: counts.added + counts.removed + counts.renamed + counts.changed + counts.values === 0,
        complete: sides.every(({ findings }) => findings.every(({ loss }) => !loss)),
        durationMs: performance.now() - startedAt,
      };
    } catch (error) {
      if (!(error instanceof UnsortedTreeError) || !comparison.canSort(error.side)) throw error;
      context.logger.debug(`${error.message}: sorting it`);
      unsorted.add(error.side);
    }
  }
}

/** Memory for the index of a side, and for the search for renames, which stand side by side. */
function shareMemory(sides: readonly VolumeSource[], maxBytes: number): { side: number; join: number } {
  const indexes = sides.filter(({ hasIndex }) => hasIndex).length;
  if (indexes === 0) return { side: 0, join: maxBytes };
  const join = Math.floor(maxBytes / 4);
  return { side: Math.floor((maxBytes - join) / indexes), join };
}

function sideOf(source: VolumeSource, { setting }: HeadValues, entries: number): DiffSide {
  return {
    source: source.name,
    volume: { name: setting.name, uuid: setting.uuid },
    entries,
    findings: sideFindings(source),
  };
}

function sideFindings(source: VolumeSource): readonly Finding[] {
  const { findings, consistency } = source;
  if (consistency !== undefined && !consistency.pointInTime && consistency.asked !== true) {
    findings.addOther("not-point-in-time", `Not one point in time: ${consistency.method}`, true);
  }
  return findings.all;
}

/** Differences are handed on in batches of about so many. */
const BATCH_DIFFERENCES = 256;

/** One attempt: it fails with `UnsortedTreeError` before anything is reported, or not at all for that reason. */
class Comparison {
  readonly counts: DiffCounts = { added: 0, removed: 0, renamed: 0, changed: 0, equal: 0, values: 0 };
  readonly #request: DiffRequest;
  readonly #context: OperationContext;
  /** For the search for renames. */
  #maxBytes = 0;
  readonly #ignore: ReadonlySet<DiffPart>;
  readonly #onDifferences: (differences: readonly Difference[]) => Promise<void>;
  /** Sides that were found not to be in order, and those that may yet be found so. */
  readonly #unsorted: ReadonlySet<Side>;
  readonly #sortable: Set<Side> = new Set();

  constructor(
    request: DiffRequest,
    context: OperationContext,
    onDifferences: (differences: readonly Difference[]) => Promise<void>,
    unsorted: ReadonlySet<Side>,
  ) {
    this.#request = request;
    this.#context = context;
    this.#ignore = request.ignore ?? new Set(["atime"]);
    this.#onDifferences = onDifferences;
    this.#unsorted = unsorted;
  }

  /** Whether another attempt can sort the side: it can be read again, and nothing was reported yet. */
  canSort(side: Side): boolean {
    return this.#sortable.has(side);
  }

  async run(): Promise<readonly [DiffSide, DiffSide]> {
    const isReadOnce = [await canReadOnce(this.#request.from), await canReadOnce(this.#request.to)];
    // What is read beside a stream must be known to be in order before the stream is touched.
    if (isReadOnce[NEW_SIDE]) await this.#assertOrder(OLD_SIDE);
    if (isReadOnce[OLD_SIDE]) await this.#assertOrder(NEW_SIDE);
    this.#sortable.clear();
    const from = await this.#open(OLD_SIDE);
    try {
      const to = await this.#open(NEW_SIDE);
      try {
        if (isReadOnce.includes(true)) this.#sortable.clear();
        return await this.#compare(from, to);
      } finally {
        await to.close();
      }
    } finally {
      await from.close();
    }
  }

  async #open(side: Side): Promise<VolumeSource> {
    const { from, to, subdir, skipTrash, decryption, snapshot, maxPauseMs } = this.#request;
    const options = {
      snapshot,
      maxPauseMs,
      subdir: parsePath(subdir ?? "/"),
      withTrash: skipTrash !== true,
      isUnsorted: this.#unsorted.has(side),
      ...(decryption === undefined ? {} : { decryption }),
    };
    const source = await openVolumeSource(side === OLD_SIDE ? from : to, options, this.#context);
    if (source.canBeSorted) this.#sortable.add(side);
    return source;
  }

  /** Reads a side that may have to be sorted for nothing else but its order. */
  async #assertOrder(side: Side): Promise<void> {
    const source = await this.#open(side);
    const { signal, memory } = this.#context;
    const deleted = new DeletedFiles(Math.floor(memory.maxBytes / 4), memory.tmpDir);
    const reader = new SideReader(source.records(0), side, deleted);
    try {
      if (!source.canBeSorted) return;
      await reader.readHead();
      await assertTreeOrder(reader.trees(), side, signal);
    } finally {
      deleted.close();
      await reader.close();
      await source.close();
    }
  }

  async #compare(from: VolumeSource, to: VolumeSource): Promise<readonly [DiffSide, DiffSide]> {
    const memory = shareMemory([from, to], this.#context.memory.maxBytes);
    this.#maxBytes = memory.join;
    const deleted = new DeletedFiles(Math.floor(this.#maxBytes / 4), this.#context.memory.tmpDir);
    const oldSide = new SideReader(from.records(memory.side), OLD_SIDE, deleted);
    const newSide = new SideReader(to.records(memory.side), NEW_SIDE, deleted);
    try {
      const heads = [await oldSide.readHead(), await newSide.readHead()] as const;
      const compareHeads = (): Promise<void> => this.#compareHeads(heads, deleted);
      const isOneVolume = heads[OLD_SIDE].setting.uuid === heads[NEW_SIDE].setting.uuid;
      const trees = await this.#compareTrees(oldSide, newSide, isOneVolume, compareHeads);
      this.counts.equal = trees.equal;
      const withoutTrash = trees.missingTrash === OLD_SIDE ? from : trees.missingTrash === NEW_SIDE ? to : undefined;
      withoutTrash?.findings.addOther("no-trash", "There is no trash: it was compared as an empty one", false);
      return [sideOf(from, heads[OLD_SIDE], trees.oldEntries), sideOf(to, heads[NEW_SIDE], trees.newEntries)];
    } finally {
      deleted.close();
      await oldSide.close();
      await newSide.close();
    }
  }

  /** A part of a volume has the counters and quotas of the whole: they are no part of it. */
  async #compareHeads([from, to]: readonly [HeadValues, HeadValues], deleted: DeletedFiles): Promise<void> {
    if (parsePath(this.#request.subdir ?? "/").length > 0) return;
    const parts: [DiffPart, () => Iterable<ValueChange>][] = [
      ["settings", () => compareSettings(from.setting, to.setting)],
      ["counters", () => compareCounters(from, to)],
      ["quotas", () => compareQuotas(from, to)],
      ["deleted-files", () => deleted.changes()],
    ];
    for (const [part, compare] of parts) if (!this.#ignore.has(part)) await this.#report(compare());
  }

  /** `compareHeads` reports what stands before the trees, and is called once: when it is sure that they can be compared. */
  async #compareTrees(
    oldSide: SideReader,
    newSide: SideReader,
    isOneVolume: boolean,
    compareHeads: () => Promise<void>,
  ): Promise<DiffTreesResult> {
    const sameNumbers = isOneVolume && !this.#ignore.has("inode");
    const ignored = this.#ignoredFacts(sameNumbers);
    const result: DiffTreesResult = { oldEntries: 0, newEntries: 0, equal: 0, missingTrash: undefined };
    const { signal, memory } = this.#context;
    if (!sameNumbers || this.#request.renames === false) {
      // Lines are printed as they are found, and cannot be taken back.
      for (const side of [...this.#sortable]) await this.#assertOrder(side);
      await compareHeads();
      const sink = new DirectChanges(ignored);
      const options = { signal, ignored, sameNumbers: false, sink };
      for await (const _ of diffTrees(oldSide.trees(), newSide.trees(), options, result))
        await this.#report(sink.take());
      await this.#report(sink.take());
      return result;
    }
    const sink = new RenameJoin({ maxBytes: Math.floor((this.#maxBytes * 3) / 4), tmpDir: memory.tmpDir, ignored });
    try {
      const options = { signal, ignored, sameNumbers, sink };
      for await (const _ of diffTrees(oldSide.trees(), newSide.trees(), options, result)) {
        // Nothing can be said before both trees have ended: a file may come back under another name.
      }
      await compareHeads();
      await this.#report(sink.changes());
    } finally {
      sink.close();
    }
    return result;
  }

  #ignoredFacts(sameNumbers: boolean): ReadonlySet<FactName> {
    const ignored = new Set(this.#ignore) as Set<FactName>;
    if (!sameNumbers) ignored.add("inode");
    return ignored;
  }

  async #report(differences: Iterable<Difference>): Promise<void> {
    let batch: Difference[] = [];
    for (const difference of differences) {
      this.#sortable.clear();
      if (isTreeChange(difference)) this.counts[difference.kind]++;
      else this.counts.values++;
      batch.push(difference);
      if (batch.length < BATCH_DIFFERENCES) continue;
      this.#context.signal.throwIfAborted();
      await this.#onDifferences(batch);
      batch = [];
    }
    if (batch.length > 0) await this.#onDifferences(batch);
  }
}

/** Whether a difference is one of a path. */
export function isTreeChange(difference: Difference): difference is TreeChange {
  return "path" in difference;
}
