import { DataError } from "../base/errors.ts";
import { JsonNumber, type JsonValue, parseJson } from "../base/json-text.ts";
import type { SessionSummary } from "../engines/engine.ts";

/** A client session as it described itself (docs/spec/redis.md §9.1). */
export interface Session {
  readonly sid: bigint;
  /** Unix seconds. */
  readonly expire: bigint;
  readonly version: string;
  readonly hostName: string;
  readonly ipAddresses: readonly string[];
  readonly mountPoint: string;
  /** RFC 3339, as the client wrote it. */
  readonly mountTime: string;
  readonly processId: bigint;
}

/** The reference shows this when a client gave no time. */
const NO_TIME = "0001-01-01T00:00:00Z";

/** Throws `DataError` for information that is missing or no JSON object of the expected kind. */
export function parseSessionInfo(summary: SessionSummary): Session {
  const corrupted = (reason: string) =>
    new DataError("DECANT_E_SESSION_INFO", `session ${summary.sid}: corrupted session info; json error: ${reason}`);
  let info: JsonValue;
  try {
    info = parseJson(summary.info ?? "");
  } catch (error) {
    throw corrupted((error as Error).message);
  }
  if (info !== null && (typeof info !== "object" || Array.isArray(info))) throw corrupted("not an object");
  const members = new Map(Object.entries(info ?? {}).map(([name, value]) => [name.toLowerCase(), value as JsonValue]));
  const text = (name: string): string => {
    const value = members.get(name) ?? "";
    if (typeof value !== "string") throw corrupted(`${name} is no text`);
    return value;
  };
  const addresses = members.get("ipaddrs") ?? [];
  const processId = members.get("processid") ?? new JsonNumber("0");
  if (!Array.isArray(addresses)) throw corrupted("ipaddrs is no list");
  if (!(processId instanceof JsonNumber) || !/^-?\d+$/.test(processId.source))
    throw corrupted("processid is no number");
  return {
    sid: summary.sid,
    expire: summary.expire,
    version: text("version"),
    hostName: text("hostname"),
    ipAddresses: addresses.map(String),
    mountPoint: text("mountpoint"),
    mountTime: normalizeTime(text("mounttime")),
    processId: BigInt(processId.source),
  };
}

/** As the reference writes a time that it has read: no trailing zeros, `Z` for no offset. */
function normalizeTime(time: string): string {
  if (time === "") return NO_TIME;
  return time
    .replace(/\.(\d*?)0*(?=Z|[+-])/, (_match, digits: string) => (digits === "" ? "" : `.${digits}`))
    .replace(/[+-]00:00$/, "Z");
}
