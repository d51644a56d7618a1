/**
 * Whole seconds since the epoch as RFC 3339 in local time, as the reference prints times: `2026-11-23T06:40:28Z`, or with
 * an offset where the local time is not UTC.
 */
export function formatRfc3339(seconds: bigint): string {
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) return `${seconds} s after 1970-01-01T00:00:00Z`;
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().replace(/\.\d+Z$/, "");
  if (offset === 0) return `${local}Z`;
  const minutes = Math.abs(offset);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${local}${offset < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
