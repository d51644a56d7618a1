import { setTimeout as sleep } from "node:timers/promises";
import type { EngineError } from "../../../base/errors.ts";
import { encodeCommand } from "../command-writer.ts";
import { replyError } from "../redis-errors.ts";
import { type RedisServer, readInfo } from "../redis-server.ts";
import { RespConnection } from "../resp-connection.ts";
import {
  decodeReply,
  type ReplyBlock,
  ReplyFailure,
  TOKEN_ARRAY,
  TOKEN_BULK,
  TOKEN_ERROR,
  TOKEN_PUSH,
  TOKEN_SIMPLE,
  TOKEN_STRIDE,
  TokenCursor,
} from "../resp-parser.ts";
import { DirtyKeys } from "./dirty-keys.ts";
import type { KeyFilter } from "./key-filter.ts";
import { notTracked, RIGHTS_HINT, StartAgain } from "./tracking-errors.ts";

/** More memory for changed keys is not taken: 64 bytes at the worst for each of a million. */
const MAX_DIRTY_BYTES = 96 * 1024 * 1024;
/** A message or an answer comes at least so often, so that a silent server is told from a lost one. */
const MAX_KEEPALIVE_MS = 5000;
const BUSY_DELAY_MS = 50;
const MAX_BUSY_MS = 30_000;

interface Answer {
  readonly kind: number;
  readonly size: number;
  readonly text: string;
}

/**
 * Hears of every key that is changed, on a connection of its own that does nothing else (RESP3, CLIENT TRACKING in broadcast mode).
 *
 * The server writes the messages about what was changed in one turn of its event loop at the end of that turn, behind replies
 * to commands of the same turn. So the answer to a PING proves that the messages about all earlier changes have come only for
 * changes of earlier turns: a PING that is sent when the reply of a read has arrived runs in a later turn than the read, and its
 * answer comes behind the messages about whatever was changed before the read. That holds on another connection too, because it
 * is the server that puts answer and messages in order; but both connections must lead to the same server process, which is why
 * `runId` is compared. One connection less would mean messages queued behind megabytes of values.
 *
 * Not told by a message: SWAPDB. The setting is watched for that: the last PING goes through a transaction.
 */
export class Invalidations {
  /** Of the process that answers; "" when the user may not know. */
  readonly runId: string;
  readonly #connection: RespConnection;
  readonly #filter: KeyFilter;
  readonly #signal: AbortSignal;
  readonly #prefix: Buffer;
  readonly #waiters: ((answer: Answer | undefined) => void)[] = [];
  readonly #keepalive: NodeJS.Timeout;
  #dirty = new DirtyKeys();
  #isFlushed = false;
  #failure: unknown;

  private constructor(
    server: RedisServer,
    connection: RespConnection,
    runId: string,
    filter: KeyFilter,
    signal: AbortSignal,
  ) {
    this.runId = runId;
    this.#connection = connection;
    this.#prefix = server.prefix;
    this.#filter = filter;
    this.#signal = signal;
    const period = Math.min(MAX_KEEPALIVE_MS, server.node.readTimeoutMs / 3);
    this.#keepalive = setInterval(() => this.#ask("PING").catch(() => undefined), period);
    this.#keepalive.unref();
    void this.#listen();
  }

