import type { Duplex } from "node:stream";
import { checkServerIdentity, type TLSSocket } from "node:tls";
import { type Connection, type ConnectionOptions, createConnection } from "mysql2";
import { EngineError } from "../../base/errors.ts";
import { SILENT_HOST_MS } from "../sql/server-address.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { toMysqlError } from "./mysql-errors.ts";
import { tlsOptions } from "./mysql-tls.ts";
import { type Outcome, ResultReceiver } from "./result-receiver.ts";

/** What is used of the library beyond its public interface; package-lock.json fixes its version. */
interface Internals {
  readonly stream: Duplex;
  packetParser: { execute(chunk: Buffer): void };
  write(bytes: Uint8Array): void;
  startTLS(onSecure: (error?: Error) => void): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface ConnectionUse {
  /** Tells the server that it may ask for files; it gets none but the rows of `loadRows`. */
  readonly offersFiles?: boolean;
}

/** Bytes in front of the text of a statement: u24 size, u8 sequence number, u8 COM_QUERY. */
export const STATEMENT_HEAD_BYTES = 5;
const COM_QUERY = 3;
/** Bytes in front of every other packet: u24 size, u8 sequence number. */
export const PACKET_HEAD_BYTES = 4;

/** Name of the only file that a server gets: what `loadRows` is given. No file of this machine is ever opened for one. */
export const LOCAL_FILE = "rows-of-decant";

/** What was received ahead of its use, in reads of the socket. */
const MAX_PAGES_AHEAD = 4;
/** How long a farewell may take. */
const CLOSE_TIMEOUT_MS = 2000;

/** Column types of the protocol that are whole numbers here: sums are decimals without fraction. */
const INTEGER_TYPES: ReadonlySet<string> = new Set([
  "TINY",
  "SHORT",
  "INT24",
  "LONG",
  "LONGLONG",
  "DECIMAL",
  "NEWDECIMAL",
]);

/**
 * One connection. The library makes it and serves the statements of few rows; `pages` and `execute` speak the protocol
 * themselves, because an object per row or value is what reading and writing in bulk would be spent on. One thing at a time.
 */
export class MysqlConnection {
  readonly address: MysqlAddress;
  readonly #connection: Connection;
  readonly #signal: AbortSignal;
  #failure: unknown;
  #reject: ((reason: unknown) => void) | undefined;
  #closed = false;
  /** A result has not been received to its end. */
  #isReceiving = false;

  /**
   * Connects and ends with `signal`. Only a connection that `offersFiles` can be used for `loadRows`. Throws `EngineError` or
   * `NotFoundError` (no such database).
   */
  static async open(
    address: MysqlAddress,
    env: Environment,
    signal: AbortSignal,
    use: ConnectionUse = {},
  ): Promise<MysqlConnection> {
    signal.throwIfAborted();
    try {
      return await MysqlConnection.#connect(address, tlsOptions(address, env), signal, use);
    } catch (error) {
      const refused = error instanceof Error && "code" in error && error.code === "HANDSHAKE_NO_SSL_SUPPORT";
      if (!refused || address.tls !== "preferred") throw toMysqlError(error, address.url, "connect to");
    }
    try {
      return await MysqlConnection.#connect(address, undefined, signal, use);
    } catch (error) {
      throw toMysqlError(error, address.url, "connect to");
    }
  }

