import type { ValueLimits } from "../../volume/value-limits.ts";
import type { KvLimits } from "./kv-store.ts";

const MAX_U32 = 0xffff_ffff;

/** What a volume in such a store cannot have; undefined when it can have everything. */
export function valueLimits(engineName: string, limits: KvLimits): ValueLimits | undefined {
  if (limits.maxValueBytes === undefined && limits.emptyValues) return undefined;
  const most = limits.maxValueBytes ?? Number.POSITIVE_INFINITY;
  return {
    engineName,
    maxNumber: MAX_U32,
    maxSymlinkBytes: most,
    minXattrValueBytes: limits.emptyValues ? 0 : 1,
    maxXattrValueBytes: most,
    maxSlicesBytes: most,
    maxSettingBytes: most,
    xattrNameProblems: async (lists) => lists.map(() => new Map()),
  };
}
