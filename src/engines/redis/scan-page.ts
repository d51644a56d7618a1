import { ByteWriter } from "../../base/bytes.ts";
import type { Notes } from "../notes.ts";
import { printableKey } from "../notes.ts";
import { KIND_OF_FAMILY } from "./family-kinds.ts";
import { KeyList } from "./key-list.ts";
import {
  classifyKey,
  FAMILY_CHUNK,
  FAMILY_DIRECTORY,
  FAMILY_FOREIGN,
  FAMILY_NODE,
  FAMILY_OTHER,
  FAMILY_PARENT,
  FAMILY_SYMLINK,
  FAMILY_XATTR,
  type KeyInfo,
  sessionOfKey,
} from "./redis-keys.ts";
import { type ReplyBlock, TOKEN_ARRAY, TOKEN_STRIDE } from "./resp-parser.ts";
import { SeenSet } from "./seen-set.ts";

/** Families in the order in which a page's values are read. */
export const FAMILIES: readonly number[] = [
  FAMILY_NODE,
  FAMILY_SYMLINK,
  FAMILY_CHUNK,
  FAMILY_XATTR,
  FAMILY_PARENT,
  FAMILY_DIRECTORY,
];

const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;

export const FOREIGN_NOTE = "Keys of other applications were ignored";

/** Which inodes are wanted. */
export interface InodeFilter {
  has(hi: number, lo: number): boolean;
}

/** Which keys were seen so far, by family. Lives as long as the scan. */
export class ScanHistory {
  /** Sessions that have a set of open inodes. */
  readonly sessions: Set<bigint>;
  readonly #families: readonly (SeenSet | undefined)[] = byFamily(() => new SeenSet());
  /** Chunks of index 1 and above; those of index 0 are in `#families`. */
  readonly #laterChunks = new SeenSet();
  readonly #hardLinks: SeenSet;

  /** Inodes that have a `p` key are added to `hardLinks`. */
  constructor(hardLinks: SeenSet, sessions: Set<bigint>) {
    this.#hardLinks = hardLinks;
    this.sessions = sessions;
  }

  /** True when the key is new. */
  add(family: number, key: KeyInfo): boolean {
    if (family === FAMILY_PARENT) this.#hardLinks.add(key.hi, key.lo);
    if (key.index > 0) return this.#laterChunks.addChunk(key.hi, key.lo, key.index);
    return this.#families[family]!.add(key.hi, key.lo);
  }
}

/** The keys of one SCAN reply, sorted into families, each key exactly once per scan. */
export class ScanPage {
  /** Decimal text of the next cursor; "0" ends the scan. */
  cursor = "0";
  readonly lists: ReadonlyMap<number, KeyList>;
  /** For the commands that read the values of these keys. */
  readonly commands: ByteWriter = new ByteWriter(524_288);

  constructor() {
    this.lists = new Map(FAMILIES.map((family) => [family, new KeyList()]));
  }

  list(family: number): KeyList {
    return this.lists.get(family)!;
  }

  /** Takes over a SCAN reply. Only families in `wanted` are kept, though all keys are remembered in `history`. */
  fill(
    block: ReplyBlock,
    prefixBytes: number,
    wanted: ReadonlySet<number>,
    history: ScanHistory,
    notes: Notes,
    only?: InodeFilter,
  ): void {
    for (const list of this.lists.values()) list.clear();
    const { bytes, view, tokens } = block;
    // Tokens: array of 2, cursor, array of n, n keys.
    const cursorAt = TOKEN_STRIDE;
    this.cursor = bytes.toString("latin1", tokens[cursorAt + 1]!, tokens[cursorAt + 1]! + tokens[cursorAt + 2]!);
    const listAt = 2 * TOKEN_STRIDE;
    const count = tokens[listAt] === TOKEN_ARRAY ? tokens[listAt + 2]! : 0;
    const key: KeyInfo = { hi: 0, lo: 0, index: 0 };
    const lists = byFamily((family) => (wanted.has(family) ? this.list(family) : undefined));
    for (let i = 0, at = listAt + TOKEN_STRIDE; i < count; i++, at += TOKEN_STRIDE) {
      const start = tokens[at + 1]!;
      const end = start + tokens[at + 2]!;
      const family = classifyKey(bytes, start + prefixBytes, end, key);
      if (family === FAMILY_OTHER) {
        const session = sessionOfKey(bytes, start + prefixBytes, end);
        if (session !== undefined) history.sessions.add(session);
        continue;
      }
      if (family === FAMILY_FOREIGN) {
        noteForeign(notes, bytes, start, start + prefixBytes, end);
        continue;
      }
      if (!history.add(family, key)) continue;
      const list = lists[family];
      if (list === undefined || (only !== undefined && !only.has(key.hi, key.lo))) continue;
      list.addArgument(view, argumentStart(start, end - start), end + 2, key.hi, key.lo, key.index);
    }
  }
}

/** Notes a key that no client writes: one of another application, unless it looks like a damaged one of an inode. */
export function noteForeign(notes: Notes, bytes: Buffer, start: number, nameStart: number, end: number): void {
  const name = printableKey(bytes, start, end);
  const kind = KIND_OF_FAMILY.get(bytes[nameStart]!);
  const second = nameStart + 1 < end ? bytes[nameStart + 1]! : 0;
  if (!notes.isSalvage || kind === undefined || second < DIGIT_0 || second > DIGIT_9) {
    notes.remark(FOREIGN_NOTE, name);
  } else notes.loss(FOREIGN_NOTE, name, { kind, message: `key ${name} is of a form that no client writes` });
}

/** A table by letter, since a look-up in a map for every key would be felt. */
function byFamily<T>(entryOf: (family: number) => T): readonly (T | undefined)[] {
  const table: (T | undefined)[] = new Array(256).fill(undefined);
  for (const family of FAMILIES) table[family] = entryOf(family);
  return table;
}

/** Where `$<size>\r\n` in front of a key begins. */
function argumentStart(start: number, size: number): number {
  return start - 3 - (size < 10 ? 1 : size < 100 ? 2 : 3);
}
