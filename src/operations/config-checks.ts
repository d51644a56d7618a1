import { ConflictError } from "../base/errors.ts";
import type { MetadataStore } from "../engines/engine.ts";
import { unpackBatch } from "../volume/records.ts";
import type { Setting } from "../volume/setting.ts";
import { CLIENT_VERSION, compareVersions, parseVersion } from "../volume/version.ts";
import type { ConfigPlan } from "./config-plan.ts";
import type { OperationContext } from "./context.ts";
import { parseSessionInfo } from "./session-info.ts";

/**
 * What the user must agree to before a change, in the reference's words (docs/spec/settings.md §6). Throws `ConflictError`
 * for what must not be done at all.
 */
export async function changeWarnings(
  store: MetadataStore,
  stored: Setting,
  plan: ConfigPlan,
  context: OperationContext,
): Promise<string[]> {
  const next = plan.setting;
  if (stored.dirStats && !next.dirStats) await refuseWithQuotas(store, context);
  const warnings = await quotaWarnings(store, stored, next, context);
  if (stored.trashDays > 0n && next.trashDays === 0n) {
    warnings.push("WARNING: The current trash will be emptied and future removed files will purged immediately.");
  }
  warnings.push(...(await versionWarnings(store, stored, next, context)));
  if (plan.tierWarning.length > 0) warnings.push(plan.tierWarning.join("\n"));
  return warnings;
}

async function quotaWarnings(
  store: MetadataStore,
  stored: Setting,
  next: Setting,
  context: OperationContext,
): Promise<string[]> {
  if (next.capacity === stored.capacity && next.inodes === stored.inodes) return [];
  const { usedSpace, totalInodes } = await store.readUsage({ more: false, signal: context.signal });
  const tooSmall = (next.capacity > 0n && usedSpace > next.capacity) || (next.inodes > 0n && totalInodes > next.inodes);
  if (!tooSmall) return [];
  return [
    "WARNING: New quota is too small (used / quota): " +
      `${usedSpace} / ${next.capacity} bytes, ${totalInodes} / ${next.inodes} inodes.`,
  ];
}

/** Warns only when this version or a client now running would be shut out. */
async function versionWarnings(
  store: MetadataStore,
  stored: Setting,
  next: Setting,
  context: OperationContext,
): Promise<string[]> {
  if (next.minClientVersion === stored.minClientVersion && next.maxClientVersion === stored.maxClientVersion) return [];
  const refused = new Set<string>();
  const own = versionRefusal(CLIENT_VERSION, next);
  if (own !== undefined) refused.add(own);
  const clients: string[] = [];
  for (const summary of await store.listSessions(context.signal)) {
    try {
      const session = parseSessionInfo(summary);
      const reason = versionRefusal(session.version, next);
      if (reason === undefined) continue;
      refused.add(reason);
      clients.push(
        `host ${session.hostName} pid ${session.processId} client version error: ${session.version} is ${reason}`,
      );
    } catch {
      clients.push(`session ${summary.sid}: client version not known`); // shown, never a reason to stop
    }
  }
  if (refused.size === 0) return [];
  const sentences = [...refused].map((reason) => {
    return `WARNING: Clients ${reason.replace(/^(below|above) /, "$1 version ")} will be rejected after modification.`;
  });
  return [[...sentences, ...clients].join("\n")];
}

/** `below 1.3.0` or `above 1.3.5`. */
function versionRefusal(client: string, setting: Setting): string | undefined {
  const version = parseVersion(client);
  const minimum = parseVersion(setting.minClientVersion);
  const maximum = parseVersion(setting.maxClientVersion);
  if (version === undefined) return undefined;
  if (minimum !== undefined && compareVersions(version, minimum) < 0) return `below ${setting.minClientVersion}`;
  if (maximum !== undefined && compareVersions(version, maximum) > 0) return `above ${setting.maxClientVersion}`;
  return undefined;
}

/**
 * Directory quotas rest on directory statistics: without these the reference does not even list them. It has the sentence,
 * but never says it (docs/spec/settings.md §6). Paths instead of inodes would take a scan of all entries.
 */
async function refuseWithQuotas(store: MetadataStore, context: OperationContext): Promise<void> {
  const { signal, logger } = context;
  const snapshot = await store.openSnapshot({ signal, logger });
  const directories: string[] = [];
  try {
    for await (const batch of snapshot.records({ kinds: new Set(["quota"]) })) {
      for (const quota of unpackBatch("quota", batch)) {
        if (quota.maxSpace >= 0n || quota.maxInodes >= 0n) directories.push(`inode ${quota.key}`);
      }
    }
  } finally {
    await snapshot.close();
  }
  if (directories.length > 0) {
    throw new ConflictError(
      "DECANT_E_DIR_QUOTAS",
      `cannot disable dir stats when there are still ${directories.length} dir quotas: [${directories.slice(0, 10).join(", ")}]`,
      { hint: `\`juicefs quota list ${store.address}\` shows their paths; delete them first, or give --force` },
    );
  }
}
