import { createHash } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import Database from "better-sqlite3";
import { type RedisServer, startRedis } from "../test/support/redis-server.ts";
import { CACHE } from "../test/support/repository.ts";
import { mustRun } from "../test/support/run-command.ts";
import { generateCorpus } from "./corpus.ts";
import type { CorpusOptions } from "./corpus-shape.ts";

/** One corpus in every form that a cell starts from. Built once and kept under .cache/bench/. */
export interface BenchVolume {
  readonly files: number;
  /** Bytes of the JSON dump. */
  readonly documentBytes: number;
  readonly json: string;
  readonly sqliteUrl: string;
  /** The volume is in db 0, loads go to db 1. */
  readonly redis: RedisServer | undefined;
  readonly redisUrl: string;
  readonly emptyRedisUrl: string;
  /** For outputs of single runs. */
  readonly scratch: string;
  emptyRedis(): Promise<void>;
  close(): Promise<void>;
}

const BUILD_TIMEOUT_MS = 3_600_000;
const TARGET_DB = 1;

/** `client` loads the volumes: the reference, so that what is read by both was made by neither of ours. */
export async function openVolume(
  options: Partial<CorpusOptions> & { files: number },
  client: readonly string[],
  needs: { sqlite: boolean; redis: boolean },
): Promise<BenchVolume> {
  const key = createHash("sha256").update(JSON.stringify(options)).digest("hex").slice(0, 8);
  const directory = join(CACHE, "bench", `${options.files}-${key}`);
  const scratch = join(directory, "scratch");
  mkdirSync(scratch, { recursive: true });
  const json = join(directory, "corpus.json");
  await buildOnce(json, async (partial) => {
    await pipeline(Readable.from(generateCorpus(options)), createWriteStream(partial));
  });
  const database = join(directory, "volume.db");
  if (needs.sqlite) {
    await buildOnce(database, async (partial) => {
      await load(client, `sqlite3://${partial}`, json);
      checkpoint(partial);
    });
  }
  const redis = needs.redis ? await openRedis(directory, client, json) : undefined;
  return {
    files: options.files,
    documentBytes: statSync(json).size,
    json,
    sqliteUrl: `sqlite3://${database}`,
    redis,
    redisUrl: redis?.url(0) ?? "",
    emptyRedisUrl: redis?.url(TARGET_DB) ?? "",
    scratch,
    emptyRedis: async () => emptyDatabase(redis),
    close: async () => {
      rmSync(scratch, { recursive: true, force: true });
      await redis?.stop();
    },
  };
}

/** The keys are kept as a Redis snapshot file, which the server reads when it starts. */
async function openRedis(directory: string, client: readonly string[], json: string): Promise<RedisServer> {
  const file = join(directory, "corpus.rdb");
  const args = ["--dir", directory, "--dbfilename", "corpus.rdb"];
  if (existsSync(file)) return startRedis({ args });
  const server = await startRedis({ args });
  await load(client, server.url(0), json);
  const connection = server.client();
  await connection.call("SAVE");
  connection.disconnect();
  return server;
}

async function emptyDatabase(redis: RedisServer | undefined): Promise<void> {
  const connection = redis?.client(TARGET_DB);
  await connection?.call("FLUSHDB", "SYNC");
  connection?.disconnect();
}

async function load(client: readonly string[], url: string, json: string): Promise<void> {
  const [program, ...args] = client;
  console.error(`Building once: ${url.startsWith("sqlite3") ? "the SQLite volume" : "the Redis volume"}`);
  await mustRun(program!, [...args, "load", url, json], { timeoutMs: BUILD_TIMEOUT_MS });
}

/** The reference leaves the end of what it wrote in the write-ahead log: bring it into the file before that is renamed. */
function checkpoint(file: string): void {
  const database = new Database(file);
  database.pragma("wal_checkpoint(TRUNCATE)");
  database.close();
}

/** A file that is there is complete. */
async function buildOnce(file: string, build: (partial: string) => Promise<void>): Promise<void> {
  if (existsSync(file)) return;
  const partial = `${file}.partial`;
  for (const suffix of ["", "-wal", "-shm"]) rmSync(partial + suffix, { force: true });
  await build(partial);
  renameSync(partial, file);
}
