import { encodeCommand } from "./command-writer.ts";
import { type NodeSettings, PacedSocket } from "./paced-socket.ts";
import { replyError } from "./redis-errors.ts";
import { decodeReply, type Reply, type ReplyBlock, ReplyFailure, RespParser, TokenCursor } from "./resp-parser.ts";

/** Above this many bytes that nobody has asked for yet, the socket is paused. */
const PAUSE_BYTES = 16 * 1024 * 1024;

/**
 * A connection for bulk work: commands go out as bytes, replies come back as blocks of tokens. It does no more than one
 * read at a time and reports the first failure to every later call.
 */
export class RespConnection {
  readonly printable: string;
  readonly #socket: PacedSocket;
  readonly #parser: RespParser;

  private constructor(socket: PacedSocket, parser: RespParser, printable: string) {
    this.printable = printable;
    this.#socket = socket;
    this.#parser = parser;
  }

  /** Connects, authenticates and selects the database. Throws `EngineError`. */
  static async open(node: NodeSettings, signal: AbortSignal): Promise<RespConnection> {
    const parser = new RespParser();
    const reader = {
      take: (chunk: Buffer) => parser.push(chunk),
      pendingBytes: () => parser.pendingBytes,
      pauseBytes: PAUSE_BYTES,
      idleMs: node.readTimeoutMs,
      idleProblem: `no answer within ${node.readTimeoutMs / 1000} s`,
    };
    const connection = new RespConnection(await PacedSocket.open(node, reader, signal), parser, node.printable);
    try {
      if (node.password !== undefined) {
        await connection.call(["AUTH", ...(node.user === undefined ? [] : [node.user]), node.password]);
      }
      if (node.db !== 0) await connection.call(["SELECT", String(node.db)]);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Sends whole commands. The buffer must not be changed until their replies have been read. */
  send(commands: Uint8Array): void {
    this.#socket.write(commands);
  }

  /**
   * Reads at least one and at most `maxReplies` replies, as few as needed to have `softBytes` bytes. The block is valid
   * until the next call.
   */
  async read(maxReplies: number, softBytes: number = Number.POSITIVE_INFINITY): Promise<ReplyBlock> {
    this.#parser.begin();
    for (;;) {
      const block = this.#parser.parse(maxReplies, softBytes);
      if (block !== undefined) return block;
      await this.#socket.wait();
    }
  }

  /** One command, its reply decoded. An error reply is thrown. For rare commands. */
  async call(args: readonly (string | Buffer)[]): Promise<Reply> {
    this.send(encodeCommand(args));
    const reply = decodeReply(new TokenCursor(await this.read(1)));
    if (reply instanceof ReplyFailure) {
      const name = String(args[0]);
      throw replyError(reply.text, this.printable, name === "AUTH" ? name : `${name} ${args[1] ?? ""}`.trim());
    }
    return reply;
  }

  close(): void {
    this.#socket.close();
  }
}