  /** Begins to listen. Throws `EngineError` DECANT_E_REDIS_TRACKING where the server does not permit or know it. */
  static async open(server: RedisServer, filter: KeyFilter, signal: AbortSignal): Promise<Invalidations> {
    const connection = await RespConnection.open(server.node, signal);
    try {
      const runId = await readRunId(connection, server);
      const prefix = server.prefix.length === 0 ? [] : ["PREFIX", server.prefix];
      const setting = Buffer.concat([server.prefix, Buffer.from("setting")]);
      // Messages come from the last one on, and would be taken for answers before there is a listener.
      for (const command of [
        ["HELLO", "3"],
        ["MULTI"],
        ["EXEC"],
        ["WATCH", setting],
        ["PING"],
        ["CLIENT", "TRACKING", "ON", "BCAST", ...prefix],
      ]) {
        await permitted(connection, server, command);
      }
      return new Invalidations(server, connection, runId, filter, signal);
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** What was changed since the last `take`. */
  get dirty(): DirtyKeys {
    return this.#dirty;
  }

  /** Hands over what was changed and begins anew. Do so before the command goes out that reads them, never after. */
  take(): DirtyKeys {
    const dirty = this.#dirty;
    this.#dirty = new DirtyKeys();
    return dirty;
  }

  /**
   * Returns when `dirty` has all that was changed before the last reply that the caller has received. Throws `StartAgain` when
   * all keys were removed or replaced at once.
   */
  async fence(): Promise<void> {
    for (let waited = 0; ; waited += BUSY_DELAY_MS) {
      const answer = await this.#ask("PING");
      this.#throwIfUseless();
      if (answer.kind === TOKEN_SIMPLE && answer.text === "PONG") return;
      // a script that takes long: messages wait for its end, and this was no answer
      if (!answer.text.startsWith("BUSY") || waited >= MAX_BUSY_MS) throw this.#refused(answer, "PING");
      await sleep(BUSY_DELAY_MS, undefined, { signal: this.#signal });
    }
  }

  /** Like `fence`, and makes sure that the setting is the one that was there at the beginning. Can be called once. */
  async lastFence(): Promise<void> {
    await this.fence();
    const answers = await Promise.all([this.#ask("MULTI"), this.#ask("PING"), this.#ask("EXEC")]);
    this.#throwIfUseless();
    const [, , last] = answers;
    if (last!.kind === TOKEN_ARRAY && last!.size === 1) return;
    if (last!.size === -1) throw new StartAgain();
    throw this.#refused(answers.find((answer) => answer.kind === TOKEN_ERROR) ?? last!, "EXEC");
  }

  close(): void {
    clearInterval(this.#keepalive);
    this.#failure ??= new Error("closed");
    this.#connection.close();
  }

  #refused({ text }: Answer, command: string): EngineError {
    return replyError(text, this.#connection.printable, command);
  }

  #throwIfUseless(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isFlushed) throw new StartAgain();
    if (this.#dirty.bytes > MAX_DIRTY_BYTES) {
      throw notTracked(
        this.#connection.printable,
        `${this.#dirty.count} keys were changed meanwhile, more than can be remembered`,
      );
    }
  }

  async #ask(command: string): Promise<Answer> {
    if (this.#failure !== undefined) throw this.#failure;
    const answer = new Promise<Answer | undefined>((resolve) => this.#waiters.push(resolve));
    this.#connection.send(encodeCommand([command]));
    const found = await answer;
    if (found === undefined) throw this.#failure;
    return found;
  }

  async #listen(): Promise<void> {
    try {
      for (;;) this.#take(await this.#connection.read(1));
    } catch (error) {
      this.#failure ??= error;
      for (const waiter of this.#waiters.splice(0)) waiter(undefined);
    }
  }

  #take(block: ReplyBlock): void {
    const { tokens, bytes } = block;
    const [kind, start, size] = [tokens[0]!, tokens[1]!, tokens[2]!];
    if (kind === TOKEN_PUSH) return this.#takeMessage(block);
    const text = kind === TOKEN_ARRAY ? "" : bytes.toString("latin1", start, start + Math.max(0, size));
    this.#waiters.shift()?.({ kind, size, text });
  }

  /** `invalidate` with a list of keys, or with nil when a whole database was emptied. */
  #takeMessage({ tokens, bytes }: ReplyBlock): void {
    const name = TOKEN_STRIDE;
    const list = 2 * TOKEN_STRIDE;
    if (bytes.toString("latin1", tokens[name + 1]!, tokens[name + 1]! + tokens[name + 2]!) !== "invalidate") return;
    if (tokens[list] !== TOKEN_ARRAY) {
      this.#isFlushed = true;
      return;
    }
    const dirty = this.#dirty;
    // When there are too many, nothing will be shown any more.
    if (dirty.bytes > MAX_DIRTY_BYTES) return;
    for (let i = 1, key = list + TOKEN_STRIDE; i <= tokens[list + 2]!; i++, key += TOKEN_STRIDE) {
      if (tokens[key] !== TOKEN_BULK) continue;
      const start = tokens[key + 1]!;
      const end = start + tokens[key + 2]!;
      if (this.#prefix.length === 0 || this.#prefix.equals(bytes.subarray(start, start + this.#prefix.length))) {
        this.#filter.collect(bytes, start, end, dirty);
      }
    }
  }
}

/** Index of the token behind the reply that begins at `at`. */
export function behind(tokens: Int32Array, at: number): number {
  let next = at;
  for (let open = 1; open > 0; next += TOKEN_STRIDE) {
    open--;
    if ((tokens[next] === TOKEN_ARRAY || tokens[next] === TOKEN_PUSH) && tokens[next + 2]! > 0)
      open += tokens[next + 2]!;
  }
  return next;
}

/** Identifies the server process. Only servers are trusted whose order of messages is known. */
export async function readRunId(connection: RespConnection, server: RedisServer): Promise<string> {
  const info = await readInfo(connection, "server");
  const runId = /^run_id:([0-9a-f]+)/m.exec(info)?.[1];
  if (runId === undefined) {
    throw notTracked(server.printable, "the user may not ask which server this is (INFO)", RIGHTS_HINT);
  }
  if (/^(dragonfly_version|.*keydb)/im.test(info)) {
    throw notTracked(server.printable, "the order in which this kind of server tells of changes is not known");
  }
  return runId;
}

async function permitted(
  connection: RespConnection,
  server: RedisServer,
  command: readonly (string | Buffer)[],
): Promise<void> {
  connection.send(encodeCommand(command));
  const reply = decodeReply(new TokenCursor(await connection.read(1)));
  if (!(reply instanceof ReplyFailure)) return;
  const name = command.slice(0, command[0] === "CLIENT" ? 2 : 1).join(" ");
  const error = replyError(reply.text, server.printable, name);
  throw error.retryable
    ? error
    : notTracked(server.printable, `the server does not permit ${name}: ${reply.text}`, RIGHTS_HINT);
}
