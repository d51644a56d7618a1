import { openStore } from "../engines/registry.ts";
import { FindingList } from "../volume/findings.ts";
import { packBatch, type RecordStream } from "../volume/records.ts";
import type { OperationContext } from "./context.ts";
import { checkTarget, loadVolume, nextStepsAfterLoad, refuseCleanDryRun, refuseSameAddress } from "./load-volume.ts";
import type { LoadReport } from "./report.ts";
import { snapshotTree } from "./snapshot-tree.ts";
import { STOP_ON_UNSUPPORTED, type UnsupportedOptions } from "./unsupported-values.ts";

export interface MigrateRequest {
  /** META-URLs of the volume and of the empty target. */
  readonly source: string;
  readonly target: string;
  /** Read and check everything, write nothing. */
  readonly dryRun?: boolean;
  /** First remove from the target what a load of decant that was cut off has left there. Not together with `dryRun`. */
  readonly clean?: boolean;
  /** What to do with values that the target cannot hold; default: stop. */
  readonly unsupported?: UnsupportedOptions;
}

/**
 * Copies a volume from one database to another without a file between, with the checks and the closing report of a load.
 * Secrets are kept as they are stored. Throws what `dump` and `load` throw; the target is then as it was.
 */
export async function migrate(request: MigrateRequest, context: OperationContext): Promise<LoadReport> {
  const startedAt = performance.now();
  const { signal, logger, env } = context;
  const dryRun = request.dryRun ?? false;
  const clean = request.clean ?? false;
  refuseCleanDryRun(clean, dryRun);
  refuseSameAddress(request.source, request.target);
  const source = await openStore(request.source, { logger, signal, env, tmpDir: context.memory.tmpDir });
  try {
    const target = await openStore(request.target, {
      logger,
      signal,
      env,
      tmpDir: context.memory.tmpDir,
      create: true,
    });
    try {
      await checkTarget(target, context, clean);
      const snapshot = await source.openSnapshot({ signal, logger });
      try {
        const findings = new FindingList();
        // Two record indexes stand side by side: one that makes the tree, one that consolidates it.
        const halved = { ...context, memory: { ...context.memory, maxBytes: context.memory.maxBytes / 2 } };
        const tree = snapshotTree(snapshot, halved, { withTrash: true, findings });
        const expectedNodes = snapshot.estimates.get("node");
        const loaded = await loadVolume(withSetting(snapshot.setting, tree), {
          target,
          dryRun,
          findings,
          context: halved,
          unsupported: request.unsupported ?? STOP_ON_UNSUPPORTED,
          ...(expectedNodes === undefined ? {} : { expectedNodes }),
        });
        if (!snapshot.consistency.pointInTime) {
          findings.addOther("not-point-in-time", `Not one point in time: ${snapshot.consistency.method}`, true);
        }
        return {
          operation: "migrate",
          source: source.address,
          target: target.address,
          volume: { name: loaded.setting.name, uuid: loaded.setting.uuid },
          counts: loaded.counts,
          counters: loaded.counters,
          unsupported: loaded.unsupported,
          dryRun,
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
