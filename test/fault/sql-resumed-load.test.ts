import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { packBatch, type RecordBatch } from "../../src/volume/records.ts";
import { databaseOf } from "../support/database-of.ts";
import { runDecant } from "../support/decant.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog, readMysqlTables } from "../support/mysql-tables.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog, readPostgresTables } from "../support/postgres-tables.ts";
import { realClient } from "../support/real-client.ts";
import { runCommand } from "../support/run-command.ts";
import { type RunningDecant, startDecant } from "../support/running-decant.ts";
import { readCatalog, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

interface Target {
  /** The address of an empty database. */
  fresh(): Promise<string>;
  /** All rows and definitions, and for a file what is beside it. */
  contents(url: string): Promise<unknown>;
  /** Whether indexes that a load adds at its end are there, as others see it; undefined where they come with the setting. */
  hasIndexes?(url: string): Promise<boolean>;
  /** Ends the server as a crash does, and starts it again with its data. */
  restart?(): Promise<void>;
  /** Leaves what a load that is killed in its first moments does. */
  begin?(url: string): Promise<void>;
  /** Lets the server refuse every new row of the setting table, or no more. */
  refuseSetting?(url: string, refuse: boolean): Promise<void>;
  stop(): Promise<void>;
}

const directory = temporaryDirectory();
const dumpFile = join(directory, "dump.json");
const binaryFile = join(directory, "dump.bin");
const otherFile = join(directory, "other.json");
const OPTIONS = ["--checkpoint-every", "100K"];
const never = new AbortController().signal;
const client = await realClient();

beforeAll(async () => {
  const text = await wideVolumeText(20_000);
  writeFileSync(dumpFile, text);
  writeFileSync(otherFile, text.toString("latin1").replace('"mode":420', '"mode":421'), "latin1");
  const converted = await runDecant(["convert", dumpFile, binaryFile]);
  expect([converted.code, converted.err]).toEqual([0, expect.anything()]);
});
afterAll(() => rmSync(directory, { recursive: true }));

function clientAddress(url: string): string {
  return url.startsWith("mysql") ? url.replace(/@([^/(]+)\//, "@($1)/") : `${url}?sslmode=disable`;
}

/** Batches up to the last checkpoint; 0 where none can be seen, as in a file that its load holds locked. */
async function checkpoint(url: string): Promise<number> {
  const store = await openStore(url, { logger: silentLogger, signal: never, env: {}, create: true });
  try {
    const state = await store.inspectTarget(never);
    return state.state === "interrupted" ? (state.progress.checkpoint?.batches ?? 0) : 0;
  } finally {
    await store.close();
  }
}

function begin(url: string, file: string): RunningDecant & { readonly hasEnded: () => boolean } {
  const load = startDecant(["load", url, file, ...OPTIONS, "--resume", "--verbose"]);
  load.input.end();
  let hasEnded = false;
  void load.ended.then(() => {
    hasEnded = true;
  });
  return { ...load, hasEnded: () => hasEnded };
}

/** Kills a load as soon as `isThere`; true when it was still running. */
async function killWhen(url: string, file: string, isThere: () => Promise<boolean>): Promise<boolean> {
  const load = begin(url, file);
  while (!load.hasEnded() && !(await isThere())) await sleep(2);
  load.kill("SIGKILL");
  return (await load.ended).signalName === "SIGKILL";
}

async function resume(url: string, file: string): Promise<void> {
  const { code, err } = await runDecant(["load", url, file, ...OPTIONS, "--resume"]);
  // what was killed too late has ended well
  if (code !== 5 || !err.includes("is used by volume")) expect([code, err]).toEqual([0, expect.anything()]);
}

function cases(target: () => Target): void {
  const undisturbed = async (file: string): Promise<unknown> => {
    const url = await target().fresh();
    const { code, err } = await runDecant(["load", url, file, "--checkpoint-every", "0"]);
    expect([code, err]).toEqual([0, expect.anything()]);
    return target().contents(url);
  };

  for (const [form, file] of [
    ["a JSON dump", dumpFile],
    ["a binary dump", binaryFile],
  ] as const) {
    test(`of ${form} ends as one that was not disturbed, wherever and how often it was killed`, async () => {
      const expected = await undisturbed(file);
      for (const steps of [[1], [4, 4], [9, 2, 2]]) {
        const url = await target().fresh();
        for (const step of steps) {
          seen.clear();
          const before = await checkpoint(url);
          if (!(await killWhen(url, file, async () => (await progressOf(url)) >= before + step))) break;
        }
        await resume(url, file);
        expect(await target().contents(url)).toEqual(expected);
      }
    });
  }

  test("is no volume to the real client, refuses another dump, and is removed by --clean", async () => {
    const url = await target().fresh();
    await killWhen(url, dumpFile, async () => (await progressOf(url)) > 3);
    const batches = await checkpoint(url);
    expect(batches).toBeGreaterThan(0);
    const other = await runDecant(["load", url, otherFile, ...OPTIONS, "--resume"]);
    expect([other.code, other.err]).toEqual([5, expect.stringContaining("and these differ")]);
    expect(await checkpoint(url)).toBe(batches);
    const cut = await runDecant(["status", url]);
    expect([cut.code, cut.err]).toEqual([4, expect.stringContaining("with --resume goes on")]);
    const plain = await runDecant(["load", url, dumpFile]);
    expect([plain.code, plain.err]).toEqual([5, expect.stringContaining("with --resume goes on")]);
    if (client !== undefined && !url.startsWith("sqlite")) {
      const status = await runCommand(client, ["status", clientAddress(url)]);
      expect([status.code, status.err]).toEqual([1, expect.stringContaining("database is not formatted")]);
    }
    const dump = await runDecant(["dump", url, join(directory, "none.json")]);
    if (!url.startsWith("sqlite")) {
      expect([dump.code, dump.err]).toEqual([4, expect.stringContaining("with --resume goes on")]);
    }
    const removed = await runDecant(["load", url, dumpFile, "--clean", "--checkpoint-every", "0"]);
    expect([removed.code, removed.err]).toEqual([0, expect.stringContaining("Removed from")]);
    expect(await target().contents(url)).toEqual(await undisturbed(dumpFile));
  });

  /** What is seen from outside while a load runs. */
  async function progressOf(url: string): Promise<number> {
    const stored = await checkpoint(url);
    if (stored > 0 || !url.startsWith("sqlite")) return stored;
    // The file is locked: its journal is there from the first checkpoint on, and the file grows.
    const path = url.slice("sqlite3://".length);
    const names = readdirSync(join(path, ".."));
    seen.set(url, (seen.get(url) ?? 0) + (names.some((name) => name.endsWith("-journal")) ? 1 : 0));
    return seen.get(url)!;
  }
  const seen = new Map<string, number>();
}

describe("a load into SQLite that goes on", () => {
  cases(() => ({
    fresh: async () => `sqlite3://${join(temporaryDirectory(), "volume.db")}`,
    contents: async (url) => {
      const path = url.slice("sqlite3://".length);
      // These two stay when decant is killed while it looks at a volume that is complete already, as with any client.
      const files = readdirSync(join(path, "..")).filter((name) => !/-(wal|shm)$/.test(name));
      return existsSync(path) ? { files, catalog: readCatalog(path), tables: readTables(path, "") } : { files };
    },
    stop: async () => undefined,
  }));
});

const hasPostgres = await requirePostgresServer();
describe.skipIf(!hasPostgres)("a load into PostgreSQL that goes on", () => {
  let target: Target;
  beforeAll(async () => {
    const server = await startPostgres();
    target = {
      fresh: async () => server.url(await server.createDatabase()),
      contents: async (url) => ({
        catalog: await readPostgresCatalog(url),
        tables: await readPostgresTables(url, ""),
      }),
      restart: async () => {
        await server.crash();
        await server.restart();
      },
      refuseSetting: async (url, refuse) => {
        const body = "BEGIN RAISE EXCEPTION 'not now'; END";
        const trigger = refuse
          ? `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ ${body} $$;
             CREATE TRIGGER refuse BEFORE INSERT ON jfs_setting FOR EACH ROW EXECUTE FUNCTION refuse()`
          : "DROP FUNCTION refuse() CASCADE";
        await server.psql(databaseOf(url), trigger);
      },
      stop: () => server.stop(),
    };
  });
  afterAll(() => target.stop());
  cases(() => target);
  serverCases(() => target);
});

const hasMysql = await requireMysqlProgram();
describe.skipIf(!hasMysql)("a load into MySQL that goes on", () => {
  let target: Target;
  beforeAll(async () => {
    const server = await startMysql();
    target = {
      fresh: async () => server.url(await server.createDatabase()),
      contents: async (url) => ({
        catalog: await readMysqlCatalog(server, databaseOf(url)),
        tables: await readMysqlTables(server, databaseOf(url)),
      }),
      hasIndexes: async (url) => {
        const query = "SELECT count(*) FROM information_schema.statistics WHERE index_name LIKE '%jfs_chunk%'";
        const [row] = await server.query(`${query} AND table_schema = '${databaseOf(url)}'`);
        return Number(row![0]) > 0;
      },
      refuseSetting: async (url, refuse) => {
        const table = `${databaseOf(url)}.jfs_setting`;
        const body = "FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not now'";
        await server.query(
          refuse
            ? `CREATE TRIGGER ${databaseOf(url)}.refuse BEFORE INSERT ON ${table} ${body}`
            : `DROP TRIGGER ${databaseOf(url)}.refuse`,
        );
      },
      restart: async () => {
        await server.crash();
        await server.restart();
      },
      begin: async (url) => {
        const table = `${databaseOf(url)}.jfs_setting`;
        await server.query(`CREATE TABLE ${table} (name varchar(255) PRIMARY KEY, value varchar(4096) NOT NULL)`);
      },
      stop: () => server.stop(),
    };
  });
  afterAll(() => target.stop());
  cases(() => target);
  serverCases(() => target);

  test("begins again where it was killed when it had only made its first table", async () => {
    const whole = await target.fresh();
    expect((await runDecant(["load", whole, dumpFile, "--checkpoint-every", "0"])).code).toBe(0);
    const url = await target.fresh();
    await target.begin!(url);
    const plain = await runDecant(["load", url, dumpFile]);
    expect([plain.code, plain.err]).toEqual([5, expect.stringContaining("load again with --clean")]);
    await resume(url, dumpFile);
    expect(await target.contents(url)).toEqual(await target.contents(whole));
  });

  test("ends as one that was not disturbed when it was killed between its indexes", async () => {
    const whole = await target.fresh();
    expect((await runDecant(["load", whole, dumpFile, "--checkpoint-every", "0"])).code).toBe(0);
    const url = await target.fresh();
    await killWhen(url, dumpFile, () => target.hasIndexes!(url));
    await resume(url, dumpFile);
    expect(await target.contents(url)).toEqual(await target.contents(whole));
  });
});

function serverCases(target: () => Target): void {
  test("goes on when the server has crashed and is back", async () => {
    const whole = await target().fresh();
    expect((await runDecant(["load", whole, dumpFile, "--checkpoint-every", "0"])).code).toBe(0);
    const expected = await target().contents(whole);
    const url = await target().fresh();
    const load = begin(url, dumpFile);
    while (!load.hasEnded() && (await checkpoint(url)) < 5) await sleep(2);
    await target().restart!();
    await load.ended;
    await resume(url, dumpFile);
    expect(await target().contents(url)).toEqual(expected);
  });

  test("goes on when the very last statement was refused", async () => {
    const whole = await target().fresh();
    const url = await target().fresh();
    const node = packBatch("node", [{ inode: 1n, attribute: encodeAttribute(newDirectoryAttribute(0o777, 1n)) }]);
    const copy = (): RecordBatch => ({ ...node, bytes: Buffer.from(node.bytes) });
    const checkpoint = { batches: 1, digest: "0".repeat(64) };
    const stamp = { host: "here", process: 1, began: "2026-01-02T03:04:05Z", version: "1", source: "d", maxBytes: 1 };
    const options = { signal: never, logger: silentLogger, sliceRefs: "complete", stamp, resume: true } as const;
    const begin = async (address: string): Promise<Loader> =>
      (await openStore(address, { logger: silentLogger, signal: never, env: {} })).openLoader(options);
    const undisturbed = await begin(whole);
    await undisturbed.write(copy());
    await undisturbed.finish(Buffer.from("{}"));
    const first = await begin(url);
    await first.write(copy());
    await first.checkpoint({ checkpoint, announced: [] });
    await target().refuseSetting!(url, true);
    await expect(first.finish(Buffer.from("{}"))).rejects.toThrow("not now");
    expect(await first.suspend()).toBe(true);
    await target().refuseSetting!(url, false);
    const second = await begin(url);
    expect(second.earlier?.checkpoint).toEqual(checkpoint);
    await second.skip(copy());
    await second.finish(Buffer.from("{}"));
    expect(await target().contents(url)).toEqual(await target().contents(whole));
  });

  test.skipIf(client === undefined)("leaves a volume alone that a client has formatted there meanwhile", async () => {
    const url = await target().fresh();
    const store = await openStore(url, { logger: silentLogger, signal: never, env: {} });
    const stamp = { host: "here", process: 1, began: "2026-01-02T03:04:05Z", version: "1", source: "d", maxBytes: 1 };
    const options = { signal: never, logger: silentLogger, sliceRefs: "complete", stamp } as const;
    const loader = await store.openLoader(options);
    await loader.checkpoint({ checkpoint: { batches: 1, digest: "0".repeat(64) }, announced: [] });
    const bucket = temporaryDirectory();
    const args = ["--storage", "file", "--bucket", bucket, clientAddress(url), "formatted"];
    const formatted = await runCommand(client!, ["format", ...args]);
    expect([formatted.code, formatted.err]).toEqual([0, expect.anything()]);
    const setting = await store.readSetting(never);
    expect(setting?.toString()).toContain("formatted");
    await expect(store.openLoader({ ...options, resume: true })).rejects.toThrow("volume");
    await expect(store.removeRemains(never)).rejects.toThrow("There is a volume");
    await expect(loader.finish(Buffer.from("{}"))).rejects.toThrow();
    await loader.abort();
    expect(await store.readSetting(never)).toEqual(setting);
  });

  test("keeps what it has when a signal stops it, and says how to go on", async () => {
    const url = await target().fresh();
    const load = begin(url, dumpFile);
    while (!load.hasEnded() && (await checkpoint(url)) < 5) await sleep(2);
    load.kill("SIGTERM");
    const { code, err } = await load.ended;
    if (code !== 0) expect(err).toContain("was kept, and is no volume: the same command goes on with it");
    await resume(url, dumpFile);
  });
}
