import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { Snapshot } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { decodeAttribute } from "../../src/volume/attribute.ts";
import type { FlatKind, RecordKind, RecordTypes } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { readReferenceDump, recordTexts } from "../support/reference-binary-dump.ts";
import { fixture, REPOSITORY } from "../support/repository.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const signal = new AbortController().signal;
const context = { logger: silentLogger, signal, env: {} };
const NATIVE = "golden/native/natsqlite.sqlite.db";

async function openSnapshot(url: string): Promise<Snapshot> {
  return (await openStore(url, context)).openSnapshot(context);
}

async function readAll(url: string, kinds: ReadonlySet<RecordKind> = ENGINE_KINDS, root?: bigint) {
  const snapshot = await openSnapshot(url);
  try {
    const records = await collectRecords(snapshot.records(root === undefined ? { kinds } : { kinds, root }));
    return { records, notes: snapshot.notes, consistency: snapshot.consistency, estimates: snapshot.estimates };
  } finally {
    await snapshot.close();
  }
}

function change(path: string, sql: string): void {
  const db = new Database(path);
  db.exec(sql);
  db.close();
}

type Records = Map<FlatKind, RecordTypes[FlatKind][]>;

function list<K extends FlatKind>(records: Records, kind: K): RecordTypes[K][] {
  return (records.get(kind) ?? []) as RecordTypes[K][];
}

describe("the records of a volume are those of the reference's binary dump", () => {
  test.each([
    [NATIVE, "golden/native/natsqlite.keep.bin"],
    ["golden/changelog/chlogsqlite.sqlite.db", "golden/changelog/chlogsqlite.bin"],
    ["legacy/legacy-1-3-0.sqlite.db", "legacy/legacy-1-3-0.keep.bin"],
    ["legacy/legacy-1-3-1.sqlite.db", "legacy/legacy-1-3-1.keep.bin"],
  ])("%s", async (database, dump) => {
    const { records, notes } = await readAll(copySqliteFixture(database).url);
    const truth = readReferenceDump(fixture(dump));
    for (const kind of ENGINE_KINDS as ReadonlySet<FlatKind>) {
      expect([kind, recordTexts(list(records, kind))]).toEqual([kind, recordTexts(truth.get(kind) ?? [])]);
    }
    expect(notes).toEqual([]);
  });

  test("golden-bin, but for a time that the reference spoils and a parent that the tree does not show", async () => {
    const { records } = await readAll(copySqliteFixture("golden/engines/golden-bin.sqlite.db").url);
    const truth = readReferenceDump(fixture("golden/dumps/golden.keep.bin"));
    const differing = [...ENGINE_KINDS].flatMap((kind) => {
      const ours = recordTexts(list(records, kind as FlatKind));
      return recordTexts(truth.get(kind as FlatKind) ?? []).filter((text) => !ours.includes(text));
    });
    expect(differing.map((text) => text.slice(text.indexOf("inode=")))).toEqual([
      "inode=1243",
      "inode=1205 parent=1033",
    ]);
  });
});

describe("a part of a volume", () => {
  const TREE_KINDS = new Set<RecordKind>(["node", "edge", "chunk", "symlink", "xattr", "parent"]);

  /** What belongs to the inodes that are reached from `root` by edges. */
  function partOf(records: Records, root: bigint): Records {
    const inodes = new Set([root]);
    for (let size = 0; size < inodes.size; ) {
      size = inodes.size;
      for (const edge of list(records, "edge")) if (inodes.has(edge.parent)) inodes.add(edge.inode);
    }
    const part: Records = new Map();
    for (const kind of TREE_KINDS as ReadonlySet<FlatKind>) {
      const owned = list(records, kind as "node" | "edge").filter((record) =>
        inodes.has(kind === "edge" ? (record as RecordTypes["edge"]).parent : record.inode),
      );
      part.set(kind, owned);
    }
    return part;
  }

  test.each([1n, 9223372032828243968n, 2n, 12345678n])(
    "below inode %s has its inodes' records, each once",
    async (root) => {
      const { url } = copySqliteFixture(NATIVE);
      const { records: whole } = await readAll(url);
      const { records: part } = await readAll(url, TREE_KINDS, root);
      const expected = partOf(whole, root);
      for (const kind of TREE_KINDS as ReadonlySet<FlatKind>) {
        expect([kind, recordTexts(list(part, kind))]).toEqual([kind, recordTexts(list(expected, kind))]);
      }
    },
  );

  test("may contain a directory larger than one step, whose entries have names of all kinds", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      `WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 50000)
         INSERT INTO jfs_edge (parent, name, inode, type) SELECT 777777, CAST('n' || i AS BLOB), 800000 + i / 2, 1 FROM c`,
    );
    const { records } = await readAll(url, new Set<RecordKind>(["edge", "parent"]), 777777n);
    expect(list(records, "edge").length).toBe(50000);
    expect(new Set(list(records, "edge").map((edge) => edge.name.toString())).size).toBe(50000);
    expect(list(records, "parent").length).toBe(24999);
    expect(list(records, "parent")[0]).toMatchObject({ parent: 777777n, count: 2n });
  });
});

