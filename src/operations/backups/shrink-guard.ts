import { UsageError } from "../../base/errors.ts";
import { formatBytes, formatCount } from "../../base/units.ts";
import type { DumpFormat } from "../../formats/dump-format.ts";

/** By how many percent a backup may be smaller than the last good one. */
export const DEFAULT_MAX_SHRINK = 50;

/** How much is in a backup. */
export interface BackupMeasure {
  /** Of the volume's counters. */
  readonly inodes: bigint;
  readonly usedSpace: bigint;
  /** Directories and files in the document, and its bytes: those of the other format, or of a part, say nothing. */
  readonly entries: number;
  readonly documentBytes: number;
  readonly format: DumpFormat;
  readonly whole: boolean;
}

/** Reads `50` and `50%`. Throws `UsageError` for anything else than 0 to 100. */
export function parseMaxShrink(text: string): number {
  const percent = /^\d{1,3}(?:\.\d+)?%?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (!(percent <= 100)) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}" for "max-shrink": not 0 to 100 percent`, {
      hint: "100 takes no backup for suspicious, 0 each that is smaller than the one before",
    });
  }
  return percent;
}

/**
 * Why a backup looks as if something was lost since the last good one: a sentence per number that fell by more than that many
 * percent. What was 0 or below cannot fall.
 */
export function shrinkage(previous: BackupMeasure, current: BackupMeasure, maxShrink: number): string[] {
  const reasons: string[] = [];
  const compare = (name: string, before: bigint, after: bigint, show: (value: bigint) => string) => {
    if (before <= 0n || after >= before) return;
    const lost = Number(((before - after) * 10_000n) / before) / 100;
    if (Number(after) >= Number(before) * (1 - maxShrink / 100)) return;
    reasons.push(`${name} fell by ${Math.floor(lost)} %, from ${show(before)} to ${show(after)}`);
  };
  compare("inodes", previous.inodes, current.inodes, formatCount);
  compare("used space", previous.usedSpace, current.usedSpace, formatBytes);
  if (previous.format === current.format && previous.whole === current.whole) {
    compare("entries", BigInt(previous.entries), BigInt(current.entries), formatCount);
    compare("document size", BigInt(previous.documentBytes), BigInt(current.documentBytes), formatBytes);
  }
  return reasons;
}
