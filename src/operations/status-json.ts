import type { JsonValue } from "../base/json-text.ts";
import { formatRfc3339 } from "../base/rfc3339.ts";
import type { SessionDetail, Tally, VolumeUsage } from "../engines/engine.ts";
import { settingToJson } from "../volume/setting.ts";
import type { Session } from "./session-info.ts";
import type { SessionReport, StatusReport } from "./status.ts";

/** The document that the reference's `status` prints, member by member (docs/spec/settings.md §7). */
export function statusJson(report: StatusReport): JsonValue {
  return {
    Setting: settingToJson(report.setting, { tiers: "effective", unknown: "drop" }),
    Sessions: report.sessions.map(sessionJson),
    Stat: {
      UsedSpace: report.space.usedSpace,
      AvailableSpace: report.space.availableSpace,
      UsedInodes: report.space.usedInodes,
      AvailableInodes: report.space.availableInodes,
      ...moreJson(report.usage),
    },
  };
}

/** The document of `status --session`. */
export function sessionReportJson(report: SessionReport): JsonValue {
  return { ...sessionJson(report.session), ...heldJson(report.detail) };
}

function sessionJson(session: Session): { readonly [member: string]: JsonValue | undefined } {
  return {
    Sid: session.sid,
    Expire: formatRfc3339(session.expire),
    Version: session.version,
    HostName: session.hostName,
    IPAddrs: session.ipAddresses.length === 0 ? undefined : [...session.ipAddresses],
    MountPoint: session.mountPoint,
    MountTime: session.mountTime,
    ProcessID: session.processId,
  };
}

function heldJson(detail: SessionDetail): { readonly [member: string]: JsonValue | undefined } {
  const flocks = detail.flocks.map((lock) => ({
    Inode: lock.inode,
    Owner: BigInt.asUintN(64, lock.owner),
    Ltype: lock.type,
  }));
  const plocks = detail.plocks.map((lock) => ({
    Inode: lock.inode,
    Owner: BigInt.asUintN(64, lock.owner),
    Records: lockRecordsJson(lock.records),
  }));
  return {
    Sustained: detail.sustained.length === 0 ? undefined : [...detail.sustained],
    Flocks: flocks.length === 0 ? undefined : flocks,
    Plocks: plocks.length === 0 ? undefined : plocks,
  };
}

const LOCK_RECORD_BYTES = 24;

/** u32 type, u32 pid, u64 start, u64 end, big-endian (docs/spec/redis.md §9.3). */
function lockRecordsJson(records: Buffer): JsonValue {
  const count = Math.floor(records.length / LOCK_RECORD_BYTES);
  if (count === 0) return null;
  return Array.from({ length: count }, (_, i) => {
    const at = i * LOCK_RECORD_BYTES;
    return {
      Type: records.readUInt32BE(at),
      Pid: records.readUInt32BE(at + 4),
      Start: records.readBigUInt64BE(at + 8),
      End: records.readBigUInt64BE(at + 16),
    };
  });
}

function moreJson(usage: VolumeUsage): { readonly [member: string]: JsonValue | undefined } {
  const tallies: readonly (readonly [string, Tally | undefined])[] = [
    ["TrashFile", usage.trashFiles],
    ["PendingDeletedFile", usage.pendingDeletedFiles],
    ["TrashSlice", usage.trashSlices],
    ["PendingDeletedSlice", usage.pendingDeletedSlices],
  ];
  const members: { [member: string]: JsonValue | undefined } = {};
  for (const [name, tally] of tallies) {
    if (tally !== undefined && tally.count !== 0n) members[`${name}Count`] = tally.count;
    if (tally !== undefined && tally.bytes !== 0n) members[`${name}Size`] = tally.bytes;
  }
  return members;
}
