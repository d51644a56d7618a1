import { ConflictError } from "../base/errors.ts";
import type { MetadataStore } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import { canReachStorage, openStorage } from "../storage/open-storage.ts";
import { probeStorage } from "../storage/probe-storage.ts";
import { parseSetting, type Setting } from "../volume/setting.ts";
import { decryptAllSecrets, removeSecrets } from "../volume/setting-secrets.ts";
import { changeWarnings } from "./config-checks.ts";
import { type ConfigFlags, type ConfigPlan, planConfig } from "./config-plan.ts";
import type { OperationContext } from "./context.ts";
import { settingChange } from "./setting-change.ts";
import { countUserGroupUsage } from "./user-group-usage.ts";
import { notFormattedError, readVolumeSetting } from "./volume-setting.ts";

export interface ConfigRequest {
  /** META-URL of the volume. */
  readonly target: string;
  /** Without any the setting is only shown. */
  readonly flags: ConfigFlags;
  /** Skip checks, questions and the probe of the object storage. */
  readonly force?: boolean;
  /** Check and say what would change, write nothing. */
  readonly dryRun?: boolean;
  /** Asked once per thing that the user must know; false stops the operation, but not a dry run. Default: false. */
  readonly confirm?: (warning: string) => Promise<boolean>;
}

export interface ConfigReport {
  readonly operation: "config";
  readonly volume: { readonly name: string; readonly uuid: string };
  readonly dryRun: boolean;
  /** One line per changed value; empty when nothing changed. */
  readonly changes: readonly string[];
  /** The setting afterwards, secrets removed. */
  readonly setting: Setting;
}

/** Shows or changes the setting of a volume (docs/spec/settings.md §6). */
export async function config(request: ConfigRequest, context: OperationContext): Promise<ConfigReport> {
  const { signal, logger, env } = context;
  const store = await openStore(request.target, { logger, signal, env, tmpDir: context.memory.tmpDir });
  try {
    const stored = await readVolumeSetting(store, signal);
    const plan = planConfig(stored, request.flags);
    if (plan.lines.length > 0) {
      if (request.force !== true) await check(store, stored, plan, request, context);
      if (request.dryRun !== true) await write(store, stored, request.flags, context);
    }
    return {
      operation: "config",
      volume: { name: stored.name, uuid: stored.uuid },
      dryRun: request.dryRun === true,
      changes: plan.lines,
      setting: removeSecrets(plan.setting, "display"),
    };
  } finally {
    await store.close();
  }
}

async function check(
  store: MetadataStore,
  stored: Setting,
  plan: ConfigPlan,
  request: ConfigRequest,
  context: OperationContext,
): Promise<void> {
  for (const warning of await changeWarnings(store, stored, plan, context)) {
    const answer = await request.confirm?.(warning);
    if (answer !== true && request.dryRun !== true) {
      throw new ConflictError("DECANT_E_ABORTED", "Aborted.", { hint: "Answer with y or give --yes" });
    }
  }
  if (plan.storageChanged && request.dryRun !== true) await probe(plan.setting, context);
}

async function probe(setting: Setting, context: OperationContext): Promise<void> {
  if (!canReachStorage(setting)) {
    context.logger.warn(
      `This version of decant cannot probe object storage of type ${setting.storage}: make sure that bucket and keys are right`,
    );
    return;
  }
  const storage = await openStorage(decryptAllSecrets(setting), context);
  try {
    await probeStorage(storage, context);
  } finally {
    await storage.close();
  }
}

/** The change is worked out anew from what is stored at that very moment. */
async function write(
  store: MetadataStore,
  planned: Setting,
  flags: ConfigFlags,
  context: OperationContext,
): Promise<void> {
  let next = planned;
  let current = planned;
  await store.updateSetting((bytes) => {
    if (bytes === undefined) throw notFormattedError(store.address);
    current = parseSetting(bytes);
    if (current.uuid !== planned.uuid) {
      throw new ConflictError(
        "DECANT_E_OTHER_VOLUME",
        `Another volume (${current.uuid}) has taken the place of ${planned.uuid}`,
      );
    }
    next = planConfig(current, flags).setting;
    return settingChange(current, next, new Date());
  }, context.signal);
  if (next.userGroupQuota && !current.userGroupQuota) {
    const usage = await countUserGroupUsage(store, { withTrash: next.trashDays > 0n }, context);
    await store.replaceUserGroupUsage(usage, context.signal);
  }
}
