import { afterAll, describe, expect, test } from "vitest";
import { EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { NEW_VOLUME } from "../conformance/engine-harness.ts";
import { errorOf, throughProxy } from "../support/broken-connection.ts";
import { requireEtcdServer, startEtcd } from "../support/etcd-server.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import type { ProxyFault, TcpProxy } from "../support/tcp-proxy.ts";

const never = new AbortController().signal;
const redis = (await requireRedisServer("lost answers")) ? await startRedis() : undefined;
const postgres = (await requirePostgresServer()) ? await startPostgres() : undefined;
const mysql = (await requireMysqlProgram()) ? await startMysql() : undefined;
const etcd = (await requireEtcdServer()) ? await startEtcd() : undefined;
afterAll(() => Promise.all([redis?.stop(), postgres?.stop(), mysql?.stop(), etcd?.stop()]));

interface Server {
  readonly name: string;
  readonly port: number;
  /** Whether reads that failed are repeated on another connection. */
  readonly asksAgain?: boolean;
  /** A new database, as its URL by port. */
  newDatabase(): Promise<(port: number) => string>;
}

let redisDatabases = 0;
let etcdPrefixes = 0;

const SERVERS: readonly (Server | undefined)[] = [
  redis && {
    name: "Redis",
    port: redis.port,
    async newDatabase() {
      const number = redisDatabases++;
      return (port) => `redis://127.0.0.1:${port}/${number}`;
    },
  },
  postgres && {
    name: "PostgreSQL",
    port: postgres.port,
    async newDatabase() {
      const url = postgres.url(await postgres.createDatabase());
      return (port) => url.replace(`:${postgres.port}/`, `:${port}/`);
    },
  },
  mysql && {
    name: "MySQL",
    port: mysql.port,
    async newDatabase() {
      const database = await mysql.createDatabase();
      return (port) => `mysql://root@(127.0.0.1:${port})/${database}`;
    },
  },
  etcd && {
    name: "etcd",
    asksAgain: true,
    port: etcd.port,
    async newDatabase() {
      const path = `/faults-${etcdPrefixes++}`;
      return (port) => `etcd://127.0.0.1:${port}${path}`;
    },
  },
];

function open(url: string): Promise<MetadataStore> {
  return openStore(url, { logger: silentLogger, signal: never, env: {} });
}

/** Everywhere, and close together at the end, where a transaction ends. */
function cutPoints(total: number): number[] {
  const even = Array.from({ length: 12 }, (_, i) => Math.floor((total * i) / 12));
  return [...even, ...Array.from({ length: 40 }, (_, i) => total - 1 - 3 * i)].filter((at) => at >= 0);
}

describe.each(SERVERS.filter((server) => server !== undefined))(
  "a swap over a connection to $name that breaks",
  (server) => {
    test.each(["toServer", "toClient"] as const)(
      "%s never says that nothing is stored when it is",
      async (direction) => {
        const urlOf = await server.newDatabase();
        const direct = await open(urlOf(server.port));
        await direct.createVolume(NEW_VOLUME, never);
        const swap = async (
          value: string,
          fault?: ProxyFault,
        ): Promise<{ error: unknown; passed: TcpProxy["passed"] }> =>
          throughProxy(server.port, fault, async (port, proxy) => {
            const attempt = async (): Promise<boolean> => {
              const values = new Map([["lastBackup", Buffer.from(value)]]);
              return (await open(urlOf(port))).swapRootXattrs({ expected: new Map(), values }, never);
            };
            let answer: boolean | undefined;
            const error = await errorOf(attempt().then((is) => (answer = is)));
            if (error === undefined) expect(answer).toBe(true);
            return { error, passed: proxy.passed };
          });
        await swap("first");
        const { passed } = await swap("00");
        const seen = { stored: 0, unknown: 0, unknownAndStored: 0, known: 0 };
        for (const [i, afterBytes] of cutPoints(passed[direction]).entries()) {
          const value = String(i + 10);
          const { error } = await swap(value, { direction, afterBytes, action: "cut" });
          const isStored = (await direct.readRootXattrs(["lastBackup"], never)).get("lastBackup")?.toString() === value;
          if (error === undefined) {
            expect([afterBytes, isStored]).toEqual([afterBytes, true]);
            seen.stored++;
            continue;
          }
          if (!(error instanceof EngineError)) throw error;
          if (error.code === "DECANT_E_OUTCOME_UNKNOWN") {
            expect(error.retryable).toBe(true);
            seen.unknown++;
            if (isStored) seen.unknownAndStored++;
          } else {
            expect([afterBytes, error.code, isStored]).toEqual([afterBytes, error.code, false]);
            seen.known++;
          }
        }
        // What only reads is asked again there, so that a connection that breaks early does no harm.
        expect(server.asksAgain ? seen.stored : seen.known).toBeGreaterThan(0);
        expect(seen.unknown).toBeGreaterThan(0);
        if (direction === "toClient") expect(seen.unknownAndStored).toBeGreaterThan(0);
      },
    );
  },
);
