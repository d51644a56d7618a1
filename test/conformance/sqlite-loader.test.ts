import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { packBatch } from "../../src/volume/records.ts";
import { decodeSlices, encodeSlices } from "../../src/volume/slices.ts";
import { ENGINE_KINDS } from "../support/collect-records.ts";
import { fixture, REPOSITORY } from "../support/repository.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query, readCatalog, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const signal = new AbortController().signal;
const context = { logger: silentLogger, signal, env: {} };
const SETTING = Buffer.from('{\n"Name": "loaded",\n"UUID": "0"\n}');
const directory = encodeAttribute(newDirectoryAttribute(0o777, 1700000000n));

async function openLoader(url: string, sliceRefs: "complete" | "exceptions" = "complete"): Promise<Loader> {
  return (await openStore(url, { ...context, create: true })).openLoader({ ...context, sliceRefs });
}

/** Copies a volume through records. */
async function copyVolume(source: string, target: string): Promise<void> {
  const snapshot = await (await openStore(source, context)).openSnapshot(context);
  const loader = await openLoader(target, "exceptions");
  for await (const batch of snapshot.records({ kinds: ENGINE_KINDS })) await loader.write(batch);
  await loader.finish(snapshot.setting);
  await snapshot.close();
}

function newTarget(): { path: string; url: string } {
  const path = join(temporaryDirectory(), "new.db");
  return { path, url: `sqlite3://${path}` };
}

/** Tables that records do not carry (docs/spec/binary-dump.md §4). */
const NOT_CARRIED = ["delslices", "session2", "flock", "plock", "detached_node", "delegation_token", "change_log"];

/**
 * References that records do not carry: of slices that only delslices holds, with count 1, and of slice 0, which the
 * reference's loads count by mistake (docs/spec/sql.md §12.1).
 */
function dropUncarriedReferences(path: string): void {
  const db = new Database(path);
  const used = new Set<bigint>();
  const chunks = db.prepare("SELECT CAST(slices AS BLOB) FROM jfs_chunk").pluck().all() as Buffer[];
  for (const slices of chunks) for (const slice of decodeSlices(slices)) used.add(slice.id);
  const once = db.prepare("SELECT chunkid FROM jfs_chunk_ref WHERE refs = 1").pluck().safeIntegers().all() as bigint[];
  const drop = db.prepare("DELETE FROM jfs_chunk_ref WHERE chunkid = ?");
  for (const id of [...once.filter((id) => !used.has(id)), 0n]) drop.run(id);
  db.close();
}

