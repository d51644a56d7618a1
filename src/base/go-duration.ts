const UNIT_NS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Reads `1h30m5s`, `2h`, `500ms`, `-1s` or `0`; undefined for anything else. Seconds, with fractions. */
export function parseDurationSeconds(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (match === null) return undefined;
  let ns = 0;
  for (const part of match[2]!.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g))
    ns += Number(part[1]) * UNIT_NS[part[2]!]!;
  return (match[1] === "-" ? -ns : ns) / 1e9;
}

/** Whole seconds as `2h0m0s`, `1m30s`, `0s`. */
export function formatDurationSeconds(seconds: bigint): string {
  const minutes = seconds / 60n;
  if (minutes === 0n) return `${seconds}s`;
  const hours = minutes / 60n;
  return `${hours === 0n ? "" : `${hours}h`}${minutes % 60n}m${seconds % 60n}s`;
}
