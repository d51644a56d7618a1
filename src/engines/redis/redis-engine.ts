import { tmpdir } from "node:os";
import type { Engine } from "../engine.ts";
import { findServer } from "./redis-server.ts";
import { RedisStore } from "./redis-store.ts";
import { parseRedisUrl } from "./redis-url.ts";

/** Redis 4.0 or newer and what speaks its protocol, alone, behind Sentinel or as a cluster (docs/spec/redis.md). */
export const redisEngine: Engine = {
  name: "Redis",

  async open(address, options) {
    const parsed = parseRedisUrl(address, options.env, options.logger);
    return new RedisStore(await findServer(parsed, options), options.tmpDir ?? tmpdir());
  },
};
