import { ConflictError, errorText } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import type { MetadataStore, TargetState } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import type { ObjectStorage } from "../storage/object-storage.ts";
import { canReachStorage, openStorage } from "../storage/open-storage.ts";
import { probeStorage } from "../storage/probe-storage.ts";
import { formatSetting, parseSetting, type Setting } from "../volume/setting.ts";
import { decryptAllSecrets, removeSecrets } from "../volume/setting-secrets.ts";
import type { OperationContext } from "./context.ts";
import { assertFormatFlags, type FormatFlags, newSetting, updatedSetting } from "./format-plan.ts";
import { rootAttribute, settingChange, storedForm, trashRootAttribute } from "./setting-change.ts";
import { notFormattedError } from "./volume-setting.ts";

export interface FormatRequest {
  /** META-URL. */
  readonly target: string;
  readonly name: string;
  readonly flags: FormatFlags;
  /** Overwrite the setting of an existing volume without the check of what must not change. */
  readonly force?: boolean;
  /** An existing volume is left alone. */
  readonly noUpdate?: boolean;
}

const UNCLAIM_TIMEOUT_MS = 10_000;

export interface FormatReport {
  readonly operation: "format";
  readonly outcome: "created" | "updated" | "kept";
  /** The setting afterwards, secrets removed. */
  readonly setting: Setting;
}

/** Creates a volume, or changes the setting of an existing one as the reference's `format` does (docs/spec/settings.md §4-5). */
export async function format(request: FormatRequest, context: OperationContext): Promise<FormatReport> {
  assertFormatFlags(request.name, request.flags);
  const { signal, logger, env } = context;
  const store = await openStore(request.target, { logger, signal, env, tmpDir: context.memory.tmpDir, create: true });
  try {
    const target = await store.inspectTarget(signal);
    if (target.state !== "volume") return await createVolume(store, target, request, context);
    const stored = parseSetting(target.setting);
    if (request.noUpdate === true) return report("kept", stored);
    return report("updated", await updateVolume(store, stored, request, context));
  } finally {
    await store.close();
  }
}

function report(outcome: FormatReport["outcome"], setting: Setting): FormatReport {
  return { operation: "format", outcome, setting: removeSecrets(setting, "display") };
}

async function createVolume(
  store: MetadataStore,
  target: TargetState,
  request: FormatRequest,
  context: OperationContext,
): Promise<FormatReport> {
  if (target.state === "occupied" && request.force !== true) {
    throw new ConflictError("DECANT_E_TARGET_OCCUPIED", target.message, {
      hint: "It may hold a load that did not finish. Empty it, choose another one, or give --force to format it as it is",
    });
  }
  const setting = newSetting(request.name, request.flags, context);
  const storage = await openProbed(setting, context);
  try {
    if (storage !== undefined) await claimStorage(storage, setting, context);
    await createOrUnclaim(store, storage, setting, context);
  } finally {
    await storage?.close();
  }
  return report("created", setting);
}

async function createOrUnclaim(
  store: MetadataStore,
  storage: ObjectStorage | undefined,
  setting: Setting,
  context: OperationContext,
): Promise<void> {
  const now = new Date();
  try {
    const trashRoot = setting.trashDays > 0n ? trashRootAttribute(now) : undefined;
    await store.createVolume({ setting: storedForm(setting), root: rootAttribute(now), trashRoot }, context.signal);
  } catch (error) {
    // also when the reason is an abort; the first error is the one that matters
    await storage?.delete("juicefs_uuid", AbortSignal.timeout(UNCLAIM_TIMEOUT_MS)).catch(() => undefined);
    throw error;
  }
}

/** Refuses a prefix that holds another volume's objects, then marks it as this volume's. */
async function claimStorage(storage: ObjectStorage, setting: Setting, context: OperationContext): Promise<void> {
  const foreign = await storage.findForeignObject(context.signal);
  if (foreign !== undefined) {
    throw new ConflictError(
      "DECANT_E_STORAGE_NOT_EMPTY",
      `Storage ${storage.displayName} is not empty; please clean it up or pick another volume name`,
      { hint: `It holds ${foreign}` },
    );
  }
  try {
    await storage.put("juicefs_uuid", Buffer.from(setting.uuid), context.signal);
  } catch (error) {
    context.signal.throwIfAborted();
    context.logger.warn(`Failed to write juicefs_uuid into ${storage.displayName}: ${errorText(error)}`);
  }
}

/** Undefined when JFS_NO_CHECK_OBJECT_STORAGE says that the storage is not to be touched. */
async function openProbed(setting: Setting, context: OperationContext): Promise<ObjectStorage | undefined> {
  if ((context.env.JFS_NO_CHECK_OBJECT_STORAGE ?? "") !== "") {
    canReachStorage(setting); // a type that does not exist is refused in any case
    return undefined;
  }
  const storage = await openStorage(decryptAllSecrets(setting), context);
  try {
    context.logger.info(`Data use ${storage.displayName}`);
    await probeStorage(storage, context);
    return storage;
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function updateVolume(
  store: MetadataStore,
  stored: Setting,
  request: FormatRequest,
  context: OperationContext,
): Promise<Setting> {
  const { logger } = context;
  const force = request.force === true;
  let next = updatedSetting(stored, request.name, request.flags, { force, logger });
  await (await openProbed(next, context))?.close();
  if (force) {
    const shown = formatSetting(removeSecrets(stored, "display"), { form: "pretty" });
    logger.warn(`Existing volume will be overwrited: ${shown}`);
  }
  await store.updateSetting((bytes) => {
    if (bytes === undefined) throw notFormattedError(store.address);
    const current = parseSetting(bytes);
    if (current.uuid !== stored.uuid) {
      throw new ConflictError(
        "DECANT_E_OTHER_VOLUME",
        `Another volume (${current.uuid}) has taken the place of ${stored.uuid}`,
      );
    }

    next = updatedSetting(current, request.name, request.flags, { force, logger: silentLogger });
    return settingChange(current, next, new Date());
  }, context.signal);
  return next;
}
