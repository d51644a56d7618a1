import net from "node:net";
import tls from "node:tls";
import { EngineError } from "../../base/errors.ts";
import { brokenError, connectError } from "./redis-errors.ts";

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

/** What becomes of the bytes that come, and how long may be waited for them. */
export interface SocketReader {
  /** Takes bytes over; those of a plain socket are borrowed. */
  take(chunk: Buffer): void;
  /** Bytes that nobody has asked for yet. */
  pendingBytes(): number;
  /** Above so many of them, the socket is paused. */
  readonly pauseBytes: number;
  readonly idleMs: number;
  /** What is told of a server that is silent for `idleMs`. */
  readonly idleProblem: string;
}

/** A socket to a node, for one who waits for what comes, and hears of the first failure whenever he waits after it. */
export class PacedSocket {
  readonly #printable: string;
  readonly #socket: net.Socket;
  readonly #reader: SocketReader;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #isPaused = false;

  private constructor(
    socket: net.Socket,
    receiver: Receiver,
    reader: SocketReader,
    node: NodeSettings,
    signal: AbortSignal,
  ) {
    this.#printable = node.printable;
    this.#socket = socket;
    this.#reader = reader;
    this.#signal = signal;
    this.#onAbort = () => this.#fail(signal.reason);
    receiver.take = (chunk) => this.#receive(chunk);
    socket.setNoDelay(true);
    if (node.tls !== undefined) socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Connects, and no more. Throws `EngineError`. */
  static async open(node: NodeSettings, reader: SocketReader, signal: AbortSignal): Promise<PacedSocket> {
    signal.throwIfAborted();
    const receiver: Receiver = { take: () => undefined };
    return new PacedSocket(await connectSocket(node, receiver, signal), receiver, reader, node, signal);
  }

  /** The buffer must not be changed until there is an answer. */
  write(bytes: Uint8Array): void {
    if (this.#failure === undefined) this.#socket.write(bytes);
  }

  close(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#failure ??= new EngineError("DECANT_E_REDIS_LOST", `The connection to ${this.#printable} is closed`);
    this.#socket.destroy();
  }

  /** Returns when more has come. What came before a failure is still there to be read. */
  wait(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket.resume();
    }
    const { idleMs, idleProblem } = this.#reader;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(new Error(idleProblem)), idleMs);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        if (this.#failure === undefined || this.#reader.pendingBytes() > 0) resolve();
        else reject(this.#failure);
      };
    });
  }

  #receive(chunk: Buffer): void {
    this.#reader.take(chunk);
    if (this.#wake !== undefined) this.#wake();
    else if (this.#reader.pendingBytes() > this.#reader.pauseBytes && !this.#isPaused) {
      this.#isPaused = true;
      this.#socket.pause();
    }
  }

  #fail(error: unknown): void {
    // The first cause is the true one: what follows a reset is only that the socket is gone.
    this.#failure ??= brokenError(error, this.#printable);
    this.#socket.destroy();
    this.#wake?.();
  }
}

/** Who gets what a plain socket receives. The bytes are borrowed. */
interface Receiver {
  take: (chunk: Buffer) => void;
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
function connectSocket(node: NodeSettings, receiver: Receiver, signal: AbortSignal): Promise<net.Socket> {
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
