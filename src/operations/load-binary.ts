import { DataError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { refuseDuplicates } from "../tree/duplicate-check.ts";
import { ReferenceCheck } from "../tree/reference-check.ts";
import { UnnamedValues } from "../tree/unnamed-values.ts";
import { leaveOutUnsupportedFlat } from "../tree/unsupported-flat.ts";
import type { FindingList } from "../volume/findings.ts";
import { packBatch, type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { KindProgress } from "./kind-progress.ts";
import { beginLoad, counterValues, type LoadedVolume, type LoadVolumeOptions } from "./load-volume.ts";

export interface LoadFlatOptions extends LoadVolumeOptions {
  /** Gives the records of the source once more; undefined for a stream, which is gone. */
  readonly readAgain?: (() => RecordStream) | undefined;
}

/**
 * Writes flat records into an empty target exactly as they are, the setting last (docs/spec/binary-dump.md §7). Counters are
 * kept until all has passed: those that are below a number in use are raised, else new files would get numbers of old ones.
 * Whatever goes wrong, the target is then as it was.
 */
export async function loadFlatVolume(source: RecordStream, options: LoadFlatOptions): Promise<LoadedVolume> {
  const { context, findings, readAgain } = options;
  const { maxBytes, tmpDir } = context.memory;
  const single = refuseDuplicates(source, { maxBytes: maxBytes / 2, tmpDir }, readAgain);
  const { head, loader, records, unsupported } = await beginLoad(single, options, "exceptions", {
    stage: (flat, limits, onValue) =>
      leaveOutUnsupportedFlat(flat, limits, onValue, { maxBytes: maxBytes / 4, tmpDir }),
    unnamed: {
      // Looks up paths when all else is done, so that the rest of its half is free then.
      values: new UnnamedValues({ maxBytes: maxBytes / 2, tmpDir, signal: context.signal }),
      readAgain: () => readAgain?.() ?? warnOfInodes(context.logger),
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
        counters.add(batch);
      } else if (batch.kind === "changeLog") {
        findings.add("change-log-dropped", undefined, batch.count);
      } else {
        check.add(batch);
        await loader.write(batch);
      }
    }
    check.end(findings);
    const setting = head.require();
    await loader.write(counters.raised(check, findings));
    await loader.finish(head.requireStored());
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
    };
  } catch (error) {
    await loader.abort();
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

  add(batch: RecordBatch): void {
    for (const { name, value } of unpackBatch("counter", batch)) {
      if (this.source.has(name)) {
        throw new DataError("DECANT_E_DUPLICATE", `The dump has the counter ${JSON.stringify(name)} twice`, {
          location: { key: name },
          hint: "Only one of the two would be stored: take another dump of the volume",
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