describe("a loaded volume", () => {
  test.each([
    "golden/native/natsqlite.sqlite.db",
    "golden/engines/golden-json.sqlite.db",
    "golden/engines/golden-bin.sqlite.db",
    "golden/changelog/chlogsqlite.sqlite.db",
  ])("has the rows of its source %s", async (name) => {
    const source = copySqliteFixture(name);
    const target = newTarget();
    dropUncarriedReferences(source.path);
    await copyVolume(source.url, target.url);
    const rows = readTables(target.path);
    for (const [table, expected] of readTables(source.path)) {
      const carried = !NOT_CARRIED.includes(table.slice("jfs_".length));
      expect([table, rows.get(table)?.map(withoutSlices)]).toEqual([table, carried ? expected.map(withoutSlices) : []]);
    }
  });

  /** Appended slices are of class TEXT in a source, so that they print differently (docs/spec/sql.md §4.3); see below. */
  function withoutSlices(row: string): string {
    return row.replace(/ slices=.*/s, "");
  }

  test("has the bytes of appended slices", async () => {
    const source = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    const target = newTarget();
    await copyVolume(source.url, target.url);
    const slices =
      "SELECT inode || ' ' || indx || ' ' || hex(CAST(slices AS BLOB)) FROM jfs_chunk ORDER BY inode, indx";
    expect(query(target.path, slices)).toEqual(query(source.path, slices));
    expect(query(target.path, "SELECT DISTINCT typeof(slices) FROM jfs_chunk")).toEqual(["blob"]);
    expect(query(target.path, "SELECT DISTINCT typeof(name) FROM jfs_edge")).toEqual(["blob"]);
    expect(query(target.path, "SELECT DISTINCT typeof(name) FROM jfs_xattr")).toEqual(["text"]);
    expect(query(target.path, "SELECT DISTINCT typeof(value) FROM jfs_setting")).toEqual(["text"]);
  });

  test("of 1.3 has the catalog and the defaults of today", async () => {
    const source = copySqliteFixture("legacy/legacy-1-3-0.sqlite.db");
    const target = newTarget();
    await copyVolume(source.url, target.url);
    expect(query(target.path, "SELECT DISTINCT tier_id FROM jfs_node")).toEqual(["0"]);
    expect(query(target.path, "SELECT count(*) FROM jfs_node")).toEqual(["286"]);
  });

  test("has the catalog of the reference, is in WAL mode, sound and alone in its directory", async () => {
    const source = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    const target = newTarget();
    await copyVolume(source.url, target.url);
    // The fixture was vacuumed, which puts the indexes last.
    expect(readCatalog(target.path).toSorted()).toEqual(readCatalog(source.path).toSorted());
    expect(query(target.path, "SELECT name FROM sqlite_master").slice(4, 9)).toEqual([
      "jfs_edge",
      "sqlite_sequence",
      "UQE_jfs_edge_edge",
      "IDX_jfs_edge_inode",
      "jfs_node",
    ]);
    expect(query(target.path, "PRAGMA integrity_check")).toEqual(["ok"]);
    expect(query(target.path, "PRAGMA journal_mode")).toEqual(["wal"]);
    expect(query(target.path, "PRAGMA page_size")).toEqual(["4096"]);
    for (const table of ["edge", "chunk", "xattr", "acl", "sustained"]) {
      const sequence = `SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'jfs_${table}') = (SELECT max(id) FROM jfs_${table})`;
      expect([table, query(target.path, sequence)]).toEqual([table, ["1"]]);
    }
    expect(readdirSync(dirname(target.path)).filter((name) => !/^new\.db(-wal|-shm)?$/.test(name))).toEqual([]);
  });

  test("may have a table prefix and another journal mode", async () => {
    const target = newTarget();
    const loader = await openLoader(`${target.url}?table_prefix=x'y&_journal_mode=DELETE`);
    await loader.write(packBatch("node", [{ inode: 1n, attribute: directory }]));
    await loader.finish(SETTING);
    expect(readTables(target.path).get("jfs_x'y_node")?.length).toBe(1);
    expect(query(target.path, "PRAGMA journal_mode")).toEqual(["delete"]);
  });
});

describe("slice references", () => {
  const slice = (id: bigint, size: number) => ({ pos: 0, id, size, off: 0, len: size });
  const chunks = packBatch("chunk", [
    { inode: 2n, index: 0, slices: encodeSlices([slice(7n, 100), slice(0n, 0), slice(8n, 50)]) },
    { inode: 3n, index: 1, slices: encodeSlices([slice(7n, 100), slice(2n ** 63n + 1n, 5), slice(0n, 0)]) },
  ]);
  const counts = packBatch("sliceRef", [
    { id: 0n, size: 0, refs: 9n },
    { id: 7n, size: 100, refs: 2n },
    { id: 9n, size: 1, refs: 0n },
  ]);
  const ALL = "SELECT chunkid || ' ' || size || ' ' || refs FROM jfs_chunk_ref ORDER BY chunkid";

  test.each([
    ["before", [counts, chunks]],
    ["after", [chunks, counts]],
  ])("are derived from chunks where only exceptions come, %s them", async (_, batches) => {
    const target = newTarget();
    const loader = await openLoader(target.url, "exceptions");
    for (const batch of batches) await loader.write(batch);
    await loader.finish(SETTING);
    expect(query(target.path, ALL)).toEqual(["-9223372036854775807 5 1", "7 100 2", "8 50 1", "9 1 0"]);
  });

  test("are stored as they come where all of them come", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url, "complete");
    await loader.write(chunks);
    await loader.write(counts);
    await loader.finish(SETTING);
    expect(query(target.path, ALL)).toEqual(["7 100 2", "9 1 0"]);
  });
});

