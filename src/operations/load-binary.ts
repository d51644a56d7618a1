import { recycle } from "../base/bytes.ts";
import { DataError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import {
  type DuplicateCheckOptions,
  findSuspects,
  RepeatedRecordsError,
  watchForDuplicates,
} from "../tree/duplicate-check.ts";
import { ReferenceCheck } from "../tree/reference-check.ts";
import { duplicateInStreamError, RepeatedRecords, tooManyRepeatedError } from "../tree/repeated-records.ts";
import type { SuspectSet } from "../tree/suspect-set.ts";
import { UnnamedValues } from "../tree/unnamed-values.ts";
import { leaveOutUnsupportedFlat } from "../tree/unsupported-flat.ts";
import type { FindingList } from "../volume/findings.ts";
import { packBatch, type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { KindProgress } from "./kind-progress.ts";
import { beginLoad, counterValues, failedLoad, type LoadedVolume, type LoadVolumeOptions } from "./load-volume.ts";

export interface LoadFlatOptions extends LoadVolumeOptions {
  /** Undefined for a stream, which is gone. */
  readonly again?: FlatSourceAgain | undefined;
}

/** A source that can be read more than once. */
export interface FlatSourceAgain {
  /** The records, to look something up. */
  readRecords(): RecordStream;
  /** All as the first time: what is noticed goes into the findings, which are empty again. */
  restart(): RecordStream;
}

/**
 * Writes flat records into an empty target exactly as they are, the setting last (docs/spec/binary-dump.md §7). Counters are
 * kept until all has passed: those that are below a number in use are raised, else new files would get numbers of old ones.
 * Whatever goes wrong, the target is then as it was.
 *
 * Of records that are there twice and the same, the second is left out, with a finding. Dumps hardly ever have any, and then it is
 * too late, so the load begins once more. Throws `DataError` for records of one thing that differ.
 */
export async function loadFlatVolume(source: RecordStream, options: LoadFlatOptions): Promise<LoadedVolume> {
  const { context, findings, again } = options;
  const { maxBytes, tmpDir } = context.memory;
  try {
    return await loadOnce(watchForDuplicates(source, { maxBytes: maxBytes / 2, tmpDir }), options);
  } catch (error) {
    if (!isAboutDuplicates(error)) throw error;
    if (again === undefined) throw error instanceof RepeatedRecordsError ? duplicateInStreamError(error.record) : error;
    context.logger.debug("Records may be in the dump twice: reading it again to compare them");
    const suspects = await suspectsOf(error, again, { maxBytes: maxBytes / 2, tmpDir });
    const compared = await compare(again, suspects);
    // A server may refuse two rows for reasons of its own: not two records of one thing are then what is wrong.
    if (compared.identical === 0 && !(error instanceof RepeatedRecordsError)) throw error;
    if (compared.identical > 0) {
      context.logger.warn("The dump has records twice, byte for byte: loading it again, each of them once");
    }
    findings.clear();
    const repeated = new RepeatedRecords(suspects, (record) => findings.add("repeated-record", record));
    return await loadOnce(repeated.filter(again.restart()), options);
  }
}

/** Also what an engine says that could not store a second row of a key. */
function isAboutDuplicates(error: unknown): error is Error {
  return error instanceof RepeatedRecordsError || (error instanceof DataError && error.code === "DECANT_E_DUPLICATE");
}

async function suspectsOf(error: Error, again: FlatSourceAgain, options: DuplicateCheckOptions): Promise<SuspectSet> {
  const known = error instanceof RepeatedRecordsError ? error.suspects : undefined;
  const suspects = known ?? (await findSuspects(again.readRecords(), options));
  if (!suspects.isComplete) throw tooManyRepeatedError(suspects.size);
  return suspects;
}

async function compare(again: FlatSourceAgain, suspects: SuspectSet): Promise<RepeatedRecords> {
  const repeated = new RepeatedRecords(suspects);
  for await (const batch of repeated.filter(again.readRecords())) recycle(batch.bytes);
  return repeated;
}

async function loadOnce(source: RecordStream, options: LoadFlatOptions): Promise<LoadedVolume> {
  const { context, findings, again } = options;
  const { maxBytes, tmpDir } = context.memory;
  const { head, writer, records, unsupported } = await beginLoad(source, options, "exceptions", {
    stage: (flat, limits, onValue) =>
      leaveOutUnsupportedFlat(flat, limits, onValue, { maxBytes: maxBytes / 4, tmpDir }),
    unnamed: {
      // Looks up paths when all else is done, so that the rest of its half is free then.
      values: new UnnamedValues({ maxBytes: maxBytes / 2, tmpDir, signal: context.signal }),
      readAgain: () => again?.readRecords() ?? warnOfInodes(context.logger),
    },
  });
  const counts = new Map<string, number>();
  const check = new ReferenceCheck();
  const counters = new Counters();
  const writing = new KindProgress(context.progress, "Writing");
  try {
    for await (const batch of records) {
      context.signal.throwIfAborted();
      counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
      writing.count(batch);
      if (batch.kind === "counter") {
        counters.add(batch, findings);
      } else if (batch.kind === "changeLog") {
        findings.add("change-log-dropped", undefined, batch.count);
      } else {
        check.add(batch);
        await writer.write(batch);
      }
    }
    check.end(findings);
    const setting = head.require();
    await writer.write(counters.raised(check, findings));
    await writer.finish(head.requireStored());
    writing.end();
    return {
      setting,
      counts: {
        ...Object.fromEntries(counts),
        directory: check.directories,
        file: check.nodes - check.directories,
      },
      counters: { source: counterValues(counters.source), loaded: counterValues(counters.loaded) },
      unsupported: unsupported(),
      resumedBatches: writer.resumedBatches,
    };
  } catch (error) {
    if (!isAboutDuplicates(error)) throw await failedLoad(error, writer, options);
    await writer.abort(); // it begins once more, with other records
    throw error;
  }
}

function warnOfInodes(logger: Logger): undefined {
  logger.warn(
    "What cannot be held is named by inode: the dump came as a stream, which cannot be read twice for the paths",
  );
}

/** Largest number that a counter may be raised to: what is above comes from no volume. */
const MAX_IN_USE = 1n << 62n;

class Counters {
  readonly source: Map<string, bigint> = new Map();
  readonly loaded: Map<string, bigint> = new Map();

  add(batch: RecordBatch, findings: FindingList): void {
    for (const { name, value } of unpackBatch("counter", batch)) {
      if (this.source.get(name) === value) {
        findings.add("repeated-record", () => `counter ${name}`);
      } else if (this.source.has(name)) {
        throw new DataError("DECANT_E_DUPLICATE", `The dump has the counter ${JSON.stringify(name)} twice`, {
          location: { key: name },
          hint: "Only one of the two would be stored, and they differ: take another dump of the volume",
        });
      }
      this.source.set(name, value);
    }
  }

  /** All counters, in the order in which they came. */
  raised(check: ReferenceCheck, findings: FindingList): RecordBatch {
    for (const [name, value] of this.source) this.loaded.set(name, value);
    this.#atLeast("nextInode", check.largestInode + 1n, findings);
    this.#atLeast("nextChunk", check.largestSlice + 1n, findings);
    this.#atLeast("nextTrash", check.largestTrash, findings);
    return packBatch(
      "counter",
      [...this.loaded].map(([name, value]) => ({ name, value })),
    );
  }

  #atLeast(name: string, needed: bigint, findings: FindingList): void {
    const value = this.source.get(name) ?? 0n;
    if (value >= needed || needed > MAX_IN_USE) return;
    this.loaded.set(name, needed);
    findings.add("counter-raised", () => `${name} from ${value} to ${needed}`);
  }
}
