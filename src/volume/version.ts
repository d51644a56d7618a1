import { DataError } from "../base/errors.ts";
import type { Setting } from "./setting.ts";

/** The reference release whose formats decant implements and as which it passes version checks. */
export const CLIENT_VERSION = "1.4.2";

/** Highest layout of metadata that decant knows. */
export const MAX_META_VERSION = 1n;

/** `major[.minor[.patch]][-pre][+build]`; the build is not kept because it never counts. */
export interface Version {
  readonly numbers: readonly [bigint, bigint, bigint];
  readonly pre: string;
}

/** Undefined for a text that is no version (docs/spec/settings.md §3). */
export function parseVersion(version: string): Version | undefined {
  const match = /^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([^+]+))?(?:\+.*)?$/s.exec(version);
  if (match === null) return undefined;
  const numbers = [match[1], match[2], match[3]].map((part) => BigInt(part ?? "0"));
  return { numbers: numbers as unknown as Version["numbers"], pre: match[4] ?? "" };
}

/** Negative, 0 or positive. A version with a pre-release comes before the one without; pre-releases compare as text. */
export function compareVersions(a: Version, b: Version): number {
  for (let i = 0; i < 3; i++) {
    if (a.numbers[i]! !== b.numbers[i]!) return a.numbers[i]! < b.numbers[i]! ? -1 : 1;
  }
  if (a.pre === b.pre) return 0;
  if (a.pre === "") return 1;
  if (b.pre === "") return -1;
  return a.pre < b.pre ? -1 : 1;
}

/** The higher of two version texts; `floor` must be a version, anything that is none counts as lower. */
export function raiseVersion(current: string, floor: string): string {
  const version = parseVersion(current);
  return version !== undefined && compareVersions(version, parseVersion(floor)!) >= 0 ? current : floor;
}

/**
 * Refuses a volume that must not be used by this version, in the reference's words. Throws `DataError`. Commands that only
 * read or write the setting do not call it (docs/spec/settings.md §3).
 */
export function checkClientVersion(setting: Setting, client: string = CLIENT_VERSION): void {
  const refusal = versionRefusal(setting, parseVersion(client)!);
  if (refusal !== undefined) {
    throw new DataError("DECANT_E_CLIENT_VERSION", `check version: ${refusal}`, {
      hint: `Volume ${setting.name} is meant for other versions; this decant counts as JuiceFS ${client}`,
    });
  }
}

function versionRefusal(setting: Setting, client: Version): string | undefined {
  if (setting.metaVersion > MAX_META_VERSION) {
    return `incompatible metadata version: ${setting.metaVersion}; please upgrade the client`;
  }
  if (setting.minClientVersion !== "") {
    const minimum = parseVersion(setting.minClientVersion);
    if (minimum === undefined) return `invalid version string: ${setting.minClientVersion}`;
    if (compareVersions(client, minimum) < 0) {
      return `allowed minimum version: ${setting.minClientVersion}; please upgrade the client`;
    }
  }
  if (setting.maxClientVersion !== "") {
    const maximum = parseVersion(setting.maxClientVersion);
    if (maximum === undefined) return `invalid version string: ${setting.maxClientVersion}`;
    if (compareVersions(client, maximum) > 0) {
      return `allowed maximum version: ${setting.maxClientVersion}; please use an older client`;
    }
  }
  return undefined;
}
