import net from "node:net";
import tls from "node:tls";
import { EngineError } from "../../base/errors.ts";
import { encodeCommand } from "./command-writer.ts";
import { brokenError, connectError, replyError } from "./redis-errors.ts";
import { decodeReply, type Reply, type ReplyBlock, ReplyFailure, RespParser, TokenCursor } from "./resp-parser.ts";

/** Everything that is needed to reach one Redis node. */
export interface NodeSettings {
  /** For messages: password masked. */
  readonly printable: string;
  readonly socket: net.TcpNetConnectOpts | net.IpcNetConnectOpts;
  readonly tls: tls.ConnectionOptions | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  readonly connectTimeoutMs: number;
  readonly readTimeoutMs: number;
}

/** Above this many bytes that nobody has asked for yet, the socket is paused. */
const PAUSE_BYTES = 16 * 1024 * 1024;

/**
 * A connection for bulk work: commands go out as bytes, replies come back as blocks of tokens. It does no more than one
 * read at a time and reports the first failure to every later call.
 */
export class RespConnection {
  readonly printable: string;
  readonly #socket: net.Socket;
  readonly #parser = new RespParser();
  readonly #readTimeoutMs: number;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #paused = false;

  private constructor(socket: net.Socket, receiver: Receiver, node: NodeSettings, signal: AbortSignal) {
    this.printable = node.printable;
    this.#socket = socket;
    receiver.take = (chunk) => this.#receive(chunk);
    this.#readTimeoutMs = node.readTimeoutMs;
    this.#signal = signal;
    this.#onAbort = () => this.#fail(signal.reason);
    socket.setNoDelay(true);
    if (node.tls !== undefined) socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Connects, authenticates and selects the database. Throws `EngineError`. */
  static async open(node: NodeSettings, signal: AbortSignal): Promise<RespConnection> {
    signal.throwIfAborted();
    const receiver: Receiver = { take: () => undefined };
    const socket = await connectSocket(node, receiver, signal);
    const connection = new RespConnection(socket, receiver, node, signal);
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
    if (this.#failure === undefined) this.#socket.write(commands);
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
      await this.#wait();
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
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#failure ??= new EngineError("DECANT_E_REDIS_LOST", `The connection to ${this.printable} is closed`);
    this.#socket.destroy();
  }

  #receive(chunk: Uint8Array): void {
    this.#parser.push(chunk);
    if (this.#wake !== undefined) this.#wake();
    else if (this.#parser.pendingBytes > PAUSE_BYTES && !this.#paused) {
      this.#paused = true;
      this.#socket.pause();
    }
  }

  #fail(error: unknown): void {
    // The first cause is the true one: what follows a reset is only that the socket is gone.
    this.#failure ??= brokenError(error, this.printable);
    this.#socket.destroy();
    this.#wake?.();
  }

  #wait(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#paused) {
      this.#paused = false;
      this.#socket.resume();
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(new Error(`no answer within ${this.#readTimeoutMs / 1000} s`)),
        this.#readTimeoutMs,
      );
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        if (this.#failure === undefined) resolve();
        else reject(this.#failure);
      };
    });
  }
}

/** Who gets what a plain socket receives. The bytes are borrowed. */
export interface Receiver {
  take: (chunk: Uint8Array) => void;
}

const RECEIVE_BYTES = 128 * 1024;

/**
 * A plain socket receives into one buffer that is used over and over: a fresh one for every 64 KiB makes the garbage
 * collector run 20 times a second. (TLS sockets cannot do that.)
 */
function startSocket(node: NodeSettings, receiver: Receiver): net.Socket {
  if (node.tls !== undefined) return tls.connect({ ...node.socket, ...node.tls });
  const buffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES);
  const callback = (size: number): boolean => {
    receiver.take(buffer.subarray(0, size));
    return true;
  };
  return net.connect({ ...node.socket, onread: { buffer, callback } });
}

/** Opens the socket alone; one that speaks TLS gives what it receives as an event instead. Throws `EngineError`. */
export function connectSocket(node: NodeSettings, receiver: Receiver, signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = startSocket(node, receiver);
    const event = node.tls === undefined ? "connect" : "secureConnect";
    const finish = (error?: unknown): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      socket.off(event, onConnect).off("error", finish).off("close", onClose);
      if (error === undefined) return resolve(socket);
      socket.on("error", () => undefined);
      socket.destroy();
      reject(error === signal.reason ? error : connectError(error, node.printable));
    };
    const onConnect = (): void => finish();
    const onClose = (): void => finish(new Error("the server closed the connection"));
    const onAbort = (): void => finish(signal.reason);
    const seconds = node.connectTimeoutMs / 1000;
    const timer = setTimeout(
      () => finish(new Error(`no ${node.tls === undefined ? "connection" : "TLS handshake"} within ${seconds} s`)),
      node.connectTimeoutMs,
    );
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once(event, onConnect).once("error", finish).once("close", onClose);
  });
}
