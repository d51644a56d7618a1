/** Entries that decant adds to a volume's change log (docs/spec/changelog.md §3). */

/** What escapes a byte: control characters, all above ASCII, and what separates arguments. */
const ESCAPED: ReadonlySet<number> = new Set(Array.from(',%()"\\', (character) => character.charCodeAt(0)));

/** As one-shot commands have it: there is no session. */
const SESSION = 0;

/** Counted in this process, so that the entries of one moment are not alike. */
let transactions = 0;

/** The entry for an extended attribute that was stored (flag: create or replace), or removed when `value` is undefined. */
export function xattrChangeEntry(inode: bigint, name: string, value: Buffer | undefined, now: Date): string {
  const milliseconds = now.getTime();
  const seconds = Math.floor(milliseconds / 1000);
  const nanoseconds = String((milliseconds - seconds * 1000) * 1_000_000).padStart(9, "0");
  const first = `${inode},${escapeBytes(Buffer.from(name))}`;
  const operation = value === undefined ? `REMOVEXATTR(${first})` : `SETXATTR(${first},${escapeBytes(value)},0)`;
  return `${seconds}.${nanoseconds}|${operation}|(${SESSION},${++transactions})`;
}

function escapeBytes(bytes: Buffer): string {
  let text = "";
  for (const byte of bytes) {
    const plain = byte >= 0x20 && byte < 0x7f && !ESCAPED.has(byte);
    text += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}
