import type { Reply, ReplyBlock } from "./resp-parser.ts";

/** Whoever answers commands: a server, or values of one that are held in memory. */
export interface CommandTarget {
  /** For messages: the address, password masked. */
  readonly printable: string;

  /** Sends whole commands. The buffer must not be changed until their replies have been read. */
  send(commands: Uint8Array): void;

  /** At least one and at most `maxReplies` replies, as few as needed to have `softBytes` bytes; valid until the next call. */
  read(maxReplies: number, softBytes?: number): Promise<ReplyBlock>;

  /** One command, its reply decoded. An error reply is thrown. For rare commands. */
  call(args: readonly (string | Buffer)[]): Promise<Reply>;
}
