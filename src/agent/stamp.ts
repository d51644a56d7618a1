import { formatRfc3339 } from "../base/rfc3339.ts";

/** What `lastBackup` says. */
export type Stamp =
  | { readonly kind: "none" }
  | { readonly kind: "time"; readonly time: Date }
  /** `text` is for people: what cannot be shown is escaped, and a long value is cut off. */
  | { readonly kind: "unreadable"; readonly text: string };

const RFC3339 = /^(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/;

const SHOWN = 40;

/** Reads the bytes of `lastBackup`: absent or empty means never, any offset is accepted. */
export function parseStamp(bytes: Uint8Array | undefined): Stamp {
  if (bytes === undefined || bytes.length === 0) return { kind: "none" };
  const text = Buffer.from(bytes).toString("latin1");
  const time = parseTime(text);
  if (time !== undefined) return { kind: "time", time };
  const shown = text
    .slice(0, SHOWN)
    .replace(/[^ -~]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return { kind: "unreadable", text: text.length > SHOWN ? `${shown}...` : shown };
}

function parseTime(text: string): Date | undefined {
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, day, hour, minute, second, fraction = "", sign, offsetHours = "0", offsetMinutes = "0"] = match;
  const iso = `${day}T${hour}:${minute}:${second}.${fraction.slice(0, 3).padEnd(3, "0")}Z`;
  const utc = new Date(iso);
  // A 30th of February becomes a day of March, an hour 25 no date at all.
  if (Number.isNaN(utc.getTime()) || utc.toISOString() !== iso) return undefined;
  if (Number(offsetHours) > 24 || Number(offsetMinutes) > 59) return undefined;
  const offset = (Number(offsetHours) * 60 + Number(offsetMinutes)) * 60_000;
  return new Date(utc.getTime() - (sign === "-" ? -offset : offset));
}

/** The bytes that a client of the reference would write: whole seconds, zone of this host. */
export function stampBytes(time: Date): Buffer {
  return Buffer.from(formatRfc3339(BigInt(Math.floor(time.getTime() / 1000))));
}

/** Whether two values of the attribute are the same, undefined = absent. */
export function isSameStamp(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
