import { once } from "node:events";
import type { Readable } from "node:stream";
import copyStreams from "pg-copy-streams";
import { DecantError } from "../../base/errors.ts";
import type { SqlSession } from "../sql/catalog.ts";
import { SqlCatalog } from "../sql/catalog.ts";
import { connect, type ServerSession } from "./connect.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { sqlState, toEngineError } from "./postgres-errors.ts";
import { readColumns } from "./read-columns.ts";
import { quote } from "./stored-names.ts";

/** A value for a statement. Big integers travel as their decimal text. */
export type SqlValue = string | number | bigint | boolean | Buffer | null;

/** How long the end of a session may take; then the socket is closed without it. */
const CLOSE_TIMEOUT_MS = 2000;

/**
 * One connection. It is closed when the signal fires, which ends whatever is under way; every error is one for people, or
 * the signal's reason.
 */
export class PostgresConnection implements SqlSession {
  readonly address: PostgresAddress;
  readonly #session: ServerSession;
  readonly #signal: AbortSignal;
  readonly #abort: () => void;
  #catalog: SqlCatalog;
  #broken = false;
  #isCopying = false;

  static async open(address: PostgresAddress, signal: AbortSignal): Promise<PostgresConnection> {
    signal.throwIfAborted();
    return new PostgresConnection(address, await connect(address, signal), signal);
  }

  private constructor(address: PostgresAddress, session: ServerSession, signal: AbortSignal) {
    this.address = address;
    this.#session = session;
    this.#signal = signal;
    this.#catalog = new SqlCatalog(address.tablePrefix, new Map(), quote);
    this.#abort = () => this.destroy();
    signal.addEventListener("abort", this.#abort, { once: true });
    if (signal.aborted) this.destroy();
  }

  /** The tables and columns as of the last `readCatalog`. */
  get catalog(): SqlCatalog {
    return this.#catalog;
  }

  async readCatalog(): Promise<SqlCatalog> {
    this.#catalog = new SqlCatalog(this.address.tablePrefix, await readColumns(this, this.address), quote);
    return this.#catalog;
  }

  rows<T extends readonly unknown[]>(query: string, values: readonly SqlValue[] = []): Promise<T[]> {
    return this.#guard("read", async () => {
      const config = { text: query, values: values.map(toParameter), rowMode: "array" } as const;
      return (await this.#session.client.query(config)).rows as unknown as T[];
    });
  }

  /** Runs a statement. */
  run(statement: string, values: readonly SqlValue[] = []): Promise<void> {
    return this.#guard("write", async () => {
      await this.#session.client.query(statement, values.map(toParameter));
    });
  }

  /**
   * What `COPY ... TO STDOUT` sends, in pieces of any size. A caller that stops early closes the connection with that; an error of
   * the server ends only the statement.
   */
  async *copyOut(statement: string): AsyncGenerator<Buffer, undefined> {
    this.#signal.throwIfAborted();
    let complete = false;
    this.#isCopying = true;
    try {
      const stream: Readable = this.#session.client.query(copyStreams.to(statement));
      for await (const chunk of stream) yield chunk as Buffer;
      complete = true;
    } catch (error) {
      complete = endsStatement(error);
      throw this.#translate(error, "read");
    } finally {
      this.#isCopying = false;
      if (!complete) this.destroy();
    }
  }

  /** Sends the rows of one `COPY ... FROM STDIN`; they are stored when this returns. */
  copyIn(statement: string, rows: Buffer): Promise<void> {
    return this.#guard("write", async () => {
      const stream = this.#session.client.query(copyStreams.from(statement));
      const finished = once(stream, "finish");
      stream.end(rows);
      await finished;
    });
  }

  /** Runs `work` in a transaction, which is rolled back when it throws. */
  async transaction<T>(begin: string, work: () => Promise<T>): Promise<T> {
    await this.run(begin);
    try {
      const result = await work();
      await this.run("COMMIT");
      return result;
    } catch (error) {
      await this.rollback();
      throw error;
    }
  }

  /** Ends a transaction without its changes. Never throws: when the connection is lost, the server does it by itself. */
  async rollback(): Promise<void> {
    try {
      await this.run("ROLLBACK");
    } catch {
      this.destroy();
    }
  }

  /** Closes the socket at once; the server rolls an open transaction back. */
  destroy(): void {
    this.#broken = true;
    this.#session.socket.destroy();
  }

  /** Ends the session; never throws. */
  async close(): Promise<void> {
    this.#signal.removeEventListener("abort", this.#abort);
    if (this.#isCopying) this.destroy(); // the server would first send all the rest
    if (this.#broken) return;
    const timer = setTimeout(() => this.destroy(), CLOSE_TIMEOUT_MS);
    try {
      await this.#session.client.end();
    } catch {
      this.destroy();
    } finally {
      clearTimeout(timer);
    }
  }

  async #guard<T>(action: string, work: () => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      throw this.#translate(error, action);
    }
  }

  #translate(error: unknown, action: string): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    const first = sqlState(error) === undefined ? this.#session.failure() : undefined;
    return toEngineError(error instanceof DecantError ? error : (first ?? error), this.address.url, action);
  }
}

/** True for an error after which the server goes on with the session. */
function endsStatement(error: unknown): boolean {
  return sqlState(error) !== undefined && (error as { severity?: unknown }).severity === "ERROR";
}

function toParameter(value: SqlValue): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

/** Runs `work` with a connection of its own and closes it. */
export async function withConnection<T>(
  address: PostgresAddress,
  signal: AbortSignal,
  work: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  const connection = await PostgresConnection.open(address, signal);
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}
