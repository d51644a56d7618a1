import { EngineError } from "../../base/errors.ts";
import type { RecordKind } from "../../volume/records.ts";
import { signedOrZero } from "./decimal.ts";
import type { RedisServer } from "./redis-server.ts";
import type { RespConnection } from "./resp-connection.ts";

/** Cheap guesses for progress: the counter of inodes, and in a database of its own the number of keys. */
export async function estimate(
  server: RedisServer,
  connection: RespConnection,
): Promise<ReadonlyMap<RecordKind, number>> {
  const key = Buffer.concat([server.prefix, Buffer.from("totalInodes")]);
  const inodes = Number(signedOrZero((await tolerant(connection, ["GET", key])) as Buffer | null));
  const estimates = new Map<RecordKind, number>();
  if (inodes <= 0) return estimates;
  estimates.set("node", inodes + 1);
  estimates.set("edge", inodes);
  if (!server.cluster) {
    const keys = Number(await tolerant(connection, ["DBSIZE"]));
    if (keys > inodes) estimates.set("chunk", keys - inodes);
  }
  return estimates;
}

/** A guess is not worth a failure, unless the connection is gone. */
async function tolerant(connection: RespConnection, command: (string | Buffer)[]): Promise<Buffer | bigint | null> {
  try {
    return (await connection.call(command)) as Buffer | bigint | null;
  } catch (error) {
    if (error instanceof EngineError && error.code !== "DECANT_E_REDIS_LOST") return null;
    throw error;
  }
}
