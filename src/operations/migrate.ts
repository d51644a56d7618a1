import { openStore } from "../engines/registry.ts";
import { FindingList } from "../volume/findings.ts";
import { packBatch, type RecordStream } from "../volume/records.ts";
import { type OperationContext, withMemory } from "./context.ts";
import { loadStamp, resumedContext } from "./interrupted-load.ts";
import { LoadDigest } from "./load-digest.ts";
import { checkTarget, loadVolume, nextStepsAfterLoad, refuseContradictions, refuseSameAddress } from "./load-volume.ts";
import { DEFAULT_CHECKPOINT_BYTES } from "./load-writer.ts";
import type { LoadReport } from "./report.ts";
import { type SnapshotChoice, snapshotOptions } from "./snapshot-choice.ts";
import { snapshotTree } from "./snapshot-tree.ts";
import { STOP_ON_UNSUPPORTED, type UnsupportedOptions } from "./unsupported-values.ts";
import { verifyTarget } from "./verify-target.ts";
import { openVolumeSnapshot } from "./volume-setting.ts";

export interface MigrateRequest extends SnapshotChoice {
  /** META-URLs of the volume and of the empty target. */
  readonly source: string;
  readonly target: string;
  /** Read and check everything, write nothing. */
  readonly dryRun?: boolean;
  /** First remove from the target what a load of decant that was cut off has left there. Not together with `dryRun`. */
  readonly clean?: boolean;
  /** As for `load`: the source must not have changed. */
  readonly resume?: boolean;
  readonly checkpointBytes?: number;
  /** What to do with values that the target cannot hold; default: stop. */
  readonly unsupported?: UnsupportedOptions;
  /** Read the target again in the end and compare it with what was written. Default true; a dry run has nothing to read. */
  readonly verify?: boolean;
}

/**
 * Copies a volume from one database to another without a file between, with the checks and the closing report of a load.
 * Secrets are kept as they are stored. Throws what `dump` and `load` throw; the target is then as it was.
 */
export async function migrate(request: MigrateRequest, given: OperationContext): Promise<LoadReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = given;
  const dryRun = request.dryRun ?? false;
  const clean = request.clean ?? false;
  const resume = request.resume ?? false;
  refuseContradictions({ clean, dryRun, resume });
  refuseSameAddress(request.source, request.target);
  const source = await openStore(request.source, { logger, signal, env, tmpDir: given.memory.tmpDir });
  try {
    const target = await openStore(request.target, {
      logger,
      signal,
      env,
      tmpDir: given.memory.tmpDir,
      create: true,
    });
    try {
      const earlier = await checkTarget(target, given, { clean, resume });
      const context = resumedContext(given, earlier);
      const snapshot = await openVolumeSnapshot(source, snapshotOptions(request, context));
      try {
        const findings = new FindingList();
        // Two record indexes stand side by side: one that makes the tree, one that consolidates it.
        const halved = withMemory(context, context.memory.maxBytes / 2);
        const tree = snapshotTree(snapshot, halved, { withTrash: true, findings });
        const expectedNodes = snapshot.estimates.get("node");
        const digest = dryRun || request.verify === false ? undefined : new LoadDigest(target.recordForm);
        const loaded = await loadVolume(withSetting(snapshot.setting, tree), {
          target,
          dryRun,
          findings,
          digest,
          context: halved,
          unsupported: request.unsupported ?? STOP_ON_UNSUPPORTED,
          resumption: {
            stamp: loadStamp(source.address, context, earlier),
            resume,
            checkpointBytes: request.checkpointBytes ?? DEFAULT_CHECKPOINT_BYTES,
          },
          ...(expectedNodes === undefined ? {} : { expectedNodes }),
        });
        if (!snapshot.consistency.pointInTime && snapshot.consistency.asked !== true) {
          findings.addOther("not-point-in-time", `Not one point in time: ${snapshot.consistency.method}`, true);
        }
        await snapshot.close(); // the source need not keep what it was at that instant
        const verification = digest === undefined ? undefined : await verifyTarget(target, digest, context);
        return {
          operation: "migrate",
          source: source.address,
          target: target.address,
          volume: { name: loaded.setting.name, uuid: loaded.setting.uuid },
          counts: loaded.counts,
          counters: loaded.counters,
          unsupported: loaded.unsupported,
          verification,
          dryRun,
          resumedBatches: loaded.resumedBatches,
          readBytes: 0,
          durationMs: performance.now() - startedAt,
          findings: findings.all,
          nextSteps: nextStepsAfterLoad(loaded.setting, target.address),
        };
      } finally {
        await snapshot.close();
      }
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function* withSetting(json: Buffer, records: RecordStream): RecordStream {
  yield packBatch("setting", [{ json }]);
  yield* records;
}
