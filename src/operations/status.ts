import { NotFoundError } from "../base/errors.ts";
import type { MetadataStore, SessionDetail, VolumeUsage } from "../engines/engine.ts";
import { openStore } from "../engines/registry.ts";
import type { Setting } from "../volume/setting.ts";
import { removeSecrets } from "../volume/setting-secrets.ts";
import { checkClientVersion } from "../volume/version.ts";
import type { OperationContext } from "./context.ts";
import { parseSessionInfo, type Session } from "./session-info.ts";
import { readVolumeSetting } from "./volume-setting.ts";

export interface StatusRequest {
  /** META-URL of the volume. */
  readonly source: string;
  /** Also count what is in the trash and what waits for deletion; may take long. */
  readonly more?: boolean;
}

export interface SessionRequest {
  readonly source: string;
  readonly sid: bigint;
}

/** Space and inodes as clients report them (docs/spec/settings.md §7). */
export interface VolumeSpace {
  readonly usedSpace: bigint;
  readonly availableSpace: bigint;
  readonly usedInodes: bigint;
  readonly availableInodes: bigint;
}

export interface StatusReport {
  readonly operation: "status";
  /** Secrets removed. */
  readonly setting: Setting;
  readonly sessions: readonly Session[];
  readonly space: VolumeSpace;
  /** Its optional members are there with `more`. */
  readonly usage: VolumeUsage;
}

/** One session with what it holds. */
export interface SessionReport {
  readonly operation: "session";
  readonly session: Session;
  readonly detail: SessionDetail;
}

/** Setting, sessions and usage of a volume. Writes nothing. */
export async function status(request: StatusRequest, context: OperationContext): Promise<StatusReport> {
  const { signal, logger, env } = context;
  const store = await openStore(request.source, { logger, signal, env, tmpDir: context.memory.tmpDir });
  try {
    const setting = await readVolumeSetting(store, signal);
    checkClientVersion(setting);
    const sessions = await readSessions(store, context);
    const usage = await store.readUsage({ more: request.more === true, signal });
    return {
      operation: "status",
      setting: removeSecrets(setting, "display"),
      sessions,
      space: volumeSpace(setting, usage),
      usage,
    };
  } finally {
    await store.close();
  }
}

/** What one session of a volume holds. Throws `NotFoundError` when there is no such session. */
export async function sessionStatus(request: SessionRequest, context: OperationContext): Promise<SessionReport> {
  const { signal, logger, env } = context;
  const store = await openStore(request.source, { logger, signal, env, tmpDir: context.memory.tmpDir });
  try {
    checkClientVersion(await readVolumeSetting(store, signal));
    const detail = await store.readSession(request.sid, signal);
    if (detail === undefined) {
      throw new NotFoundError("DECANT_E_SESSION", `session not found: ${request.sid}`, {
        hint: "Run status without --session for the list of sessions",
      });
    }
    return { operation: "session", session: parseSessionInfo(detail), detail };
  } finally {
    await store.close();
  }
}

/** Sessions whose information cannot be read are left out with a warning, as the reference does it. */
async function readSessions(store: MetadataStore, context: OperationContext): Promise<Session[]> {
  const sessions: Session[] = [];
  for (const summary of await store.listSessions(context.signal)) {
    try {
      sessions.push(parseSessionInfo(summary));
    } catch (error) {
      context.logger.warn((error as Error).message);
    }
  }
  return sessions;
}

const DEFAULT_TOTAL_SPACE = 1n << 50n;
const DEFAULT_AVAILABLE_INODES = 10n << 20n;

/** Without a quota a volume pretends to have plenty, and more when it fills up. */
export function volumeSpace(
  setting: Pick<Setting, "capacity" | "inodes">,
  usage: { readonly usedSpace: bigint; readonly totalInodes: bigint },
): VolumeSpace {
  const usedSpace = usage.usedSpace > 0n ? usage.usedSpace : 0n;
  const usedInodes = usage.totalInodes > 0n ? usage.totalInodes : 0n;
  let total = setting.capacity;
  if (total === 0n) for (total = DEFAULT_TOTAL_SPACE; total * 8n < usedSpace * 10n; ) total *= 2n;
  let availableInodes = setting.inodes - usedInodes;
  if (setting.inodes === 0n) {
    for (availableInodes = DEFAULT_AVAILABLE_INODES; usedInodes > availableInodes * 4n; ) availableInodes *= 2n;
  }
  return {
    usedSpace,
    availableSpace: total > usedSpace ? total - usedSpace : 0n,
    usedInodes,
    availableInodes: availableInodes > 0n ? availableInodes : 0n,
  };
}