describe("point reads", () => {
  test("find an entry by its bytes and an inode's record", async () => {
    const snapshot = await openSnapshot(copySqliteFixture(NATIVE).url);
    const records = await collectRecords(snapshot.records({ kinds: new Set<RecordKind>(["edge", "node"]) }));
    for (const edge of list(records, "edge")) {
      expect(await snapshot.lookup(edge.parent, edge.name)).toEqual({ inode: edge.inode, type: edge.type });
    }
    for (const node of list(records, "node")) expect(await snapshot.readNode(node.inode)).toEqual(node.attribute);
    expect(await snapshot.lookup(1n, Buffer.from("not there"))).toBeUndefined();
    expect(await snapshot.readNode(999999n)).toBeUndefined();
    await snapshot.close();
  });
});

describe("unusual rows", () => {
  test("large values arrive whole, in batches of their own", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      `INSERT INTO jfs_chunk (inode, indx, slices) VALUES (90001, 7, CAST(replace(hex(zeroblob(1200000)), '0', 'a') || '' AS TEXT));
       INSERT INTO jfs_symlink VALUES (90002, CAST(replace(hex(zeroblob(20000)), '0', 'b') AS BLOB));
       INSERT INTO jfs_xattr (inode, name, value) VALUES (90003, 'user.large', CAST(replace(hex(zeroblob(40000)), '0', 'c') AS BLOB));`,
    );
    const { records } = await readAll(url);
    const chunk = list(records, "chunk").find((record) => record.inode === 90001n);
    expect(chunk).toMatchObject({ index: 7, slices: Buffer.alloc(2400000, "a") });
    const symlink = list(records, "symlink").find((record) => record.inode === 90002n);
    expect(symlink?.target).toEqual(Buffer.alloc(40000, "b"));
    const xattr = list(records, "xattr").find((record) => record.inode === 90003n);
    expect(xattr).toMatchObject({ name: Buffer.from("user.large"), value: Buffer.alloc(80000, "c") });
  });

  test("slices of class TEXT keep their bytes", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path, { readonly: true });
    const rows = db
      .prepare("SELECT inode, indx, hex(CAST(slices AS BLOB)) FROM jfs_chunk WHERE typeof(slices) = 'text'")
      .raw()
      .all() as [number, number, string][];
    db.close();
    expect(rows.length).toBeGreaterThan(0);
    const { records } = await readAll(url);
    for (const [inode, index, hex] of rows) {
      const found = list(records, "chunk").find((chunk) => Number(chunk.inode) === inode && chunk.index === index);
      expect(found?.slices.toString("hex").toUpperCase()).toBe(hex);
    }
  });

  test("a chunk of an impossible length is empty and noted as a loss", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(path, "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (90001, 0, x'0102'), (90001, 1, zeroblob(30001))");
    const { records, notes } = await readAll(url);
    const found = list(records, "chunk").filter((chunk) => chunk.inode === 90001n);
    expect(found.map((chunk) => chunk.slices.length)).toEqual([0, 0]);
    expect(notes).toEqual([
      {
        text: "Chunks whose slice list has an impossible length; their files read as zeros there",
        count: 2,
        loss: true,
      },
    ]);
  });

  test("names and values that are no UTF-8 keep their bytes", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      "INSERT INTO jfs_xattr (inode, name, value) VALUES (90001, CAST(x'757365722eff00fe' AS TEXT), CAST(x'ff00' AS TEXT))",
    );
    const { records } = await readAll(url);
    const found = list(records, "xattr").find((xattr) => xattr.inode === 90001n);
    expect(found).toEqual({
      inode: 90001n,
      name: Buffer.from("user.\xff\0\xfe", "latin1"),
      value: Buffer.from([0xff, 0]),
    });
  });

  test("NULL is 0 or empty, and numbers wider than their field are cut", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      `INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, nlink, length)
         VALUES (90001, 9, 257, 420, -1, 0, 0, 0, 0, -1, -1);
       INSERT INTO jfs_acl (id, owner, "group", mask, other) VALUES (100, 6, 4, 65535, NULL)`,
    );
    const { records } = await readAll(url);
    const node = list(records, "node").find((record) => record.inode === 90001n);
    expect(decodeAttribute(node!.attribute)).toMatchObject({
      ...{ type: 9, flags: 1, uid: 2 ** 32 - 1, nlink: 2 ** 32 - 1, length: 2n ** 64n - 1n },
      ...{ rdev: 0, parent: 0n, accessAclId: 0, defaultAclId: 0, tier: 0 },
    });
    const acl = list(records, "acl").find((record) => record.id === 100);
    expect(acl?.rule.toString("hex")).toBe(`00060004ffff0000${"00".repeat(8)}`);
  });

  test("columns that are nearly always 0 keep their values, and give none to the rows behind", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const insert = (inode: number, columns: string): string =>
      `INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, nlink, length, rdev, parent,
         access_acl_id, default_acl_id, tier_id) VALUES (${inode}, 1, ${columns.replace(" ", ", 420, 0, 0, 0, 0, 0, 1, 0, ")})`;
    const rows = ["1 2, 1, 3, 4, 2", "0 0, 1, 0, 0, 0", "0 0, 1, 0, 0, NULL", "0 0, 1, 0, 0, 3", "0 0, 1, 0, 7, 0"];
    change(path, rows.map((columns, i) => insert(90_001 + i, columns)).join(";"));
    const { records } = await readAll(url);
    const found = list(records, "node").filter(({ inode }) => inode > 90_000n && inode < 90_010n);
    const values = found.map(({ attribute }) => {
      const { flags, rdev, accessAclId, defaultAclId, tier } = decodeAttribute(attribute);
      return [flags, rdev, accessAclId, defaultAclId, tier];
    });
    expect(values).toEqual([
      [1, 2, 3, 4, 2],
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 3],
      [0, 0, 0, 7, 0],
    ]);
  });

  test.each(["length", "rdev"])("a value that is no integer is an error that names the table: %s", async (column) => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(path, `UPDATE jfs_node SET ${column} = 'abc' WHERE inode = 1`);
    await expect(readAll(url)).rejects.toMatchObject({
      name: "DataError",
      message: "Cannot read a row of jfs_node: a value in it is not of the column's type",
    });
  });

  test("slice 0 has no references", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(path, "INSERT INTO jfs_chunk_ref VALUES (0, 0, 8)");
    const { records } = await readAll(url);
    expect(list(records, "sliceRef").some((record) => record.id === 0n)).toBe(false);
  });

  test("a table that is missing is empty", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(path, "DROP TABLE jfs_xattr; DROP TABLE jfs_acl; DROP TABLE jfs_dir_stats; DROP TABLE jfs_counter");
    const { records } = await readAll(url);
    expect([records.has("xattr"), records.has("acl"), records.has("dirStat")]).toEqual([false, false, false]);
    expect(recordTexts(list(records, "counter"))).toEqual(
      ["nextChunk", "nextInode", "nextSession", "nextTrash", "totalInodes", "usedSpace"].map(
        (name) => `name=${name} value=0`,
      ),
    );
  });
});

