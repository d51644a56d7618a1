import { hostname } from "node:os";
import { DataError, DecantError, errorText } from "../../base/errors.ts";
import { formatJson, JsonNumber, type JsonValue, parseJson } from "../../base/json-text.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { decantVersion } from "../own-version.ts";

/**
 * Small JSON objects that say something of one backup. Each is written as a whole by one action and never changed, so that no two
 * writers can undo each other's work. None is where a client of the reference looks.
 */
export const SIDECAR_FOLDERS = {
  manifest: "decant/manifests/",
  check: "decant/checks/",
  pin: "decant/pins/",
  confirmation: "decant/confirmed/",
} as const;

export type SidecarKind = keyof typeof SIDECAR_FOLDERS;

export const SIDECAR_KINDS: readonly SidecarKind[] = ["manifest", "check", "pin", "confirmation"];

const SUFFIX: Readonly<Record<SidecarKind, string>> = {
  manifest: ".manifest.json",
  check: ".json",
  pin: ".json",
  confirmation: ".json",
};

/** The key of what belongs to the backup of that name. */
export function sidecarKey(kind: SidecarKind, name: string): string {
  return SIDECAR_FOLDERS[kind] + name + SUFFIX[kind];
}

/** The name of the backup that a key in the folder of that kind belongs to; undefined for what is no sidecar. */
export function sidecarName(kind: SidecarKind, key: string): string | undefined {
  const [folder, suffix] = [SIDECAR_FOLDERS[kind], SUFFIX[kind]];
  if (!key.startsWith(folder) || !key.endsWith(suffix)) return undefined;
  const name = key.slice(folder.length, -suffix.length);
  return name === "" || name.includes("/") ? undefined : name;
}

/** Who did something to a backup. */
export interface Author {
  /** `decant 0.1.0` */
  readonly program: string;
  readonly host: string;
  readonly pid: number;
}

export function thisAuthor(): Author {
  return { program: `decant ${decantVersion()}`, host: hostname(), pid: process.pid };
}

export function authorText({ program, host }: Author): string {
  return `${program} on ${host}`;
}

export function writeSidecar(
  storage: ObjectStorage,
  key: string,
  value: JsonValue,
  signal: AbortSignal,
): Promise<void> {
  return storage.put(key, Buffer.from(`${formatJson(value)}\n`), signal);
}

/** No object of ours is nearly as large. */
const MAX_SIDECAR_BYTES = 1024 * 1024;

/** A JSON object in which integers are numbers, or `bigint` where a number would lose digits. */
export type PlainObject = { readonly [member: string]: unknown };

/** Reads an object of ours. Throws `DataError` for what is no JSON object, and what the storage throws. */
export async function readSidecar(storage: ObjectStorage, key: string, signal: AbortSignal): Promise<PlainObject> {
  const info = await storage.head(key, signal);
  if (info !== undefined && info.size > MAX_SIDECAR_BYTES) throw notOurs(key, `it has ${info.size} bytes`);
  const bytes = await storage.get(key, signal);
  let value: unknown;
  try {
    value = plain(parseJson(bytes.toString("utf8")));
  } catch (error) {
    throw notOurs(key, errorText(error));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw notOurs(key, "it is no object");
  return value as PlainObject;
}

/** Why a sidecar cannot be used; anything but damaged bytes is thrown on. */
export function unusable(error: unknown): string {
  if (error instanceof DataError) return error.message;
  throw error;
}

/** True for an object that has gone between two requests. */
export function isMissing(error: unknown): boolean {
  return error instanceof DecantError && error.name === "NotFoundError";
}

function notOurs(key: string, reason: string): DataError {
  return new DataError("DECANT_E_SIDECAR", `Object ${key} cannot be understood: ${reason}`, {
    hint: "It is damaged, or from a later version of decant",
  });
}

function plain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) {
    const number = Number(value.source);
    return Number.isSafeInteger(number) || !/^-?\d+$/.test(value.source) ? number : BigInt(value.source);
  }
  if (Array.isArray(value)) return (value as readonly JsonValue[]).map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member as JsonValue)]));
}
