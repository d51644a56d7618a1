import { Redis } from "ioredis";
import { readRedisJsonl } from "../support/redis-fixture.ts";
import { requireServer } from "../support/require-server.ts";
import { describeEngine } from "./engine-suite.ts";

const server = await requireServer("redis");
const DATABASE = 5;

describeEngine(
  "redis",
  server && {
    createsDatabase: false,
    pointInTime: false,
    omits: ["sustained"], // of sessions that are in no session list, as these: docs/spec/binary-dump.md §4
    emptyAddress: async () => {
      await withClient(server.url(DATABASE), (client) => client.flushdb());
      return server.url(DATABASE);
    },
    fingerprint: readRedisJsonl,
    occupy: (address) => withClient(address, (client) => client.set("something else", "1")),
  },
);

async function withClient(url: string, work: (client: Redis) => Promise<unknown>): Promise<void> {
  const client = new Redis(url);
  try {
    await work(client);
  } finally {
    client.disconnect();
  }
}