  static async #connect(
    address: MysqlAddress,
    ssl: ConnectionOptions["ssl"],
    signal: AbortSignal,
    { offersFiles = false }: ConnectionUse,
  ): Promise<MysqlConnection> {
    const connection = createConnection({
      ...address.endpoint,
      user: address.user,
      password: address.password,
      database: address.database,
      charset: "UTF8MB4_GENERAL_CI",
      connectTimeout: address.connectTimeoutMs,
      keepAliveInitialDelay: SILENT_HOST_MS,
      enableCleartextPlugin: address.allowClearPassword,
      // Statements have nothing before their text. The library has no files for a server that asks for one.
      flags: [...(offersFiles ? [] : ["-LOCAL_FILES"]), "-CLIENT_QUERY_ATTRIBUTES", "-FOUND_ROWS"],
      rowsAsArray: true,
      ...(ssl === undefined ? {} : { ssl }),
    });
    if (address.tls === "verify") verifyHost(connection as unknown as Internals, address);
    const opened = new MysqlConnection(address, connection, signal);
    try {
      await opened.#wait<void>((resolve, reject) => {
        connection.connect((error) => (error === null ? resolve() : reject(error)));
      });
    } catch (error) {
      opened.destroy();
      throw error;
    }
    return opened;
  }

  private constructor(address: MysqlAddress, connection: Connection, signal: AbortSignal) {
    this.address = address;
    this.#connection = connection;
    this.#signal = signal;
    connection.on("error", (error) => this.#fail(error));
    signal.addEventListener("abort", this.#onAbort);
  }

  /**
   * The rows of a query as arrays: whole numbers as bigint, byte strings as Buffer, texts as string, NULL as null. Nothing
   * for a statement that has no result.
   */
  async rows<T extends readonly unknown[]>(sql: string): Promise<T[]> {
    return this.#explain(() =>
      this.#wait<T[]>((resolve, reject) => {
        this.#connection.query({ sql, typeCast: toValue }, (error, result) => {
          if (error !== null) reject(error);
          else resolve(Array.isArray(result) ? (result as unknown as T[]) : []);
        });
      }),
    );
  }

  /**
   * The rows of a query as the server sends them: each page holds whole row packets for `TextRowReader`. Leaving early ends
   * the connection.
   */
  async *pages(sql: string): AsyncGenerator<Buffer> {
    const text = Buffer.from(sql);
    const packet = Buffer.allocUnsafe(STATEMENT_HEAD_BYTES + text.length);
    text.copy(packet, STATEMENT_HEAD_BYTES);
    const receiver = this.#begin(packet);
    const { stream } = this.#internals;
    try {
      for (;;) {
        const page = receiver.pages.shift();
        if (page !== undefined) {
          if (stream.isPaused() && receiver.pages.length < MAX_PAGES_AHEAD / 2) stream.resume();
          yield page;
        } else if (receiver.ended) {
          break;
        } else {
          await this.#explain(() => this.#progress(receiver));
        }
      }
      await this.#explain(() => receiver.throwError());
    } finally {
      this.#end(receiver);
    }
  }

  /** Runs a statement without result, whose text stands behind `STATEMENT_HEAD_BYTES` free bytes and has less than 16 MiB. */
  async execute(packet: Buffer): Promise<Outcome> {
    const receiver = this.#begin(packet);
    try {
      return await this.#explain(() => this.#outcome(receiver));
    } finally {
      this.#end(receiver);
    }
  }

  /**
   * Runs `LOAD DATA LOCAL INFILE` of `LOCAL_FILE`, whose text stands behind `STATEMENT_HEAD_BYTES` free bytes. The content of that
   * file are the rows between `PACKET_HEAD_BYTES` free bytes on either side, less than 16 MiB of them. What the server could
   * not store is no error to it: compare the outcome with what was sent. Only where the session `offersFiles`.
   */
  async loadRows(statement: Buffer, rows: Buffer): Promise<Outcome> {
    const receiver = this.#begin(statement, LOCAL_FILE);
    try {
      return await this.#explain(async () => {
        while (!receiver.ended && receiver.fileAskedBy === undefined) await this.#progress(receiver);
        if (receiver.fileAskedBy !== undefined) this.#sendFile(rows, receiver.fileAskedBy);
        return await this.#outcome(receiver);
      });
    } finally {
      this.#end(receiver);
    }
  }

  /** Ends the session; never throws. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    if (this.#failure === undefined && !this.#isReceiving) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
        this.#connection.end(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    this.destroy();
  }

  /** Drops the connection at once; the server rolls back. */
  destroy(): void {
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#failure ??= new EngineError("DECANT_E_MYSQL_LOST", `The connection to ${this.address.url} was closed`);
    this.#connection.destroy();
  }

  get #internals(): Internals {
    return this.#connection as unknown as Internals;
  }

  readonly #onAbort = (): void => {
    this.#fail(this.#signal.reason);
    this.destroy();
  };

  /** Only the first cause counts: what follows from it is told by it. */
  #fail(reason: unknown): void {
    this.#failure ??= reason;
    this.#reject?.(this.#failure);
  }

  #wait<T>(begin: (resolve: (value: T) => void, reject: (reason: unknown) => void) => void): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      this.#reject = reject;
      begin(resolve, reject);
    }).finally(() => {
      this.#reject = undefined;
    });
  }

  async #explain<T>(work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw toMysqlError(error, this.address.url, "use");
    }
  }

  async #outcome(receiver: ResultReceiver): Promise<Outcome> {
    while (!receiver.ended) await this.#progress(receiver);
    receiver.throwError();
    return receiver.outcome;
  }

  /** One packet of content, and the empty one that ends it. */
  #sendFile(rows: Buffer, askedBy: number): void {
    const end = rows.length - PACKET_HEAD_BYTES;
    rows.writeUIntLE(end - PACKET_HEAD_BYTES, 0, 3);
    rows[3] = askedBy + 1;
    rows.writeUIntLE(0, end, 3);
    rows[end + 3] = askedBy + 2;
    this.#internals.write(rows);
  }

  /** Sends a statement whose answer goes to the receiver instead of the library, which has nothing to do meanwhile. */
  #begin(packet: Buffer, offeredFile?: string): ResultReceiver {
    if (this.#failure !== undefined) throw toMysqlError(this.#failure, this.address.url, "use");
    const internals = this.#internals;
    const receiver = new ResultReceiver(internals.packetParser, offeredFile);
    internals.packetParser = receiver;
    this.#isReceiving = true;
    packet.writeUIntLE(packet.length - 4, 0, 3);
    packet[3] = 0;
    packet[4] = COM_QUERY;
    internals.write(packet);
    return receiver;
  }

  #progress(receiver: ResultReceiver): Promise<void> {
    const { stream } = this.#internals;
    return this.#wait<void>((resolve) => {
      receiver.onProgress = () => {
        if (receiver.pages.length >= MAX_PAGES_AHEAD && !receiver.ended) stream.pause();
        resolve();
      };
    });
  }

  #end(receiver: ResultReceiver): void {
    this.#internals.packetParser = receiver.replaced;
    this.#isReceiving = false;
    if (!receiver.ended || receiver.isOutOfStep) this.destroy();
    else if (this.#internals.stream.isPaused()) this.#internals.stream.resume();
  }
}

/**
 * Refuses a certificate that is not one for the host, before anything of the account is sent. The library compares names only:
 * for a numeric address it would look for a certificate of `localhost`.
 */
function verifyHost(internals: Internals, address: MysqlAddress): void {
  const host = "host" in address.endpoint ? address.endpoint.host : "localhost";
  const startTls = internals.startTLS.bind(internals);
  internals.startTLS = (onSecure) => {
    startTls((error) => {
      onSecure(error ?? checkServerIdentity(host, (internals.stream as TLSSocket).getPeerCertificate()));
    });
  };
}

function toValue(field: { type: string; string(): string | null }, next: () => unknown): unknown {
  if (!INTEGER_TYPES.has(field.type)) return next();
  const text = field.string();
  return text === null ? null : BigInt(text);
}
