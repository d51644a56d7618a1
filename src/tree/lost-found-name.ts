import { ENTRY_NAME, ENTRY_NAME_SIZE } from "../volume/tree-item.ts";
import type { EntryScanner } from "./entry-scanner.ts";

/** Entries in the block store, in the order of their names. */
interface Entries {
  readonly address: number;
  readonly end: number;
}

const NAME = "lost+found";

/** So many names are tried between two readings of all entries. */
const NAMES_PER_READING = 4096;

/** `lost+found`, or the first of `lost+found.1`, `lost+found.2`, ... that no entry has. */
export function freeName(scanner: EntryScanner, entries: Entries): Buffer {
  for (let first = 0; ; first += NAMES_PER_READING) {
    const isTaken = new Uint8Array(NAMES_PER_READING);
    scanner.open(entries);
    while (scanner.next()) {
      const number = numberOfName(scanner) - first;
      if (number >= 0 && number < NAMES_PER_READING) isTaken[number] = 1;
    }
    const free = isTaken.indexOf(0);
    if (free >= 0) return Buffer.from(nameOf(first + free));
  }
}

function nameOf(number: number): string {
  return number === 0 ? NAME : `${NAME}.${number}`;
}

/** The number of the entry's name, -1 for any other name. */
function numberOfName({ bytes, at }: EntryScanner): number {
  const start = at + ENTRY_NAME;
  const size = bytes.readUInt16BE(at + ENTRY_NAME_SIZE);
  if (size < NAME.length || size > NAME.length + 16) return -1;
  const name = bytes.toString("latin1", start, start + size);
  if (!name.startsWith(NAME)) return -1;
  const number = Number(name.slice(NAME.length + 1));
  return nameOf(number) === name ? number : -1;
}

/** The address of the first entry that stands behind a name. */
export function placeOfName(scanner: EntryScanner, entries: Entries, name: Buffer): number {
  scanner.open(entries);
  while (scanner.next()) {
    const start = scanner.at + ENTRY_NAME;
    const end = start + scanner.bytes.readUInt16BE(scanner.at + ENTRY_NAME_SIZE);
    if (name.compare(scanner.bytes, start, end) < 0) return scanner.address;
  }
  return entries.end;
}
