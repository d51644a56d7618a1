import { ByteWriter } from "../../base/bytes.ts";
import type { Notes } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import { toBigInt } from "./decimal.ts";
import { KeyList } from "./key-list.ts";
import type { DirectoryPage, RawValues } from "./raw-values.ts";
import { FAMILY_DIRECTORY } from "./redis-keys.ts";
import { type ReplyBlock, TOKEN_INTEGER, TOKEN_STRIDE } from "./resp-parser.ts";
import { SeenSet } from "./seen-set.ts";
import { BLOCK_BYTES, HGETALL_HEAD, HLEN_HEAD, throwIfError, writePerKey } from "./value-commands.ts";

/** Directories of up to so many entries are read whole, by HGETALL: one atomic reply without repetitions. */
const WHOLE_ENTRIES = 5000;
/** At most so many entries are on their way at once, so that neither side has to hold more. */
const ENTRIES_IN_FLIGHT = 50_000;
const PAGE_COUNT = "5000";

const MISSED_NOTE =
  "Names of files with wrong link counts in large directories could not be told from repetitions and were left out";

/** Hears of every directory that is read in pages, with its number of entries. */
export type OnLarge = (hi: number, lo: number, entries: number) => void;

/** Tells whether an inode may stand in one directory under several names. */
interface HardLinks {
  has(hi: number, lo: number): boolean;
}

/**
 * Reads directories by their size: HLEN first, then small ones whole and in groups, large ones in pages and last. What is
 * waiting is a queue of keys, never of entries.
 */
export class DirectoryReader {
  readonly #connection: CommandTarget;
  readonly #hardLinks: HardLinks;
  readonly #notes: Notes;
  readonly #onLarge: OnLarge | undefined;
  /** Small directories whose entries have not been asked for, with their sizes. */
  #waiting = new KeyList();
  #waitingSizes: number[] = [];
  #waitingFrom = 0;
  /** Asked for and not yet read. */
  #asked = new KeyList();
  readonly #large = new KeyList();

  constructor(connection: CommandTarget, hardLinks: HardLinks, notes: Notes, onLarge?: OnLarge) {
    this.#connection = connection;
    this.#notes = notes;
    this.#hardLinks = hardLinks;
    this.#onLarge = onLarge;
  }

  askSizes(keys: KeyList): void {
    if (keys.count > 0) this.#connection.send(perKey(keys, HLEN_HEAD));
  }

  /** Sorts the directories into small and large ones. One of the wrong type counts as small: its error is read there. */
  async readSizes(keys: KeyList): Promise<void> {
    for (let done = 0; done < keys.count; ) {
      const block = await this.#connection.read(keys.count - done, BLOCK_BYTES);
      for (let i = 0; i < block.replies; i++) this.#sort(keys, done + i, integerAt(block, i));
      done += block.replies;
    }
  }

  #sort(keys: KeyList, at: number, size: number): void {
    const target = size > WHOLE_ENTRIES ? this.#large : this.#waiting;
    target.addFrom(keys, at);
    if (target === this.#waiting) this.#waitingSizes.push(size);
    else this.#onLarge?.(keys.hi[at]!, keys.lo[at]!, size);
  }

