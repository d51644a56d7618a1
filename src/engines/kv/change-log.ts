import type { RecordTypes } from "../../volume/records.ts";
import { prefixRange } from "./kv-keys.ts";
import { scanPairs } from "./kv-page.ts";
import type { KvChangeLog, KvSnapshot } from "./kv-store.ts";

const PREFIX = "XLOG";

/** Lines that are gathered before those are looked for that have become too old. */
const LINES_BETWEEN_LOOKS = 10_000;

export interface ChangeLogEnd {
  /** The largest number of a line, 0 when there is none. */
  readonly last: bigint;
  /** Those that a dump has, by their numbers. */
  readonly lines: readonly RecordTypes["changeLog"][];
}

/**
 * The end of a change log: numbers are given when a change begins, so that whoever reads on from the last number looks for lines below
 * it too, and has to know those that the dump has seen (docs/spec/changelog.md §2, docs/spec/kv.md §5.13). As many lines are in memory
 * as clients write in some seconds.
 */
export async function readChangeLogEnd(
  snapshot: KvSnapshot,
  { sharded, rewind }: KvChangeLog,
  withLines: boolean,
): Promise<ChangeLogEnd> {
  const idAt = sharded ? PREFIX.length + 1 : PREFIX.length;
  let last = 0n;
  let lines: RecordTypes["changeLog"][] = [];
  let nextLook = LINES_BETWEEN_LOOKS;
  const isRecent = ({ version }: RecordTypes["changeLog"]): boolean => version >= last - rewind;
  for await (const [key, value] of scanPairs(snapshot, prefixRange(PREFIX))) {
    if (key.length !== idAt + 8) continue;
    const version = key.readBigUInt64BE(idAt);
    if (version > last) last = version;
    if (!withLines || version < last - rewind) continue;
    lines.push({ version, entry: Buffer.from(value) });
    if (lines.length < nextLook) continue;
    lines = lines.filter(isRecent);
    nextLook = lines.length + LINES_BETWEEN_LOOKS;
  }
  lines = lines.filter(isRecent).sort((a, b) => (a.version < b.version ? -1 : 1));
  return { last, lines };
}

/** How far below the last number a reader looks: what the environment says to clients, else what the store takes. */
export function changeLogRewind(env: Readonly<Record<string, string | undefined>>, otherwise: bigint): bigint {
  const text = env.JFS_TKV_REWIND ?? "";
  return /^[1-9]\d{0,17}$/.test(text) ? BigInt(text) : otherwise;
}