describe("special values", () => {
  test("empty values, bytes that are no UTF-8 and negative patterns are stored as they are", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    const name = Buffer.from([0x75, 0xff, 0, 0xfe]);
    await loader.write(packBatch("xattr", [{ inode: 2n, name, value: Buffer.alloc(0) }]));
    await loader.write(packBatch("edge", [{ parent: 2n ** 64n - 2n, inode: 9223372032828243969n, type: 200, name }]));
    await loader.write(packBatch("symlink", [{ inode: 4n, target: Buffer.alloc(0) }]));
    await loader.write(packBatch("chunk", [{ inode: 4n, index: 2 ** 32 - 1, slices: Buffer.alloc(0) }]));
    await loader.write(packBatch("parent", [{ inode: 4n, parent: 1n, count: 2n }]));
    await loader.finish(SETTING);
    const hex = (column: string) => `typeof(${column}) || ' ' || hex(${column})`;
    expect(query(target.path, `SELECT ${hex("name")} || ' ' || ${hex("value")} FROM jfs_xattr`)).toEqual([
      "text 75FF00FE blob ",
    ]);
    expect(
      query(target.path, `SELECT parent || ' ' || inode || ' ' || type || ' ' || ${hex("name")} FROM jfs_edge`),
    ).toEqual(["-2 9223372032828243969 200 blob 75FF00FE"]);
    expect(query(target.path, `SELECT ${hex("target")} FROM jfs_symlink`)).toEqual(["blob "]);
    expect(query(target.path, `SELECT indx || ' ' || ${hex("slices")} FROM jfs_chunk`)).toEqual(["4294967295 blob "]);
  });

  test("the last version of the change log is where its numbering goes on, and no counter", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    await loader.write(
      packBatch("counter", [
        { name: "nextInode", value: 5n },
        { name: "lastChangelog", value: 77n },
      ]),
    );
    await loader.finish(SETTING);
    expect(query(target.path, "SELECT name || ' ' || value FROM jfs_counter")).toEqual(["nextInode 5"]);
    const db = new Database(target.path);
    expect(db.prepare("INSERT INTO jfs_change_log (entry) VALUES ('x')").run().lastInsertRowid).toBe(78);
    db.close();
  });
});

describe("repairs", () => {
  test("read and overwrite nodes that were written", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    const other = encodeAttribute(newDirectoryAttribute(0o700, 5n));
    await loader.write(packBatch("node", [{ inode: 1n, attribute: directory }]));
    expect(await loader.readNodes([1n, 2n])).toEqual([directory, undefined]);
    await loader.replaceNodes(packBatch("node", [{ inode: 1n, attribute: other }]));
    expect(await loader.readNodes([1n])).toEqual([other]);
    await loader.finish(SETTING);
    expect(query(target.path, "SELECT mode FROM jfs_node")).toEqual(["448"]);
  });
});

describe("rows with the same key", () => {
  const leftovers = (target: { path: string }): string[] => readdirSync(dirname(target.path));

  test("are an error that names the entry, and nothing is left", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    const edge = { parent: 1n, inode: 2n, type: 1, name: Buffer.from("twice") };
    await loader.write(packBatch("edge", [edge, { ...edge, inode: 3n }]));
    await expect(loader.finish(SETTING)).rejects.toMatchObject({
      name: "DataError",
      message: "Cannot store two rows of jfs_edge with parent 1, name X'7477696365'",
    });
    await loader.abort();
    expect(leftovers(target)).toEqual([]);
  });

  test("are an error that names the inode", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    const inodes = Array.from({ length: 120 }, (_, i) => BigInt(i + 1));
    await expect(
      (async () => {
        await loader.write(
          packBatch(
            "node",
            [...inodes, 33n, ...inodes.map((i) => i + 500n)].map((inode) => ({ inode, attribute: directory })),
          ),
        );
        await loader.finish(SETTING);
      })(),
    ).rejects.toMatchObject({ name: "DataError", message: "Cannot store two rows of jfs_node with the same key 33" });
    await expect(loader.write(packBatch("node", []))).rejects.toMatchObject({ name: "InternalError" });
    await loader.abort();
    expect(leftovers(target)).toEqual([]);
  });
});

describe("rows with the same key of several columns", () => {
  const quota = (key: bigint) => ({ key, maxSpace: 1n, maxInodes: 1n, usedSpace: 0n, usedInodes: 0n });
  const keys = Array.from({ length: 100 }, (_, i) => BigInt(i));

  test.each([
    ["jfs_user_group_quota with the same key 2, 33", packBatch("groupQuota", [...keys, 33n].map(quota))],
    [
      "jfs_counter with the same key c33",
      packBatch(
        "counter",
        [...keys, 33n].map((key) => ({ name: `c${key}`, value: key })),
      ),
    ],
  ])("are an error: %s", async (text, batch) => {
    const loader = await openLoader(newTarget().url);
    await expect(loader.write(batch)).rejects.toMatchObject({ message: `Cannot store two rows of ${text}` });
    await loader.abort();
  });
});

