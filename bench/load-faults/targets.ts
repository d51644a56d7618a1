import { join } from "node:path";
import { startDurableRedis } from "../../test/support/durable-redis.ts";
import { startEtcd } from "../../test/support/etcd-server.ts";
import { type PrivateMysqlServer, startMysql } from "../../test/support/mysql-server.ts";
import { type PrivatePostgresServer, startPostgres } from "../../test/support/postgres-server.ts";
import { mustRun } from "../../test/support/run-command.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { requireTikv } from "../../test/support/tikv-server.ts";
import type { UnsteadyNetwork } from "../../test/support/unsteady-network.ts";

export const ENGINE_NAMES = ["sqlite", "badger", "redis", "postgres", "mariadb", "etcd", "tikv"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

/** Where loads go, and what can happen to it. */
export interface FaultTarget {
  /** The address of an empty database that no other round has. */
  fresh(): Promise<string>;
  /** Ends the server as a crash does, and starts it again with what it had acknowledged; undefined where there is none. */
  readonly restart?: () => Promise<void>;
  close(): Promise<void>;
}

/** With a network, all servers of TiKV are behind it, whose addresses clients hear from one of them. */
export async function openTarget(name: EngineName, network?: UnsteadyNetwork): Promise<FaultTarget> {
  let rounds = 0;
  switch (name) {
    case "sqlite":
    case "badger": {
      const scheme = name === "sqlite" ? "sqlite3" : "badger";
      const directory = temporaryDirectory();
      return {
        fresh: async () => `${scheme}://${join(directory, `volume${rounds++}`)}`,
        close: async () => undefined,
      };
    }
    case "redis": {
      const server = await startDurableRedis();
      return {
        fresh: async () => {
          const number = rounds++ % 16;
          await mustRun("redis-cli", ["-p", `${server.port}`, "-n", `${number}`, "flushdb"]);
          return `redis://127.0.0.1:${server.port}/${number}`;
        },
        restart: async () => {
          await server.crash();
          await server.start();
        },
        close: server.stop,
      };
    }
    case "postgres":
      return sqlTarget(await startPostgres({ settings: { fsync: "on", synchronous_commit: "on" } }));
    case "mariadb":
      return sqlTarget(await startMysql());
    case "etcd": {
      const server = await startEtcd({ args: ["--unsafe-no-fsync=false", "--quota-backend-bytes=8589934592"] });
      return {
        fresh: async () => server.url(`/round${rounds++}`),
        restart: async () => {
          await server.crash();
          await server.start();
        },
        close: server.stop,
      };
    }
    case "tikv": {
      const server = await requireTikv(
        network === undefined ? {} : { told: (...own) => addressesBehind(network, own) },
      );
      if (server === undefined) throw new Error("There is no server of TiKV for tests: it needs Go");
      return { fresh: async () => server.url(`round${rounds++}`), close: server.end };
    }
  }
}

async function addressesBehind(network: UnsteadyNetwork, [drivers, stores]: [readonly string[], readonly string[]]) {
  const behind = (addresses: readonly string[]): Promise<string[]> =>
    Promise.all(addresses.map((address) => network.addressBefore(address)));
  return { drivers: await behind(drivers), stores: await behind(stores) };
}

function sqlTarget(server: PrivatePostgresServer | PrivateMysqlServer): FaultTarget {
  return {
    fresh: async () => server.url(await server.createDatabase()),
    restart: async () => {
      await server.crash();
      await server.restart();
    },
    close: () => server.stop(),
  };
}
