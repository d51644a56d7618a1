import type { Readable } from "node:stream";
import { openStore } from "../engines/registry.ts";
import { openInput } from "../formats/container/input.ts";
import { decodeJsonDump } from "../formats/json/decode.ts";
import { FindingList } from "../volume/findings.ts";
import type { OperationContext } from "./context.ts";
import { checkTarget, loadVolume, nextStepsAfterLoad, refuseCleanDryRun } from "./load-volume.ts";
import type { LoadReport } from "./report.ts";
import { STOP_ON_UNSUPPORTED, type UnsupportedOptions } from "./unsupported-values.ts";

export interface LoadRequest {
  /** META-URL of the empty target. */
  readonly target: string;
  /** File to read, or a stream (stdin). Plain, gzip or zstd, told by content. */
  readonly source: { readonly file: string } | { readonly stream: Readable };
  /** Decrypt the file first; pass phrase in `JFS_RSA_PASSPHRASE`. */
  readonly decryption?: { readonly keyFile: string; readonly algorithm: string };
  /** Read and check everything, write nothing. */
  readonly dryRun?: boolean;
  /** First remove from the target what a load of decant that was cut off has left there. Not together with `dryRun`. */
  readonly clean?: boolean;
  /** What to do with values that the target cannot hold; default: stop. */
  readonly unsupported?: UnsupportedOptions;
}

/**
 * Loads a JSON dump into an empty database (docs/spec/json-dump.md §9-11). Throws `NotFoundError` for a missing file,
 * `ConflictError` for a target that holds something, `DataError` for a dump that cannot be understood, `EngineError` for the
 * target; the target is then as it was.
 */
export async function load(request: LoadRequest, context: OperationContext): Promise<LoadReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = context;
  const dryRun = request.dryRun ?? false;
  const clean = request.clean ?? false;
  refuseCleanDryRun(clean, dryRun);
  const input = await openInput(request.source, {
    signal,
    env,
    ...(request.decryption === undefined ? {} : { decryption: request.decryption }),
  });
  try {
    const target = await openStore(request.target, { logger, signal, env, create: true });
    try {
      await checkTarget(target, context, clean);
      const findings = new FindingList();
      const reading = context.progress.begin(
        "Reading the dump",
        input.totalBytes === undefined ? {} : { bytes: input.totalBytes },
      );
      const records = decodeJsonDump(input.bytes, {
        signal,
        onWarning: (kind, text, example) =>
          findings.addOther(kind, text, false, example === undefined ? undefined : () => example),
      });
      const loaded = await loadVolume(
        counted(records, () => (reading.bytes = input.readBytes())),
        {
          target,
          dryRun,
          findings,
          context,
          unsupported: request.unsupported ?? STOP_ON_UNSUPPORTED,
        },
      );
      context.progress.end(reading);
      return {
        operation: "load",
        source: "file" in request.source ? request.source.file : "STDIN",
        target: target.address,
        volume: { name: loaded.setting.name, uuid: loaded.setting.uuid },
        counts: loaded.counts,
        counters: loaded.counters,
        unsupported: loaded.unsupported,
        dryRun,
        readBytes: input.readBytes(),
        durationMs: performance.now() - startedAt,
        findings: findings.all,
        nextSteps: nextStepsAfterLoad(loaded.setting, target.address),
      };
    } finally {
      await target.close();
    }
  } finally {
    await input.close();
  }
}

async function* counted<T>(stream: AsyncIterable<T>, onItem: () => void): AsyncGenerator<T> {
  for await (const item of stream) {
    onItem();
    yield item;
  }
}