describe("the target", () => {
  const node = packBatch("node", [{ inode: 1n, attribute: directory }]);

  test("does not exist before the load is finished, nor after it was given up", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    await loader.write(node);
    expect(existsSync(target.path)).toBe(false);
    await loader.abort();
    await loader.abort();
    expect(readdirSync(dirname(target.path))).toEqual([]);
  });

  test("may have a file beside it that a killed load left behind, which is said", async () => {
    const target = newTarget();
    const left = `${target.path}.decant-0123456789ab.tmp`;
    writeFileSync(left, "");
    const warnings: string[] = [];
    const logger = { ...silentLogger, warn: (message: string) => warnings.push(message) };
    const store = await openStore(target.url, { ...context, create: true });
    await (await store.openLoader({ ...context, logger, sliceRefs: "complete" })).abort();
    expect(warnings).toEqual([
      `${left} belongs to another load into ${target.path}: if that was killed, remove it or load with --clean`,
    ]);
  });

  test("is freed of what killed loads have left, but not of what a running one writes", async () => {
    const target = newTarget();
    const store = await openStore(target.url, { ...context, create: true });
    expect(await store.removeRemains(signal)).toBe(false);
    writeFileSync(`${target.path}.decant-0123456789ab.tmp`, "cut off");
    writeFileSync(`${target.path}.decant-0123456789ab.tmp-journal`, "");
    writeFileSync(`${target.path}.decant-notes.txt`, "");
    expect(await store.removeRemains(signal)).toBe(true);
    expect(readdirSync(dirname(target.path))).toEqual(["new.db.decant-notes.txt"]);
    const running = await openLoader(target.url);
    await running.write(node);
    await expect(store.removeRemains(signal)).rejects.toMatchObject({ code: "DECANT_E_TARGET_BUSY" });
    await running.finish(SETTING);
    expect((await store.readSetting(signal))?.equals(SETTING)).toBe(true);
  });

  test("that appeared meanwhile is not overwritten", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    await loader.write(node);
    writeFileSync(target.path, "precious");
    symlinkSync("nowhere", `${target.path}.link`);
    const viaLink = await openLoader(`${target.url}.link`);
    await expect(viaLink.finish(SETTING)).rejects.toMatchObject({ name: "ConflictError" });
    await expect(loader.finish(SETTING)).rejects.toMatchObject({ name: "DataError" });
    for (const failed of [viaLink, loader]) await failed.abort();
    expect(readFileSync(target.path, "utf8")).toBe("precious");
    expect(readdirSync(dirname(target.path))).toEqual(["new.db", "new.db.link"]);
  });

  test("that appeared meanwhile does not cost what a load has stored that can be gone on with", async () => {
    const target = newTarget();
    const checkpoint = { batches: 1, digest: "0".repeat(64) };
    const stamp = { host: "here", process: 1, began: "2026-01-02T03:04:05Z", version: "1", source: "d", maxBytes: 1 };
    const begin = async (): Promise<Loader> => {
      const store = await openStore(target.url, { ...context, create: true });
      return store.openLoader({ ...context, sliceRefs: "complete", stamp, resume: true });
    };
    const loader = await begin();
    await loader.write({ ...node, bytes: Buffer.from(node.bytes) });
    await loader.checkpoint({ checkpoint, announced: [] });
    copyFileSync(fixture("golden/native/natsqlite.sqlite.db"), target.path);
    chmodSync(target.path, 0o644);
    await expect(loader.finish(SETTING)).rejects.toMatchObject({ name: "ConflictError" });
    expect(await loader.suspend()).toBe(true);
    for (const name of readdirSync(dirname(target.path))) {
      if (!name.includes(".decant-")) rmSync(join(dirname(target.path), name));
    }
    const second = await begin();
    expect(second.earlier?.checkpoint).toEqual(checkpoint);
    await second.skip(node);
    await second.finish(SETTING);
    expect(readdirSync(dirname(target.path))).toEqual(["new.db"]);
    expect(query(target.path, "SELECT mode FROM jfs_node")).toEqual(["511"]);
  });

  test("that was filled meanwhile is not overwritten", async () => {
    const target = newTarget();
    const loader = await openLoader(target.url);
    copyFileSync(fixture("golden/native/natsqlite.sqlite.db"), target.path);
    chmodSync(target.path, 0o644);
    await expect(loader.finish(SETTING)).rejects.toMatchObject({
      name: "ConflictError",
      message: `${target.path} was filled by another program meanwhile`,
    });
    expect(query(target.path, "SELECT count(*) FROM jfs_node")).toEqual(["286"]);
  });

  test.each([
    ["an empty file", (path: string) => writeFileSync(path, "")],
    ["a database without tables", (path: string) => new Database(path).exec("PRAGMA journal_mode = WAL").close()],
  ])("may be %s, whose permissions stay", async (_, create) => {
    const target = newTarget();
    create(target.path);
    chmodSync(target.path, 0o600);
    const loader = await openLoader(target.url);
    await loader.write(node);
    await loader.finish(SETTING);
    expect(query(target.path, "SELECT value FROM jfs_setting")).toEqual([SETTING.toString()]);
    expect(statSync(target.path).mode & 0o777).toBe(0o600);
  });

  test("that somebody has open is not replaced", async () => {
    const target = newTarget();
    const other = new Database(target.path);
    other.pragma("journal_mode = WAL");
    other.prepare("SELECT count(*) FROM sqlite_master").get();
    const loader = await openLoader(target.url);
    await expect(loader.finish(SETTING)).rejects.toMatchObject({
      name: "ConflictError",
      message: `${target.path} is in use by another program`,
    });
    await loader.abort();
    other.close();
    expect(readdirSync(dirname(target.path))).toEqual(["new.db"]);
  });

  test("must not stand beside the -wal file of a database that was removed", async () => {
    const target = newTarget();
    writeFileSync(`${target.path}-wal`, "left over");
    await expect(openLoader(target.url)).rejects.toMatchObject({
      name: "ConflictError",
      message: `${target.path}-wal exists, but its database does not`,
    });
  });

  test("that is a link is replaced where the link points to", async () => {
    const target = newTarget();
    writeFileSync(target.path, "");
    symlinkSync("new.db", `${target.path}.link`);
    const loader = await openLoader(`${target.url}.link`);
    await loader.finish(SETTING);
    expect(query(target.path, "SELECT count(*) FROM jfs_setting")).toEqual(["1"]);
  });

  test("needs a directory", async () => {
    const path = join(temporaryDirectory(), "missing", "new.db");
    await expect(openLoader(`sqlite3://${path}`)).rejects.toMatchObject({
      name: "EngineError",
      message: `Cannot create ${path}: directory ${dirname(path)} does not exist`,
    });
  });

  test("with tables of anybody is refused with the reference's sentence", async () => {
    const target = newTarget();
    new Database(target.path).exec("CREATE TABLE foo (a)").close();
    const store = await openStore(`${target.url}?table_prefix=A`, context);
    const message = `database ${target.url}?_journal=WAL&_timeout=5000&cache=shared is not empty`;
    expect(await store.inspectTarget(signal)).toEqual({ state: "occupied", message });
    await expect(openLoader(target.url)).rejects.toMatchObject({ name: "ConflictError", message });
  });

  test("that holds a volume is refused", async () => {
    const { url } = copySqliteFixture("golden/native/natsqlite.sqlite.db");
    expect(await (await openStore(url, context)).inspectTarget(signal)).toMatchObject({ state: "volume" });
    await expect(openLoader(url)).rejects.toMatchObject({ name: "ConflictError" });
  });

  test("is not there after a disk that refused to take more", () => {
    const target = newTarget();
    const script = `
      import { silentLogger } from ${source("src/base/logger.ts")};
      import { sqliteEngine } from ${source("src/engines/sqlite/sqlite-engine.ts")};
      import { packBatch } from ${source("src/volume/records.ts")};
      const context = { logger: silentLogger, signal: new AbortController().signal, env: {} };
      const store = await sqliteEngine.open("sqlite3://" + process.argv[1], { ...context, create: true });
      const loader = await store.openLoader({ ...context, sliceRefs: "complete" });
      const target = Buffer.alloc(4000, "x");
      const links = Array.from({ length: 1000 }, (_, i) => ({ inode: BigInt(i), target }));
      try {
        await loader.write(packBatch("symlink", links));
        await loader.finish(Buffer.from("{}"));
      } catch (error) {
        await loader.abort();
        console.log(error.name + ": " + error.message);
      }`;
    // A limit on the size of files stands for a full disk; without the trap it would end the process.
    const limited = "ulimit -f 2000; trap '' XFSZ; exec \"$@\"";
    const command = ["-c", limited, "sh", process.execPath, "--input-type=module", "-e", script, target.path];
    const output = execFileSync("sh", command, { encoding: "utf8" });
    expect(output).toMatch(`EngineError: Cannot write ${target.path}: reading or writing it failed (disk I/O error)`);
    expect(readdirSync(dirname(target.path))).toEqual([]);
  });

  function source(file: string): string {
    return JSON.stringify(join(REPOSITORY, file));
  }
});
