import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { packBatch, type RecordKind } from "../../src/volume/records.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { readMysqlCatalog, readMysqlTables } from "../support/mysql-tables.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { change, NEW_VOLUME } from "./engine-harness.ts";
import { attribute, comparable, type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";

const client = await realClient();
const found = (await requireMysqlProgram()) ? await startMysql() : undefined;
const server = found!;
const signal = new AbortController().signal;
const options = { signal, logger: silentLogger };
const NATIVE = fixture("golden/native/natmysql.mysql.sql");

const open = (database: string, query = ""): Promise<MetadataStore> =>
  openStore(server.url(database) + query, { logger: silentLogger, signal, env: {} });

async function load(database: string, set: RecordSet, perBatch = 1000): Promise<void> {
  const loader = await (await open(database)).openLoader({ ...options, sliceRefs: "complete" });
  try {
    for (const batch of toBatches(set, perBatch)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
  } catch (error) {
    await loader.abort();
    throw error;
  }
}

async function read(database: string, kinds = ENGINE_KINDS, root?: bigint): Promise<Record<string, string[]>> {
  const snapshot = await (await open(database)).openSnapshot(options);
  try {
    return comparable(await collectRecords(snapshot.records(root === undefined ? { kinds } : { kinds, root })));
  } finally {
    await snapshot.close();
  }
}

const ROOT = { inode: 1n, attribute: NEW_VOLUME.root };
const file = (inode: bigint, changes = {}) => ({ inode, attribute: attribute(FileType.regular, 1n, changes) });

describe.skipIf(found === undefined)("a MySQL volume of an older client", () => {
  test("is read as it is, and gets today's schema with the first change", async () => {
    const database = await server.restore(NATIVE);
    const kinds = new Set<RecordKind>(["node", "edge", "chunk", "xattr", "counter"]);
    const before = await read(database, kinds);
    await server.query(
      `ALTER TABLE jfs_node DROP COLUMN tier_id;
       DROP TABLE jfs_user_group_quota; DROP TABLE jfs_delegation_token; DROP TABLE jfs_change_log`,
      database,
    );
    const withoutTier = (lines: string[]) => lines.map((line) => line.slice(0, line.indexOf("attribute=") + 50));
    const after = await read(database, kinds);
    expect(withoutTier(after.node!)).toEqual(withoutTier(before.node!));
    expect({ ...after, node: 0 }).toEqual({ ...before, node: 0 });
    expect((await read(database)).userQuota).toBeUndefined();
    const store = await open(database);
    const setting = await store.readSetting(signal);
    await store.updateSetting(() => change(setting), signal);
    const fresh = await server.createDatabase();
    await (await open(fresh)).createVolume(NEW_VOLUME, signal);
    expect(await readMysqlCatalog(server, database)).toEqual(await readMysqlCatalog(server, fresh));
  });

  test("is read where columns hold NULL and tables are missing", async () => {
    const database = await server.restore(NATIVE);
    const before = await read(database, new Set(["node"]));
    await server.query(
      `UPDATE jfs_node SET rdev = NULL, parent = NULL, access_acl_id = NULL, default_acl_id = NULL, tier_id = NULL
        WHERE rdev = 0 AND parent = 0 AND access_acl_id = 0 AND default_acl_id = 0 AND tier_id = 0;
       UPDATE jfs_session2 SET info = NULL;
       DROP TABLE jfs_delslices; DROP TABLE jfs_dir_quota; DROP TABLE jfs_sustained; DROP TABLE jfs_acl`,
      database,
    );
    const changed = await server.query("SELECT count(*) FROM jfs_node WHERE tier_id IS NULL", database);
    expect(Number(changed[0]![0])).toBeGreaterThan(0);
    expect(await read(database, new Set(["node"]))).toEqual(before);
    const store = await open(database);
    expect((await store.readUsage({ more: true, signal })).trashSlices).toEqual({ count: 0n, bytes: 0n });
    expect(await store.readSession(1n, signal)).toMatchObject({ info: undefined, sustained: [] });
  });
});

describe.skipIf(found === undefined)("a MySQL snapshot", () => {
  test("is of one instant while others write", async () => {
    const database = await server.createDatabase();
    await load(database, { node: [ROOT, file(2n)], edge: [] });
    const snapshot = await (await open(database)).openSnapshot(options);
    await server.query("UPDATE jfs_node SET mode = 0; INSERT INTO jfs_edge VALUES (9, 1, 'late', 2, 1)", database);
    const records = comparable(
      await collectRecords(snapshot.records({ kinds: new Set<RecordKind>(["node", "edge"]) })),
    );
    expect(records).toEqual(comparable({ node: [ROOT, file(2n)] }));
    expect(await snapshot.lookup(1n, Buffer.from("late"))).toBeUndefined();
    expect(await snapshot.readNode(2n)).toEqual(file(2n).attribute);
    await snapshot.close();
  });

  test("says when the storage engine of a table makes it none", async () => {
    const database = await server.restore(NATIVE);
    await server.query("ALTER TABLE jfs_xattr ENGINE = MyISAM", database);
    const snapshot = await (await open(database)).openSnapshot(options);
    expect(snapshot.consistency).toMatchObject({
      pointInTime: false,
      method: "the storage engine of jfs_xattr knows no snapshots",
    });
    await snapshot.close();
  });

  test("has rows that are larger than any packet of the network", async () => {
    const database = await server.createDatabase();
    await load(database, { node: [ROOT], edge: [] });
    await server.query(
      `ALTER TABLE jfs_xattr MODIFY value MEDIUMBLOB NOT NULL; ALTER TABLE jfs_chunk MODIFY slices MEDIUMBLOB NOT NULL;
       INSERT INTO jfs_xattr (inode, name, value) VALUES (1, 'user.a', repeat('x', 3000000)), (1, 'user.b', ''), (1, 'user.c', repeat('y', 250)),
         (1, 'user.d', repeat('z', 251)), (1, 'user.e', repeat('z', 65536));
       INSERT INTO jfs_chunk (inode, indx, slices) VALUES (2, 0, repeat('s', 24 * 10000)), (2, 1, 'cut')`,
      database,
    );
    const xattr = (name: string, value: string) => ({ inode: 1n, name: Buffer.from(name), value: Buffer.from(value) });
    const expected = {
      xattr: [
        xattr("user.a", "x".repeat(3_000_000)),
        xattr("user.b", ""),
        xattr("user.c", "y".repeat(250)),
        xattr("user.d", "z".repeat(251)),
        xattr("user.e", "z".repeat(65_536)),
      ],
      chunk: [
        { inode: 2n, index: 0, slices: Buffer.alloc(240_000, "s") },
        { inode: 2n, index: 1, slices: Buffer.alloc(0) },
      ],
    };
    expect(await read(database, new Set<RecordKind>(["xattr", "chunk"]))).toEqual(comparable(expected));
  });

  test("gives the tree of a directory with more entries than a page once each, also with loops and hard links", async () => {
    const database = await server.createDatabase();
    const count = 45_000;
    const inodes = Array.from({ length: count }, (_, i) => BigInt(i + 10));
    const name = (text: string) => Buffer.from(text);
    const directory = (inode: bigint, parent: bigint) => ({ inode, attribute: attribute(FileType.directory, parent) });
    const inside = {
      node: [directory(2n, 1n), directory(3n, 2n), ...inodes.map((inode) => file(inode))],
      edge: [
        { parent: 2n, inode: 3n, type: FileType.directory, name: name("m") },
        { parent: 3n, inode: 2n, type: FileType.directory, name: name("loop") },
        { parent: 3n, inode: 10n, type: FileType.regular, name: name("again") },
        ...inodes.map((inode) => ({ parent: 2n, inode, type: FileType.regular, name: name(`f${inode}`) })),
      ],
      parent: [
        { inode: 10n, parent: 2n, count: 1n },
        { inode: 10n, parent: 3n, count: 1n },
      ],
    };
    const outside = {
      node: [ROOT, file(5n)],
      edge: [
        { parent: 1n, inode: 2n, type: FileType.directory, name: name("inside") },
        { parent: 1n, inode: 5n, type: FileType.regular, name: name("outside") },
      ],
    };
    await load(database, { node: [...outside.node, ...inside.node], edge: [...outside.edge, ...inside.edge] }, 10_000);
    const tree = await read(database, new Set<RecordKind>(["node", "edge", "parent"]), 2n);
    const entriesOf2 = [
      { inode: 2n, parent: 1n, count: 1n },
      { inode: 2n, parent: 3n, count: 1n },
    ];
    const expected = comparable({ ...inside, parent: [...inside.parent, ...entriesOf2] });
    // The parents of the root itself are told, too, when it has several entries.
    expect(tree).toEqual(expected);
  });
});

describe.skipIf(found === undefined)("a load into MySQL", () => {
  const slices = (count: number, size = 1) => encodeSlices(Array(count).fill({ pos: 0, id: 7n, size, off: 0, len: 1 }));
  const xattr = (name: Buffer | string, value = Buffer.alloc(0)) => ({ inode: 2n, name: Buffer.from(name), value });
  const UNSUPPORTED: readonly (readonly [set: RecordSet, message: string])[] = [
    [{ node: [file(2n, { uid: 2147483648 })] }, "uid 2147483648 of inode 2: the largest number is 2147483647"],
    [{ node: [file(1n << 63n, { gid: 4294967295 })] }, "gid 4294967295 of inode 9223372036854775808: the largest"],
    [{ node: [file(2n, { rdev: 4294967295 })] }, "rdev 4294967295 of inode 2: the largest"],
    [{ chunk: [{ inode: 2n, index: 1, slices: slices(2731) }] }, "a list of 2731 slices of inode 2, chunk 1: 2730"],
    [{ chunk: [{ inode: 2n, index: 2147483648, slices: slices(1) }] }, "chunk 2147483648 of inode 2: the largest"],
    [{ sliceRef: [{ id: 7n, size: 2147483648, refs: 1n }] }, "the size 2147483648 of slice 7: the largest"],
    [{ sliceRef: [{ id: 7n, size: 1, refs: 1n << 31n }] }, "the number of references 2147483648 of slice 7: the"],
    [{ symlink: [{ inode: 2n, target: Buffer.alloc(4097) }] }, "a link target of 4097 bytes of inode 2: 4096 is"],
    [
      { xattr: [xattr("a", Buffer.alloc(65_536))] },
      "a value of 65536 bytes of an extended attribute of inode 2: 65535",
    ],
    [{ xattr: [xattr(Buffer.from([0x61, 0xff]))] }, "the name x'61ff' of an extended attribute of inode 2: it is not"],
    [{ xattr: [xattr("é".repeat(256))] }, "the name x'c3a9c3a9"],
    [
      { edge: [{ parent: 2n, inode: 3n, type: 1, name: Buffer.alloc(256, "n") }] },
      "a name of 256 bytes of an entry of",
    ],
  ];

  test.each(UNSUPPORTED)("refuses what a column cannot hold, and leaves nothing: %o", async (set, message) => {
    const database = await server.createDatabase();
    const error = await load(database, set).then(
      () => undefined,
      (reason: unknown) => reason as DecantError,
    );
    expect(error).toMatchObject({ name: "DataError", code: "DECANT_E_UNSUPPORTED_VALUE" });
    expect(error!.message).toContain(`MySQL cannot hold ${message}`);
    expect(await readMysqlTables(server, database)).toEqual(new Map());
  });

  test("stores values up to the limits of the columns", async () => {
    const database = await server.createDatabase();
    const set: RecordSet = {
      node: [ROOT, file(2n, { uid: 2147483647, gid: 2147483647, rdev: 2147483647, nlink: 2147483647 })],
      chunk: [{ inode: 2n, index: 2147483647, slices: slices(2730, 2147483647) }],
      sliceRef: [{ id: 7n, size: 2147483647, refs: 2147483647n }],
      symlink: [{ inode: 3n, target: Buffer.alloc(4096, "\\'") }],
      xattr: [xattr("é".repeat(255), Buffer.alloc(65_535, "'\\\0\n"))],
      edge: [{ parent: 1n, inode: 2n, type: 1, name: Buffer.alloc(255, "'") }],
    };
    await load(database, set);
    const { counter: _, ...others } = await read(database);
    expect(others).toEqual(comparable(set));
  });

  test("refuses names of extended attributes that the database takes for one", async () => {
    const database = await server.createDatabase();
    const names = load(database, { node: [ROOT], xattr: [xattr("user.a"), xattr("user.A")] });
    await expect(names).rejects.toMatchObject({
      code: "DECANT_E_DUPLICATE",
      name: "DataError",
      message: expect.stringContaining("Duplicate entry '2-user."),
    });
    expect(await readMysqlTables(server, database)).toEqual(new Map());
  });

  test("keeps texts in a database with another character set", async () => {
    const database = await server.createDatabase("CHARACTER SET latin1");
    const set = { node: [ROOT], xattr: [xattr("user.é", Buffer.from([0xff, 0]))] };
    await load(database, set);
    expect((await read(database, new Set<RecordKind>(["xattr"]))).xattr).toEqual(comparable(set).xattr);
    const other = await server.createDatabase("CHARACTER SET latin1");
    await expect(load(other, { xattr: [xattr("user.日")] })).rejects.toMatchObject({
      code: "DECANT_E_UNSUPPORTED_VALUE",
    });
  });

  test("goes on with the numbers of ACL rules and of the change log", async () => {
    const database = await server.createDatabase();
    const loader = await (await open(database)).openLoader({ ...options, sliceRefs: "complete" });
    await loader.write(packBatch("counter", [{ name: "lastChangelog", value: 41n }]));
    await loader.write(packBatch("acl", [{ id: 5, rule: Buffer.alloc(16) }]));
    await loader.finish(SAMPLE_SETTING);
    await server.query(
      "INSERT INTO jfs_change_log (entry) VALUES ('x'); INSERT INTO jfs_acl (owner) VALUES (1)",
      database,
    );
    expect(await server.query("SELECT id FROM jfs_change_log", database)).toEqual([["42"]]);
    expect(await server.query("SELECT max(id) FROM jfs_acl", database)).toEqual([[6]]);
    expect((await readMysqlTables(server, database)).get("jfs_counter")).toEqual([]);
  });

  test.each(["abort", "signal"] as const)("by several connections is removed as a whole after %s", async (way) => {
    const database = await server.createDatabase();
    const controller = new AbortController();
    const store = await open(database);
    const loader = await store.openLoader({ ...options, signal: controller.signal, sliceRefs: "complete" });
    for (const batch of toBatches(manyFiles(40_000), 10_000)) await loader.write(batch);
    expect((await connectionsTo(database)).length).toBe(4);
    if (way === "signal") controller.abort();
    await loader.abort();
    expect(await readMysqlTables(server, database)).toEqual(new Map());
    expect(await connectionsTo(database)).toEqual([]);
  });

  test("uses the connections that the user may have", async () => {
    const database = await server.createDatabase();
    await server.query(
      `CREATE OR REPLACE USER few@'%' WITH MAX_USER_CONNECTIONS 2; GRANT ALL ON ${database}.* TO few@'%'`,
    );
    const url = server.url(database).replace("root@", "few@");
    const store = await openStore(url, { logger: silentLogger, signal, env: {} });
    const loader = await store.openLoader({ ...options, sliceRefs: "complete" });
    const set = manyFiles(40_000);
    for (const batch of toBatches(set, 10_000)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
    const kinds = new Set<RecordKind>(["node", "edge", "chunk"]);
    expect(await read(database, kinds)).toEqual(comparable({ node: set.node!, edge: set.edge!, chunk: set.chunk! }));
    expect((await readMysqlTables(server, database)).get("jfs_chunk_ref")).toHaveLength(40_000);
    const fresh = await server.createDatabase();
    await (await open(fresh)).createVolume(NEW_VOLUME, signal);
    expect(await readMysqlCatalog(server, database)).toEqual(await readMysqlCatalog(server, fresh));
  });

  /** The server takes a moment to notice that a connection was closed. */
  async function connectionsTo(database: string): Promise<unknown[][]> {
    const list = (): Promise<unknown[][]> =>
      server.query(`SELECT id FROM information_schema.processlist WHERE db = '${database}'`);
    for (let i = 0; i < 50 && (await list()).length > 0 && (await list()).length !== 4; i++) await sleep(20);
    return list();
  }

  function manyFiles(count: number): RecordSet {
    const inodes = Array.from({ length: count }, (_, i) => BigInt(i + 2));
    const slice = (id: bigint) => encodeSlices([{ pos: 0, id, size: 1, off: 0, len: 1 }]);
    return {
      node: inodes.map((inode) => file(inode)),
      edge: inodes.map((inode) => ({
        parent: 1n,
        inode,
        type: 1,
        name: Buffer.from(`a file of some length ${inode}`),
      })),
      chunk: inodes.map((inode) => ({ inode, index: 0, slices: slice(inode) })),
      sliceRef: inodes.map((id) => ({ id: (1n << 62n) | id, size: 2147483647, refs: 2147483647n })),
    };
  }

  test("that was cut off is no place for a new volume", async () => {
    const database = await server.createDatabase();
    const controller = new AbortController();
    const loader = await (await open(database)).openLoader({
      ...options,
      signal: controller.signal,
      sliceRefs: "complete",
    });
    await loader.write(packBatch("node", [ROOT]));
    controller.abort(); // as when the process is killed: nobody calls abort()
    const before = await readMysqlTables(server, database);
    await expect((await open(database)).createVolume(NEW_VOLUME, signal)).rejects.toMatchObject({
      code: "DECANT_E_TARGET_BUSY",
      hint: expect.stringContaining("is running there or was cut off"),
    });
    expect(await readMysqlTables(server, database)).toEqual(before);
    await loader.abort();
    expect(await readMysqlTables(server, database)).toEqual(new Map());
  });
});

describe.skipIf(found === undefined)("volumes in MySQL", () => {
  test("of two table prefixes do not touch each other", async () => {
    const database = await server.createDatabase();
    await (await open(database)).createVolume(NEW_VOLUME, signal);
    const first = await readMysqlTables(server, database);
    await (await open(database, "?table_prefix=Abc")).createVolume(
      { ...NEW_VOLUME, setting: Buffer.from("{}") },
      signal,
    );
    expect(await (await open(database)).readSetting(signal)).toEqual(SAMPLE_SETTING);
    expect(await (await open(database, "?table_prefix=Abc")).readSetting(signal)).toEqual(Buffer.from("{}"));
    const both = await readMysqlTables(server, database);
    for (const [table, rows] of first) expect([table, both.get(table)]).toEqual([table, rows]);
    expect(both.size).toBe(2 * first.size);
    expect((await readMysqlCatalog(server, database)).join()).toContain("KEY `IDX_jfs_Abc_edge_inode`");
    const busy = (await open(database, "?table_prefix=new")).inspectTarget(signal);
    expect(await busy).toMatchObject({
      state: "occupied",
      message: expect.stringMatching(/^database mysql:.* is not empty$/),
    });
  });

  test("that could not be made leave no tables behind", async () => {
    const database = await server.createDatabase();
    const store = await open(database);
    await expect(
      store.createVolume({ ...NEW_VOLUME, setting: Buffer.alloc(70_000, "x") }, signal),
    ).rejects.toMatchObject({
      code: "DECANT_E_UNSUPPORTED_VALUE",
    });
    expect(await readMysqlTables(server, database)).toEqual(new Map());
  });

  test("show their sessions and locks, and what waits for deletion", async () => {
    const database = await server.restore(NATIVE);
    const store = await open(database);
    const sessions = await store.listSessions(signal);
    expect(sessions).toMatchObject([{ sid: 1n, expire: 1795416126n }]);
    expect(JSON.parse(sessions[0]!.info!)).toMatchObject({ HostName: "fixture-host", MountPoint: "/mnt/natmysql" });
    const session = await store.readSession(1n, signal);
    expect(session).toMatchObject({
      sustained: [1303n],
      flocks: [
        { inode: 1305n, owner: 4591319733280035469n, type: "W" },
        { inode: 1306n, owner: BigInt.asUintN(64, -5135036670506812597n), type: "R" },
        { inode: 1306n, owner: 804940406399517085n, type: "R" },
      ],
      plocks: [{ inode: 1307n, owner: BigInt.asUintN(64, -3595274709638396513n) }],
    });
    expect(session!.plocks[0]!.records.toString("hex")).toMatch(/^00000001000072f8.*7fffffffffffffff$/);
    expect(await store.readSession(2n, signal)).toBeUndefined();
    await server.query(
      `INSERT INTO jfs_delfile VALUES (77, 123, 1), (78, 1000, 1); INSERT INTO jfs_chunk_ref VALUES (9000, 5, -1);
       INSERT INTO jfs_delslices VALUES (9000, 1, x'000000000000000000002710'), (9001, 1, x'00000000000000000000271000')`,
      database,
    );
    const usage = await store.readUsage({ more: true, signal });
    expect(usage).toMatchObject({
      ...{ usedSpace: 5652873216n, totalInodes: 282n },
      pendingDeletedFiles: { count: 2n, bytes: 1123n },
      trashSlices: { count: 11n, bytes: 47000n },
    });
    if (client === undefined) return; // which was said
    const { out } = await mustRun(client, ["status", "--more", server.url(database)]);
    const member = (name: string): bigint => BigInt(new RegExp(`"${name}": (\\d+)`).exec(out)?.[1] ?? 0);
    expect(usage.trashFiles).toEqual({ count: member("TrashFileCount"), bytes: member("TrashFileSize") });
    expect(usage.pendingDeletedSlices).toEqual({
      count: member("PendingDeletedSliceCount"),
      bytes: member("PendingDeletedSliceSize"),
    });
  });
});
