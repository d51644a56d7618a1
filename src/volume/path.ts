/**
 * Paths inside a volume are bytes. For people they are shown as text: a control character, a byte that is not part of valid
 * UTF-8 and `%` itself become `%XX`.
 */
export function printableName(name: Buffer): string {
  const text = name.toString("utf8");
  if (!needsEscape(text) && Buffer.byteLength(text) === name.length && !text.includes("\ufffd")) return text;
  let shown = "";
  for (const byte of name) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x25;
    shown += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return shown;
}

function needsEscape(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code === 0x25) return true;
  }
  return false;
}

/** `/a/b` from names; `/` when there are none. */
export function printablePath(names: readonly Buffer[]): string {
  return `/${names.map(printableName).join("/")}`;
}

/** Names of a path as a user gives it: slashes at the ends and in a row do not count. The bytes of a text are its UTF-8. */
export function parsePath(path: string | Uint8Array): Buffer[] {
  // Latin-1 has one character for each byte, and its slash is the byte of a slash.
  return Buffer.from(path)
    .toString("latin1")
    .split("/")
    .filter((name) => name !== "")
    .map((name) => Buffer.from(name, "latin1"));
}
