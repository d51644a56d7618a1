/** A quoted name. All names are looked up in the schema of the address only (connect.ts). */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The server cuts longer names, in bytes of UTF-8, without an error (NAMEDATALEN - 1). */
const MAX_NAME_BYTES = 63;

/** A name as the server stores it. */
export function storedName(name: string): string {
  const bytes = Buffer.from(name);
  let size = Math.min(bytes.length, MAX_NAME_BYTES);
  while ((bytes[size]! & 0xc0) === 0x80) size--; // not within a character
  return bytes.toString("utf8", 0, size);
}
