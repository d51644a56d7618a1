import { UsageError } from "./errors.ts";

const IEC_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes for people, as the reference writes them: `0 B`, `1.5 GiB`, `10 GiB`; one decimal below 10, else none. */
export function formatBytes(bytes: bigint | number): string {
  const value = Number(bytes);
  if (value < 10) return `${bytes} B`;
  const exponent = Math.min(Math.floor(Math.log(value) / Math.log(1024)), IEC_UNITS.length - 1);
  const scaled = Math.floor((value / 1024 ** exponent) * 10 + 0.5) / 10;
  return `${scaled < 10 && exponent > 0 ? scaled.toFixed(1) : roundHalfEven(scaled)} ${IEC_UNITS[exponent]}`;
}

/** As the reference rounds: 10.5 becomes 10, 11.5 becomes 12. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** `1234567` becomes `1,234,567`. */
export function formatCount(count: bigint | number): string {
  return count.toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A span of time for people: `350 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const UNIT_LETTERS = "BKMGTPE";

/**
 * Reads `<number>[B|K|M|G|T|P|E]`, units in powers of 1024 and any case but that of `B`; without a unit the number counts
 * in `defaultUnit` (docs/spec/settings.md §5). Throws `UsageError` that names the flag.
 */
export function parseSize(text: string, flag: string, defaultUnit: "B" | "K" | "M" | "G"): bigint {
  const invalid = (reason: string) =>
    new UsageError("DECANT_E_SIZE", `Invalid value "${text}" for "${flag}": ${reason}`, {
      hint: "A size is a number with one of the units B, K, M, G, T, P, E, such as 512M or 1.5T",
    });
  if (text === "") return 0n;
  const match = /^(.*?)([A-Za-z]?)$/s.exec(text)!;
  const number = match[1] ?? "";
  const letter = match[2] ?? "";
  const unit = letter === "" ? defaultUnit : letter === "B" ? "B" : letter.toUpperCase();
  const exponent = UNIT_LETTERS.indexOf(unit);
  if (exponent < 0 || letter === "b") throw invalid("invalid unit");
  if (!/^(\d+\.?\d*|\.\d+)$/.test(number)) throw invalid(number === "" ? "empty number" : `"${number}" is no number`);
  if (/^\d+$/.test(number)) return checked(BigInt(number) << BigInt(10 * exponent));
  return checked(BigInt(Math.trunc(Number(number) * 1024 ** exponent)));

  function checked(bytes: bigint): bigint {
    if (bytes >= 1n << 64n) throw invalid("out of range");
    return bytes;
  }
}

/**
 * Reads `<number>[M|G|T|P]` bits per second as Mbps, units in powers of 1000, without a unit Mbps; fractions are cut off.
 * Throws `UsageError` that names the flag.
 */
export function parseMbps(text: string, flag: string): bigint {
  if (text === "") return 0n;
  const match = /^(\d+\.?\d*|\.\d+)([MGTP]?)$/i.exec(text);
  const exponent = "MGTP".indexOf((match?.[2] ?? "M").toUpperCase() || "M");
  const value = match === null ? Number.NaN : Math.trunc(Number(match[1]) * 1000 ** exponent);
  if (!(value < 2 ** 63)) {
    throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${text}" for "${flag}"`, {
      hint: "A limit is a number of Mbps, or one with the unit M, G, T or P, such as 500 or 1.5G",
    });
  }
  return BigInt(value);
}
