import pg from "pg";
import { describe, expect, test } from "vitest";
import { ConflictError, DataError, EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { packBatch, type RecordBatch } from "../../src/volume/records.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { readPostgresCatalog, readPostgresTables } from "../support/postgres-tables.ts";
import { NEW_VOLUME, never } from "./engine-harness.ts";
import { attribute, SAMPLE_SETTING, sampleRecords, toBatches } from "./engine-records.ts";

const server = (await requirePostgresServer()) ? await startPostgres() : undefined;
const LIMITS = { maxNumber: 2147483647, maxSlices: 100, byteNames: false };

const open = (url: string): Promise<MetadataStore> =>
  openStore(url, { logger: silentLogger, signal: never, env: {}, create: true });

async function newTarget(): Promise<{ database: string; url: string }> {
  const database = await server!.createDatabase();
  return { database, url: server!.url(database) };
}

async function openLoader(url: string, sliceRefs: "complete" | "exceptions" = "complete"): Promise<Loader> {
  return (await open(url)).openLoader({ signal: never, logger: silentLogger, sliceRefs });
}

async function load(url: string, batches: Iterable<RecordBatch>, sliceRefs?: "exceptions"): Promise<void> {
  const loader = await openLoader(url, sliceRefs);
  try {
    for (const batch of batches) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
  } catch (error) {
    await loader.abort();
    throw error;
  }
}

async function isEmpty(url: string): Promise<void> {
  expect(await readPostgresCatalog(url)).toEqual([]);
}

const root = packBatch("node", [{ inode: 1n, attribute: NEW_VOLUME.root }]);

describe.skipIf(server === undefined)("loading into PostgreSQL", () => {
  test("lets every sequence go on behind what was loaded", async () => {
    const { database, url } = await newTarget();
    const counter = packBatch("counter", [{ name: "lastChangelog", value: 41n }]);
    await load(url, [...toBatches(sampleRecords(LIMITS)), counter]);
    const next = (table: string) =>
      `SELECT nextval(pg_get_serial_sequence('jfs_${table}', 'id')), max(id) FROM jfs_${table}`;
    for (const table of ["edge", "xattr", "chunk", "sustained", "acl", "change_log"]) {
      const [value, highest] = (await server!.psql(database, next(table))).trim().split("|").map(Number);
      expect([table, value]).toEqual([table, table === "change_log" ? 42 : highest! + 1]);
    }
    for (const table of ["flock", "plock", "delegation_token"]) {
      expect((await server!.psql(database, next(table))).trim()).toBe("1|");
    }
    const counters = "SELECT count(*) FROM jfs_counter WHERE name = 'lastChangelog'";
    expect((await server!.psql(database, counters)).trim()).toBe("0");
  });

  test("gives a volume the schema that format gives it", async () => {
    const [loaded, formatted] = [await newTarget(), await newTarget()];
    await load(loaded.url, [root]);
    await (await open(formatted.url)).createVolume(NEW_VOLUME, never);
    expect(await server!.dumpSchema(loaded.database)).toBe(await server!.dumpSchema(formatted.database));
  });

  test("counts the slices of chunks, but for those whose count was given", async () => {
    const { url } = await newTarget();
    const slice = (id: bigint) => ({ pos: 0, id, size: 7, off: 0, len: 7 });
    const chunk = packBatch("chunk", [
      { inode: 2n, index: 0, slices: encodeSlices([slice(5n), slice(0n), slice(6n)]) },
      { inode: 3n, index: 0, slices: encodeSlices([slice(6n), slice(6n)]) },
    ]);
    const given = packBatch("sliceRef", [
      { id: 6n, size: 7, refs: 3n },
      { id: 9n, size: 1, refs: 0n },
      { id: 0n, size: 0, refs: 8n },
    ]);
    for (const batches of [
      [root, chunk, given],
      [root, given, chunk],
    ]) {
      const target = await newTarget();
      await load(target.url, batches, "exceptions");
      expect((await readPostgresTables(target.url)).get("jfs_chunk_ref")).toEqual([
        "chunkid=5 size=7 refs=1",
        "chunkid=6 size=7 refs=3",
        "chunkid=9 size=1 refs=0",
      ]);
    }
    await isEmpty(url);
  });

  const unsupported: readonly (readonly [what: string, batch: RecordBatch, message: string])[] = [
    ...(["uid", "gid", "rdev", "nlink"] as const).map((name): [string, RecordBatch, string] => [
      name,
      packBatch("node", [{ inode: 7n, attribute: attribute(FileType.chardev, 1n, { [name]: 2147483648 }) }]),
      `PostgreSQL cannot hold ${name} 2147483648 of inode 7: the largest number is 2147483647`,
    ]),
    [
      "the number of a chunk",
      packBatch("chunk", [{ inode: 7n, index: 2147483648, slices: Buffer.alloc(0) }]),
      "PostgreSQL cannot hold chunk 2147483648 of inode 7",
    ],
    [
      "the size of a slice",
      packBatch("sliceRef", [{ id: 7n, size: 2147483648, refs: 1n }]),
      "PostgreSQL cannot hold the size 2147483648 of slice 7",
    ],
    [
      "references to a slice",
      packBatch("sliceRef", [{ id: 7n, size: 1, refs: 1n << 31n }]),
      "PostgreSQL cannot hold the number of references 2147483648 of slice 7",
    ],
    [
      "the number of an ACL rule",
      packBatch("acl", [{ id: 2147483648, rule: Buffer.from("00060004ffff00000000000000000000", "hex") }]),
      "PostgreSQL cannot hold the number 2147483648 of an ACL rule",
    ],
    ...(
      [
        [Buffer.from([0x75, 0xff]), "x'75ff' of an extended attribute of inode 7: it is not UTF-8"],
        [Buffer.from("a\0b"), "it contains a NUL"],
        [Buffer.from("ü".repeat(256)), "it has more than 255 characters"],
      ] as const
    ).map(([name, message]): [string, RecordBatch, string] => [
      "the name of an extended attribute",
      packBatch("xattr", [{ inode: 7n, name, value: Buffer.alloc(0) }]),
      message,
    ]),
  ];
  test.each(unsupported)("refuses %s that it has no room for, and leaves nothing behind", async (_, batch, message) => {
    const { url } = await newTarget();
    const attempt = load(url, [root, batch]);
    await expect(attempt).rejects.toThrow(DataError);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toMatchObject({ code: "DECANT_E_UNSUPPORTED_VALUE" });
    await isEmpty(url);
  });

  test("takes what is just within its limits", async () => {
    const { url } = await newTarget();
    const name = Buffer.from("ü".repeat(255));
    await load(url, [
      packBatch("node", [{ inode: 7n, attribute: attribute(FileType.regular, 1n, { uid: 2147483647, atime: -1n }) }]),
      packBatch("xattr", [{ inode: 7n, name, value: Buffer.alloc(300_000, 1) }]),
    ]);
    const tables = await readPostgresTables(url);
    expect(tables.get("jfs_node")).toEqual([expect.stringContaining(" uid=2147483647 ")]);
    expect(tables.get("jfs_xattr")).toEqual([expect.stringContaining(`name='${name}'`)]);
  });

  test.each([
    ["node", packBatch("node", [{ inode: 1n, attribute: NEW_VOLUME.root }]), "Key (inode)=(1)"],
    [
      "edge",
      packBatch(
        "edge",
        [2n, 3n].map((inode) => ({ parent: 1n, inode, type: 1, name: Buffer.from("twice") })),
      ),
      "Key (parent, name)=(1, \\x7477696365)",
    ],
  ])("names the row of %s that came twice", async (_, batch, key) => {
    const { url } = await newTarget();
    const attempt = load(url, [root, batch]);
    await expect(attempt).rejects.toMatchObject({ code: "DECANT_E_DUPLICATE", message: expect.stringContaining(key) });
    await isEmpty(url);
  });

  test("fails with the reason when the server ends the connection, and the target is empty again", async () => {
    const { database, url } = await newTarget();
    const loader = await openLoader(url);
    await loader.write(root);
    const kill = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '${database}' AND pid <> pg_backend_pid()`;
    await server!.psql("postgres", kill);
    const attempt = loader.finish(SAMPLE_SETTING);
    await expect(attempt).rejects.toThrow(EngineError);
    await expect(attempt).rejects.toThrow("terminating connection due to administrator command");
    await isEmpty(url);
    await load(url, [root]);
    expect(await (await open(url)).readSetting(never)).toEqual(SAMPLE_SETTING);
  });

  test("is refused while tables of somebody else are there, and a view does not count", async () => {
    const { database, url } = await newTarget();
    await server!.psql(
      database,
      "CREATE VIEW something AS SELECT 1; CREATE SCHEMA other; CREATE TABLE other.t (a int)",
    );
    expect(await (await open(url)).inspectTarget(never)).toEqual({ state: "empty" });
    await server!.psql(database, "CREATE TABLE jfs_node (inode bigint)");
    await expect(openLoader(url)).rejects.toThrow(`database ${url} is not empty`);
  });

  test("is refused when another program makes a table of that name meanwhile", async () => {
    const { database, url } = await newTarget();
    const other = new pg.Client({ connectionString: url });
    await other.connect();
    await other.query("BEGIN");
    await other.query("CREATE TABLE jfs_setting (a integer)");
    const attempt = openLoader(url);
    attempt.catch(() => undefined);
    await waitForLock(database);
    await other.query("COMMIT");
    await expect(attempt).rejects.toThrow(ConflictError);
    await other.end();
    expect((await server!.psql(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).trim()).toBe(
      "jfs_setting",
    );
  });
});

/** Until somebody waits for a lock in that database. */
async function waitForLock(database: string): Promise<void> {
  const query = `SELECT count(*) FROM pg_stat_activity WHERE datname = '${database}' AND wait_event_type = 'Lock'`;
  while ((await server!.psql("postgres", query)).trim() === "0");
}