describe("another prefix", () => {
  test("is another volume", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      `CREATE TABLE "jfs_A-b_setting" (name, value); CREATE TABLE "jfs_A-b_node" AS SELECT * FROM jfs_node WHERE inode = 1;
       INSERT INTO "jfs_A-b_setting" VALUES ('format', '{"Name": "second"}')`,
    );
    const snapshot = await openSnapshot(`${url}?table_prefix=A-b`);
    expect(snapshot.setting.toString()).toBe('{"Name": "second"}');
    const records = await collectRecords(snapshot.records({ kinds: new Set<RecordKind>(["node", "edge"]) }));
    expect([list(records, "node").length, list(records, "edge").length]).toEqual([1, 0]);
    await snapshot.close();
  });
});

describe("reading a living database", () => {
  /** A database in WAL mode whose newest rows stand only in the -wal file, and its open connection. */
  function livingDatabase(): { path: string; url: string; db: Database.Database } {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.pragma("journal_mode = WAL");
    db.pragma("wal_autocheckpoint = 0");
    db.exec("INSERT INTO jfs_symlink VALUES (90001, x'61')");
    return { path, url, db };
  }

  const fingerprint = (path: string): string =>
    `${createHash("sha256").update(readFileSync(path)).digest("hex")} ${statSync(path).mtimeMs}`;

  test("sees one state while a client goes on writing", async () => {
    const { url, db } = livingDatabase();
    const snapshot = await openSnapshot(url);
    db.exec(
      "INSERT INTO jfs_symlink VALUES (90002, x'62'); DELETE FROM jfs_symlink WHERE inode = 90001; DELETE FROM jfs_edge",
    );
    const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
    const inodes = list(records, "symlink").map((record) => record.inode);
    expect([inodes.includes(90001n), inodes.includes(90002n)]).toEqual([true, false]);
    expect(list(records, "edge").length).toBe(289);
    expect(snapshot.consistency).toMatchObject({ pointInTime: true, method: "one read transaction" });
    await snapshot.close();
    db.close();
  });

  test("changes neither the database nor its -wal file", async () => {
    const { path, url, db } = livingDatabase();
    const before = [fingerprint(path), fingerprint(`${path}-wal`)];
    await readAll(url);
    expect([fingerprint(path), fingerprint(`${path}-wal`)]).toEqual(before);
    db.close();
  });

  test("leaves nothing behind when nobody else uses the database", async () => {
    const { path, url, db } = livingDatabase();
    db.close();
    const before = fingerprint(path);
    await readAll(url);
    expect(fingerprint(path)).toBe(before);
    expect(readdirSync(join(path, ".."))).toEqual(["natsqlite.sqlite.db"]);
  });

  test("works when the -shm file is missing and the newest rows stand in the -wal file", async () => {
    const { path, db } = livingDatabase();
    const copy = join(temporaryDirectory(), "copy.db");
    copyFileSync(path, copy);
    copyFileSync(`${path}-wal`, `${copy}-wal`);
    db.close();
    const before = fingerprint(copy);
    const { records } = await readAll(`sqlite3://${copy}`);
    expect(list(records, "symlink").some((record) => record.inode === 90001n)).toBe(true);
    expect(fingerprint(copy)).toBe(before);
  });

  test("warns when writers have to wait for it, as in another journal mode", async () => {
    const warnings: string[] = [];
    const logger = { ...silentLogger, warn: (message: string) => warnings.push(message) };
    const { path, url, db } = livingDatabase();
    const store = await openStore(url, context);
    await (await store.openSnapshot({ ...context, logger })).close();
    expect(warnings).toEqual([]);
    db.pragma("journal_mode = DELETE");
    db.close();
    await (await store.openSnapshot({ ...context, logger })).close();
    expect(warnings).toEqual([`${path} is not in WAL mode: clients cannot write to it until it has been read`]);
  });

  test("lets timers run", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    change(
      path,
      `WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 200000)
         INSERT INTO jfs_edge (parent, name, inode, type) SELECT 777777, CAST('n' || i AS BLOB), 800000 + i, 1 FROM c`,
    );
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const start = performance.now();
    await readAll(url);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan((performance.now() - start) / 200);
  });

  test("stops when it is aborted or closed", async () => {
    const controller = new AbortController();
    const options = { ...context, signal: controller.signal };
    const store = await openStore(copySqliteFixture(NATIVE).url, options);
    const aborted = await store.openSnapshot(options);
    controller.abort();
    await expect(collectRecords(aborted.records({ kinds: ENGINE_KINDS }))).rejects.toMatchObject({
      name: "AbortError",
    });
    await aborted.close();
    await aborted.close();
    const closed = await openSnapshot(copySqliteFixture(NATIVE).url);
    const stream = closed.records({ kinds: new Set<RecordKind>(["sustained", "acl"]) })[Symbol.asyncIterator]();
    await stream.next();
    await closed.close();
  });
});

