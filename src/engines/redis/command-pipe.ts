import { ByteWriter, recycle } from "../../base/bytes.ts";
import { replyError } from "./redis-errors.ts";
import type { RespConnection } from "./resp-connection.ts";
import { type ReplyBlock, TOKEN_ERROR, TOKEN_STRIDE } from "./resp-parser.ts";

/** Commands go out in blocks of about this size. */
const BLOCK_BYTES = 256 * 1024;
/** So much may be on its way before an answer is waited for. */
const MAX_BYTES_IN_FLIGHT = 4 * 1024 * 1024;

interface SentBlock {
  readonly bytes: Buffer;
  readonly commands: number;
}

/** A command that is sent ahead of every block, and what to throw when its reply is not the one expected. */
export interface BlockGuard {
  readonly command: Buffer;
  readonly expected: Buffer;
  readonly failure: () => Error;
}

/**
 * Writes commands to a server as fast as it takes them. Every reply is checked; sent commands are kept until then, so that
 * an error can name its key.
 */
export class CommandPipe {
  /** Encode one command here, then call `end`. Take it anew after every await. */
  writer: ByteWriter = new ByteWriter(BLOCK_BYTES + 65536);
  readonly #connection: RespConnection;
  readonly #sent: SentBlock[] = [];
  readonly #guard: BlockGuard;
  #commands = 0;
  #inFlight = 0;

  constructor(connection: RespConnection, guard: BlockGuard) {
    this.#connection = connection;
    this.#guard = guard;
  }

  /** Counts the command just encoded; true when `flow` should be awaited before the next one. */
  end(): boolean {
    this.#commands++;
    return this.writer.length >= BLOCK_BYTES;
  }

  /** Sends the block and waits while too much is on its way. */
  async flow(): Promise<void> {
    this.#send();
    while (this.#inFlight > MAX_BYTES_IN_FLIGHT) await this.#settle();
  }

  /** Waits until all that was sent is acknowledged. */
  async settle(): Promise<void> {
    while (this.#sent.length > 0) await this.#settle();
  }

  /** Sends what is left and waits until all is acknowledged. */
  async drain(): Promise<void> {
    this.#send();
    await this.settle();
  }

  #send(): void {
    if (this.#commands === 0) return;
    const bytes = this.writer.take();
    this.#sent.push({ bytes, commands: this.#commands });
    this.#inFlight += bytes.length;
    this.#commands = 0;
    this.#connection.send(this.#guard.command);
    this.#connection.send(bytes);
  }

  /** Checks the replies of the oldest block. */
  async #settle(): Promise<void> {
    const { bytes, commands } = this.#sent[0]!;
    this.#checkGuard(await this.#connection.read(1));
    for (let done = 0; done < commands; ) {
      const block = await this.#connection.read(commands - done);
      const failed = findError(block);
      if (failed !== undefined) {
        throw replyError(failed.text, this.#connection.printable, describeCommand(bytes, done + failed.reply));
      }
      done += block.replies;
    }
    this.#sent.shift();
    this.#inFlight -= bytes.length;
    // Answered, so the socket has let go of it.
    recycle(bytes);
  }

  #checkGuard({ bytes, tokens }: ReplyBlock): void {
    const [kind, start, size] = [tokens[0]!, tokens[1]!, tokens[2]!];
    const text = bytes.subarray(start, start + Math.max(0, size));
    if (kind === TOKEN_ERROR) throw replyError(text.toString("latin1"), this.#connection.printable);
    if (!text.equals(this.#guard.expected)) throw this.#guard.failure();
  }
}

/** Write commands answer with one token each. */
function findError(block: ReplyBlock): { reply: number; text: string } | undefined {
  const { tokens, bytes } = block;
  for (let i = 0; i < block.tokenCount; i++) {
    if (tokens[i * TOKEN_STRIDE] !== TOKEN_ERROR) continue;
    const start = tokens[i * TOKEN_STRIDE + 1]!;
    return { reply: i, text: bytes.toString("latin1", start, start + tokens[i * TOKEN_STRIDE + 2]!) };
  }
  return undefined;
}

/** Name and key of command `index` of a block. */
export function describeCommand(bytes: Buffer, index: number): string {
  let at = 0;
  const readHeader = (): number => {
    const end = bytes.indexOf(0x0d, at);
    const value = Number(bytes.toString("latin1", at + 1, end));
    at = end + 2;
    return value;
  };
  for (let command = 0; ; command++) {
    const args = readHeader();
    const parts: string[] = [];
    for (let i = 0; i < args; i++) {
      const size = readHeader();
      if (command === index && i < 2) parts.push(bytes.toString("latin1", at, at + Math.min(size, 100)));
      at += size + 2;
    }
    if (command === index) return parts.join(" ");
  }
}