  /** Asks for the next group of small directories; false when none is waiting. */
  askEntries(): boolean {
    this.#asked.clear();
    let entries = 0;
    let at = this.#waitingFrom;
    for (; at < this.#waiting.count && entries < ENTRIES_IN_FLIGHT; at++) {
      entries += this.#waitingSizes[at]! + 1;
      this.#asked.addFrom(this.#waiting, at);
    }
    this.#waitingFrom = at;
    if (at === this.#waiting.count) {
      this.#waiting.clear();
      this.#waitingSizes = [];
      this.#waitingFrom = 0;
    }
    if (this.#asked.count === 0) return false;
    this.#connection.send(perKey(this.#asked, HGETALL_HEAD));
    return true;
  }

  async *readEntries(): AsyncGenerator<RawValues> {
    const keys = this.#asked;
    for (let first = 0; first < keys.count; ) {
      const block = await this.#connection.read(keys.count - first, BLOCK_BYTES);
      yield { family: FAMILY_DIRECTORY, keys, first, count: block.replies, block };
      first += block.replies;
    }
  }

  /** Reads waiting groups, all of them or, with `keepLast`, until what is left can travel along with the next page. */
  async *drain(keepLast: boolean): AsyncGenerator<RawValues> {
    while (this.#waiting.count > this.#waitingFrom && !(keepLast && this.#fitsOneGroup())) {
      if (this.askEntries()) yield* this.readEntries();
    }
  }

  #fitsOneGroup(): boolean {
    let entries = 0;
    for (let at = this.#waitingFrom; at < this.#waiting.count; at++) entries += this.#waitingSizes[at]! + 1;
    return entries < ENTRIES_IN_FLIGHT;
  }

  /** Reads the large directories, one after the other. Call it when all keys have been seen: see `LargeDirectory`. */
  async *readLarge(): AsyncGenerator<RawValues> {
    for (let i = 0; i < this.#large.count; i++) yield* this.#readPages(i);
    this.#large.clear();
  }

  async *#readPages(at: number): AsyncGenerator<RawValues> {
    const keys = this.#large;
    const argument = keys.args.buffer.subarray(keys.argStart(at), keys.ends[at]!);
    const page = new LargeDirectory(this.#hardLinks);
    this.#connection.send(hscan(argument, "0"));
    for (let cursor = ""; cursor !== "0"; ) {
      const block = await this.#connection.read(1);
      throwIfError(block, this.#connection, "HSCAN");
      const start = block.tokens[TOKEN_STRIDE + 1]!;
      cursor = block.bytes.toString("latin1", start, start + block.tokens[TOKEN_STRIDE + 2]!);
      // The server works on the next page while this one is mapped.
      if (cursor !== "0") this.#connection.send(hscan(argument, cursor));
      yield { family: FAMILY_DIRECTORY, keys, first: at, count: 1, block, page };
    }
    if (page.doubtful > 0) await this.#compareSize(keys, at, page);
  }

  /** What was taken for a repetition is a name of its own where the directory has more names than were found. */
  async #compareSize(keys: KeyList, at: number, page: LargeDirectory): Promise<void> {
    this.#connection.send(Buffer.concat([HLEN_HEAD, keys.args.buffer.subarray(keys.argStart(at), keys.ends[at]!)]));
    const size = integerAt(await this.#connection.read(1), 0);
    for (let i = page.distinct; i < size; i++) {
      const inode = toBigInt(keys.hi[at]!, keys.lo[at]!);
      const example = `entry ${i - page.distinct + 1} of directory ${inode}`;
      const message = `key d${inode}: an entry could not be told from a repetition (${example})`;
      this.#notes.loss(MISSED_NOTE, example, { kind: "edge", inode, message });
    }
  }
}

/**
 * Finds the repetitions of HSCAN exactly and without keeping names: an inode stands in a directory once unless it is
 * hard-linked, and those inodes are known when the large directories are read. Only their names are kept.
 */
export class LargeDirectory implements DirectoryPage {
  /** Entries found. */
  distinct = 0;
  /** Entries that were taken for repetitions by their inode alone. */
  doubtful = 0;
  readonly #inodes = new SeenSet();
  readonly #names = new Set<string>();
  readonly #hardLinks: HardLinks;

  constructor(hardLinks: HardLinks) {
    this.#hardLinks = hardLinks;
  }

  isNew(bytes: Buffer, nameStart: number, nameEnd: number, hi: number, lo: number): boolean {
    if (!this.#hardLinks.has(hi, lo)) {
      const isNew = this.#inodes.add(hi, lo);
      if (isNew) this.distinct++;
      else this.doubtful++;
      return isNew;
    }
    const name = bytes.toString("latin1", nameStart, nameEnd);
    if (this.#names.has(name)) return false;
    this.#names.add(name);
    this.distinct++;
    return true;
  }
}

function hscan(argument: Buffer, cursor: string): Buffer {
  return Buffer.concat([
    Buffer.from("*5\r\n$5\r\nHSCAN\r\n"),
    argument,
    Buffer.from(`$${cursor.length}\r\n${cursor}\r\n$5\r\nCOUNT\r\n$${PAGE_COUNT.length}\r\n${PAGE_COUNT}\r\n`),
  ]);
}

function perKey(keys: KeyList, head: Buffer): Buffer {
  const writer = new ByteWriter(keys.args.length + keys.count * head.length + 1);
  writePerKey(writer, keys, head);
  return writer.written();
}

/** The integer reply `at` of a block of one-token replies; 0 for an error. */
function integerAt(block: ReplyBlock, at: number): number {
  const token = at * TOKEN_STRIDE;
  if (block.tokens[token] !== TOKEN_INTEGER) return 0;
  const start = block.tokens[token + 1]!;
  return Number(block.bytes.toString("latin1", start, start + block.tokens[token + 2]!));
}
