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
    pointInTime: true,
    emptyAddress: async () => {
      await withClient(server.url(DATABASE), (client) => client.flushdb());
      return server.url(DATABASE);
    },
    fingerprint: readRedisJsonl,
    changeLog: readChangeLog,
    occupy: async (address) => void (await withClient(address, (client) => client.set("something else", "1"))),
  },
);

function readChangeLog(url: string): Promise<string[]> {
  return withClient(url, (client) => client.lrange("txnLog", 0, -1));
}

async function withClient<T>(url: string, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url);
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}
