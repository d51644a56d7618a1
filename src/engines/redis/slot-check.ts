import type { RedisServer } from "./redis-server.ts";
import type { RespConnection } from "./resp-connection.ts";

/** No key of a volume, so it does not exist. */
const NO_KEY = "decantSlotCheck";

/**
 * Throws `EngineError` of code DECANT_E_REDIS_CLUSTER when the node has not the whole slot of the volume. While a slot is moved, keys that
 * have gone already are in no SCAN and no RDB file of the node, and no error tells of them; but a key that is not there is answered
 * with ASK then, and with MOVED when all have gone. What was read is whole when this is so behind it: a slot that has begun to move
 * does not come back.
 */
export async function checkSlot(server: RedisServer, connection: RespConnection): Promise<void> {
  if (!server.cluster) return;
  await connection.call(["EXISTS", Buffer.concat([server.prefix, Buffer.from(NO_KEY)])]);
}
