import { setTimeout as sleep } from "node:timers/promises";
import { ByteWriter } from "../../base/bytes.ts";
import { DecantError, EngineError } from "../../base/errors.ts";
import { writeCommand } from "./command-writer.ts";
import { replyError } from "./redis-errors.ts";
import type { RespConnection } from "./resp-connection.ts";
import { decodeReply, type Reply, ReplyFailure, TokenCursor } from "./resp-parser.ts";

/** Reads what it needs and returns the commands to write, none to leave everything as it is. May be called again. */
export type TransactionBody = (connection: RespConnection) => Promise<readonly (readonly (string | Buffer)[])[]>;

/** As many attempts as the reference makes (docs/spec/redis.md §13). */
const MAX_ATTEMPTS = 50;
const RETRIED_ERRORS: ReadonlySet<string> = new Set([
  "DECANT_E_REDIS_LOADING",
  "DECANT_E_REDIS_READONLY",
  "DECANT_E_REDIS_CLUSTER",
]);

/**
 * WATCH, read, decide, MULTI, write, EXEC: the only protection there is between clients. Begins again when a watched key
 * was changed meanwhile. A broken connection is not retried: whether EXEC was executed is unknown then.
 */
export async function runTransaction(
  connection: RespConnection,
  watched: readonly Buffer[],
  signal: AbortSignal,
  body: TransactionBody,
): Promise<void> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    try {
      if (await tryOnce(connection, watched, body)) return;
    } catch (error) {
      const again = error instanceof DecantError && RETRIED_ERRORS.has(error.code) && attempt < MAX_ATTEMPTS;
      if (!again) throw error;
    }
    await sleep(Math.random() * attempt ** 2, undefined, { signal });
  }
  throw new EngineError(
    "DECANT_E_REDIS_BUSY",
    `Other clients keep changing ${watched.join(", ")} at ${connection.printable}: gave up after ${MAX_ATTEMPTS} attempts`,
    { retryable: true },
  );
}

/** False when somebody else was faster. */
async function tryOnce(
  connection: RespConnection,
  watched: readonly Buffer[],
  body: TransactionBody,
): Promise<boolean> {
  await connection.call(["WATCH", ...watched]);
  try {
    const commands = await body(connection);
    if (commands.length === 0) return true;
    return await execute(connection, commands);
  } finally {
    await connection.call(["UNWATCH"]);
  }
}

/** Sends the commands as one transaction; false when a watched key was changed. */
export async function execute(
  connection: RespConnection,
  commands: readonly (readonly (string | Buffer)[])[],
): Promise<boolean> {
  const writer = new ByteWriter(4096);
  for (const command of [["MULTI"], ...commands, ["EXEC"]]) writeCommand(writer, command);
  connection.send(writer.take());
  let failure: ReplyFailure | undefined;
  let last: Reply = null;
  for (let i = 0; i < commands.length + 2; i++) {
    last = decodeReply(new TokenCursor(await connection.read(1)));
    if (last instanceof ReplyFailure) failure ??= last;
  }
  if (Array.isArray(last)) failure ??= last.find((reply) => reply instanceof ReplyFailure);
  if (failure !== undefined) throw replyError(failure.text, connection.printable, "transaction");
  return last !== null;
}
