import type { KeyList } from "./key-list.ts";
import type { ReplyBlock } from "./resp-parser.ts";

/**
 * What the server holds for keys `first` to `first + count - 1` of a list: read, but neither judged nor turned into
 * records. Whatever decides that a value is out of date stands between the reader that makes these and the mapper.
 *
 * `block` is borrowed until the next one is asked for. Its form by family:
 *   i, s   one MGET reply                 c      a LRANGE reply for each key
 *   x, p   a HGETALL reply for each key   d      a HGETALL reply for each key, or one HSCAN reply of one key
 */
export interface RawValues {
  readonly family: number;
  readonly keys: KeyList;
  readonly first: number;
  readonly count: number;
  readonly block: ReplyBlock;
  /** Set for HSCAN pages: entries that repeat may be told by it (docs/spec/redis.md §12.2). */
  readonly page?: DirectoryPage;
}

/** What is known of a directory that is read in pages. */
export interface DirectoryPage {
  /** True when the entry has not been seen in an earlier page. */
  isNew(bytes: Buffer, nameStart: number, nameEnd: number, hi: number, lo: number): boolean;
}