describe("a database that cannot be read", () => {
  test("does not exist: nothing is created", async () => {
    const directory = temporaryDirectory();
    await expect(openStore(`sqlite3://${directory}/m.db`, context)).rejects.toMatchObject({
      name: "NotFoundError",
      message: `Database file ${directory}/m.db does not exist`,
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("holds no volume", async () => {
    const path = join(temporaryDirectory(), "m.db");
    change(path, "CREATE TABLE t (a)");
    await expect(openSnapshot(`sqlite3://${path}`)).rejects.toMatchObject({
      name: "NotFoundError",
      message: `There is no volume in sqlite3://${path}`,
    });
  });

  test("is no database", async () => {
    const path = join(temporaryDirectory(), "m.db");
    writeFileSync(path, "this is a text and no database".repeat(100));
    await expect(openStore(`sqlite3://${path}`, context)).rejects.toMatchObject({
      name: "DataError",
      message: `Cannot read ${path}: it is no SQLite database (file is not a database)`,
    });
  });

  test("is encoded in UTF-16", async () => {
    const path = join(temporaryDirectory(), "m.db");
    change(path, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE jfs_setting (name TEXT, value TEXT)");
    const store = await openStore(`sqlite3://${path}`, context);
    const message = `${path} is a database in UTF-16le; decant handles UTF-8 only`;
    await expect(store.openSnapshot(context)).rejects.toMatchObject({ name: "EngineError", message });
    await expect(store.readSetting(signal)).rejects.toMatchObject({ name: "EngineError", message });
  });

  test("is a directory", async () => {
    const directory = temporaryDirectory();
    await expect(openStore(`sqlite3://${directory}`, context)).rejects.toMatchObject({
      name: "EngineError",
      message: `Cannot open ${directory}: it is not a regular file`,
    });
  });

  test("is locked for longer than the address allows", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.exec("BEGIN EXCLUSIVE");
    await expect(openStore(`${url}?_timeout=100`, context)).rejects.toMatchObject({
      name: "EngineError",
      retryable: true,
      message: `Cannot read ${path}: it is locked by another program (database is locked)`,
    });
    setTimeout(() => db.close(), 300);
    expect(await (await openStore(url, context)).readSetting(signal)).toBeDefined();
  });

  test("stands in WAL mode where its reader may not write", () => {
    const path = join(readableDirectory(), "m.db");
    copyFileSync(copySqliteFixture(NATIVE).path, path);
    change(path, "PRAGMA journal_mode = WAL");
    chmodSync(dirname(path), 0o555);
    expect(readUnprivileged(path)).toMatch(
      `Cannot read ${path}: the -shm file that reading in WAL mode needs cannot be created or opened`,
    );
    chmodSync(dirname(path), 0o755);
  });

  test("is readable without permission to write while a client has it open", () => {
    const path = join(readableDirectory(), "m.db");
    copyFileSync(copySqliteFixture(NATIVE).path, path);
    const db = new Database(path);
    db.exec("PRAGMA journal_mode = WAL; INSERT INTO jfs_counter VALUES ('x', 1)");
    chmodSync(dirname(path), 0o555);
    expect(readUnprivileged(path)).toBe("setting of 506 bytes");
    chmodSync(dirname(path), 0o755);
    db.close();
  });

  test("may not be read", () => {
    const path = join(readableDirectory(), "m.db");
    copyFileSync(copySqliteFixture(NATIVE).path, path);
    chmodSync(path, 0);
    expect(readUnprivileged(path)).toMatch(`Cannot read ${path}: permission to read the file is denied`);
  });

  function readableDirectory(): string {
    const directory = temporaryDirectory();
    chmodSync(directory, 0o755);
    return directory;
  }

  /** What a process that is not root sees; root may do everything. */
  function readUnprivileged(path: string): string {
    const script = `
      import { silentLogger } from ${JSON.stringify(join(REPOSITORY, "src/base/logger.ts"))};
      import { sqliteEngine } from ${JSON.stringify(join(REPOSITORY, "src/engines/sqlite/sqlite-engine.ts"))};
      if (process.getuid() === 0) process.setuid(65534);
      const context = { logger: silentLogger, signal: new AbortController().signal, env: {} };
      try {
        const setting = await (await sqliteEngine.open("sqlite3://" + process.argv[1], context)).readSetting(context.signal);
        console.log("setting of " + setting.length + " bytes");
      } catch (error) {
        console.log(error.message);
      }`;
    return execFileSync(process.execPath, ["--input-type=module", "-e", script, path], { encoding: "utf8" }).trim();
  }
});
