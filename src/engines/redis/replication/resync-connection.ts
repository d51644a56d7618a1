import type { EngineError } from "../../../base/errors.ts";
import { encodeCommand } from "../command-writer.ts";
import { type NodeSettings, PacedSocket } from "../paced-socket.ts";
import type { ByteSource } from "../rdb/rdb-window.ts";
import { replyError } from "../redis-errors.ts";
import { resyncError, unexpectedAnswer } from "./resync-errors.ts";

/** Above this many bytes that nobody has asked for yet, the socket is paused. */
const PAUSE_BYTES = 8 * 1024 * 1024;
/**
 * A server that waits for its fork sends a newline every second, one that sends the data a part of them; forking itself may take
 * seconds in which nothing comes.
 */
const MIN_IDLE_MS = 60_000;
/** Much longer than any line of the handshake. */
const MAX_LINE_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;
const MARK_BYTES = 40;

/**
 * Sentinels keep every replica that they see at their master for good, as one that is down. A name that is no address, and stands for none
 * (RFC 2606), they leave out, unless they are told to resolve names.
 */
const NO_ADDRESS = "decant.invalid";

/**
 * A connection that asks for a full resync as a replica does, and gives the bytes of the RDB file that comes. Other than a replica it
 * never acknowledges anything, and ends when the file is there.
 *
 * The handshake (seen with Redis 7.0): `REPLCONF capa eof capa psync2`, `REPLCONF rdb-only 1`, with which the server does not collect
 * later writes for it, and which it does not know before Redis 7, and `PSYNC ? -1`. The answer is `+FULLRESYNC <id> <offset>`; newlines come until the file begins with `$<bytes>`, or with `$EOF:` and 40
 * bytes that stand again behind its end.
 */
export class ResyncConnection implements ByteSource {
  readonly name: string;
  /** What stands behind the file; undefined where the file has a size. */
  trailer: Buffer | undefined;
  readonly #socket: PacedSocket;
  readonly #where: string;
  readonly #received: ReceivedChunks;
  /** Bytes of the file that are still to come, where that is known. */
  #left: number | undefined;
  #hasBegun = false;

  private constructor(socket: PacedSocket, received: ReceivedChunks, where: string) {
    this.name = `the full resync of ${where}`;
    this.#where = where;
    this.#socket = socket;
    this.#received = received;
  }

  /** Returns when the server has said that it gives all data: it has forked, or forks within this turn. Throws `EngineError`. */
  static async open(node: NodeSettings, signal: AbortSignal): Promise<ResyncConnection> {
    const received = new ReceivedChunks();
    const idleMs = Math.max(node.readTimeoutMs, MIN_IDLE_MS);
    const reader = {
      take: (chunk: Buffer) => received.push(node.tls === undefined ? Buffer.from(chunk) : chunk),
      pendingBytes: () => received.bytes,
      pauseBytes: PAUSE_BYTES,
      idleMs,
      idleProblem: `nothing came for ${idleMs / 1000} s`,
    };
    const socket = await PacedSocket.open(node, reader, signal);
    const connection = new ResyncConnection(socket, received, node.printable);
    try {
      if (node.password !== undefined) {
        await connection.#command(["AUTH", ...(node.user === undefined ? [] : [node.user]), node.password]);
      }
      await connection.#command(["REPLCONF", "capa", "eof", "capa", "psync2"]);
      await connection.#wish(["ip-address", NO_ADDRESS]);
      await connection.#wish(["rdb-only", "1"]);
      await connection.#begin();
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** The size is known when the file has begun. */
  get totalBytes(): undefined {
    return undefined;
  }

  async read(target: Buffer, start: number, end: number): Promise<number> {
    if (!this.#hasBegun) await this.#beginFile();
    if (this.#left === 0) return 0;
    const chunk = await this.#next();
    const size = Math.min(end - start, chunk.length, this.#left ?? Number.POSITIVE_INFINITY);
    chunk.copy(target, start, 0, size);
    this.#received.take(size);
    if (this.#left !== undefined) this.#left -= size;
    return size;
  }

  /** The server loses its replica at once. */
  close(): void {
    this.#socket.close();
    this.#received.clear();
  }

  async #command(command: readonly string[]): Promise<void> {
    this.#socket.write(encodeCommand(command));
    const answer = await this.#line();
    const name = command[0]!;
    if (answer.startsWith("-")) {
      throw name === "AUTH" ? replyError(answer.slice(1), this.#where, name) : this.#refused(answer, name);
    }
    if (answer !== "+OK") throw unexpectedAnswer(answer, this.#where, name);
  }

  /** What a server may not know. */
  async #wish(option: readonly string[]): Promise<void> {
    this.#socket.write(encodeCommand(["REPLCONF", ...option]));
    const answer = await this.#line();
    if (answer !== "+OK" && !answer.startsWith("-ERR")) throw this.#refused(answer, "REPLCONF");
  }

  async #begin(): Promise<void> {
    this.#socket.write(encodeCommand(["PSYNC", "?", "-1"]));
    const answer = await this.#line();
    if (answer.startsWith("-")) throw this.#refused(answer, "PSYNC");
    if (!answer.startsWith("+FULLRESYNC ")) throw unexpectedAnswer(answer, this.#where, "PSYNC");
  }

  #refused(answer: string, command: string): EngineError {
    return resyncError(answer.slice(1), this.#where, command);
  }

  async #beginFile(): Promise<void> {
    const line = await this.#line();
    if (line.startsWith("-")) throw this.#refused(line, "PSYNC");
    const size = /^\$([0-9]{1,15})$/.exec(line);
    if (size !== null) this.#left = Number(size[1]);
    else if (line.startsWith("$EOF:") && line.length === 5 + MARK_BYTES)
      this.trailer = Buffer.from(line.slice(5), "latin1");
    else throw unexpectedAnswer(line, this.#where, "PSYNC");
    this.#hasBegun = true;
  }

  /** The next line that is not empty: empty ones say that the server is still there. */
  async #line(): Promise<string> {
    let line = "";
    for (;;) {
      const chunk = await this.#next();
      const at = chunk.indexOf(LINE_FEED);
      line += chunk.toString("latin1", 0, at < 0 ? chunk.length : at);
      this.#received.take(at < 0 ? chunk.length : at + 1);
      if (line.length > MAX_LINE_BYTES) throw unexpectedAnswer(line, this.#where, "the handshake of a replica");
      if (at < 0) continue;
      line = line.replace(/\r$/, "");
      if (line !== "") return line;
    }
  }

  /** What has come and was not taken, or a part of it; not empty. */
  async #next(): Promise<Buffer> {
    while (this.#received.bytes === 0) await this.#socket.wait();
    return this.#received.first;
  }
}

/** What has come, in its order. */
class ReceivedChunks {
  bytes = 0;
  #chunks: Buffer[] = [];
  /** Bytes of the first chunk that are taken. */
  #taken = 0;

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.bytes += chunk.length;
  }

  /** A view of what is left of the first chunk. */
  get first(): Buffer {
    return this.#chunks[0]!.subarray(this.#taken);
  }

  take(size: number): void {
    this.#taken += size;
    this.bytes -= size;
    if (this.#taken < this.#chunks[0]!.length) return;
    this.#chunks.shift();
    this.#taken = 0;
  }

  clear(): void {
    this.#chunks = [];
    this.#taken = 0;
    this.bytes = 0;
  }
}
