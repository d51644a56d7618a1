import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore, SettingChange } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { packBatch } from "../../src/volume/records.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query, readCatalog, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const signal = new AbortController().signal;
const context = { logger: silentLogger, signal, env: {} };
const NATIVE = "golden/native/natsqlite.sqlite.db";
const UNCHANGED: SettingChange = {
  setting: undefined,
  dropDirStats: false,
  dropUserGroupQuotas: false,
  trashRoot: undefined,
};
const root = encodeAttribute(newDirectoryAttribute(0o777, 1700000000n));
const trashRoot = encodeAttribute(newDirectoryAttribute(0o555, 1700000000n));

const open = (url: string): Promise<MetadataStore> => openStore(url, { ...context, create: true });

describe("creating a volume", () => {
  test("stores what the reference's format stores", async () => {
    const path = join(temporaryDirectory(), "new.db");
    const store = await open(`sqlite3://${path}`);
    await store.createVolume({ setting: Buffer.from("{}"), root, trashRoot }, signal);
    expect(query(path, "SELECT name || ' ' || value FROM jfs_counter ORDER BY rowid")).toEqual([
      ...["nextInode 2", "nextChunk 1", "nextSession 0", "usedSpace 0", "totalInodes 0", "nextCleanupSlices 0"],
    ]);
    expect(readTables(path).get("jfs_node")).toEqual([
      "inode=1 type=2 flags=0 mode=511 uid=0 gid=0 atime=1700000000000000 mtime=1700000000000000 ctime=1700000000000000 atimensec=0 mtimensec=0 ctimensec=0 nlink=2 length=4096 rdev=0 parent=1 access_acl_id=0 default_acl_id=0 tier_id=0",
      "inode=9223372032828243968 type=2 flags=0 mode=365 uid=0 gid=0 atime=1700000000000000 mtime=1700000000000000 ctime=1700000000000000 atimensec=0 mtimensec=0 ctimensec=0 nlink=2 length=4096 rdev=0 parent=1 access_acl_id=0 default_acl_id=0 tier_id=0",
    ]);
    expect(query(path, "PRAGMA journal_mode")).toEqual(["wal"]);
    expect((await store.readSetting(signal))?.toString()).toBe("{}");
    await expect(store.createVolume({ setting: Buffer.from("{}"), root, trashRoot }, signal)).rejects.toMatchObject({
      name: "ConflictError",
    });
  });

  test("without trash stores no trash root", async () => {
    const path = join(temporaryDirectory(), "new.db");
    await (await open(`sqlite3://${path}`)).createVolume(
      { setting: Buffer.from("{}"), root, trashRoot: undefined },
      signal,
    );
    expect(query(path, "SELECT inode FROM jfs_node")).toEqual(["1"]);
  });

  test("works beside a volume of another prefix", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const before = readTables(path);
    const store = await open(`${url}?table_prefix=two`);
    await store.createVolume({ setting: Buffer.from('{"Name": "two"}'), root, trashRoot }, signal);
    expect((await store.readSetting(signal))?.toString()).toBe('{"Name": "two"}');
    for (const [table, rows] of before) expect(readTables(path).get(table)).toEqual(rows);
  });

  test("refuses tables that an incomplete load left behind", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.exec("DELETE FROM jfs_setting");
    db.close();
    await expect(
      (await open(url)).createVolume({ setting: Buffer.from("{}"), root, trashRoot }, signal),
    ).rejects.toMatchObject({
      name: "ConflictError",
      message: "Table jfs_node is not empty",
    });
    expect(query(path, "SELECT count(*) FROM jfs_setting")).toEqual(["0"]);
  });
});

describe("changing the setting", () => {
  test("gives the stored value and stores the new one", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const store = await open(url);
    const before = await store.readSetting(signal);
    await store.updateSetting((stored) => {
      expect(stored).toEqual(before);
      return { ...UNCHANGED, setting: Buffer.from('{"Name": "ü"}') };
    }, signal);
    expect(query(path, "SELECT typeof(value) || ' ' || value FROM jfs_setting")).toEqual(['text {"Name": "ü"}']);
  });

  test("writes nothing when there is nothing to change or the change fails", async () => {
    const { path, url } = copySqliteFixture("legacy/legacy-1-3-0.sqlite.db");
    const before = [readCatalog(path), [...readTables(path)]];
    const store = await open(url);
    await store.updateSetting(() => UNCHANGED, signal);
    const refuse = (): never => {
      throw new RangeError("no");
    };
    await expect(store.updateSetting(refuse, signal)).rejects.toThrow(RangeError);
    expect([readCatalog(path), [...readTables(path)]]).toEqual(before);
  });

  test("drops statistics and quotas and adds a trash root when told to", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.exec("DELETE FROM jfs_node WHERE inode = 9223372032828243968");
    db.close();
    const all = { setting: Buffer.from("{}"), dropDirStats: true, dropUserGroupQuotas: true, trashRoot };
    await (await open(url)).updateSetting(() => all, signal);
    expect(query(path, "SELECT count(*) FROM jfs_dir_stats")).toEqual(["0"]);
    expect(query(path, "SELECT count(*) FROM jfs_user_group_quota")).toEqual(["0"]);
    expect(query(path, "SELECT mode FROM jfs_node WHERE inode = 9223372032828243968")).toEqual(["365"]);
    // One that is there stays as it is.
    await (await open(url)).updateSetting(() => ({ ...all, trashRoot: root }), signal);
    expect(query(path, "SELECT mode FROM jfs_node WHERE inode = 9223372032828243968")).toEqual(["365"]);
  });

  test("brings the tables of an older volume up to date", async () => {
    const { path, url } = copySqliteFixture("legacy/legacy-1-3-0.sqlite.db");
    await (await open(url)).updateSetting(() => ({ ...UNCHANGED, setting: Buffer.from("{}") }), signal);
    const today = copySqliteFixture(NATIVE);
    expect(readCatalog(path).toSorted()).toEqual(readCatalog(today.path).toSorted());
    expect(query(path, "SELECT DISTINCT ifnull(tier_id, 'null') FROM jfs_node")).toEqual(["null"]);
  });

  test("waits for another writer, and then sees what that has written", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const other = new Database(path);
    other.exec('BEGIN IMMEDIATE; UPDATE jfs_setting SET value = \'{"Name": "other"}\'');
    setTimeout(() => other.exec("COMMIT"), 300);
    const seen: string[] = [];
    await (await open(url)).updateSetting((stored) => {
      seen.push(String(stored));
      return { ...UNCHANGED, setting: Buffer.from("{}") };
    }, signal);
    expect(seen).toEqual(['{"Name": "other"}']);
    other.exec("BEGIN IMMEDIATE");
    const store = await open(`${url}?_timeout=200`);
    await expect(store.updateSetting(() => UNCHANGED, signal)).rejects.toMatchObject({
      name: "EngineError",
      retryable: true,
    });
    other.close();
  });

  test("does not create a database", async () => {
    const path = join(temporaryDirectory(), "new.db");
    const store = await open(`sqlite3://${path}`);
    await expect(store.updateSetting(() => UNCHANGED, signal)).rejects.toMatchObject({ name: "NotFoundError" });
    await expect(store.readSetting(signal)).rejects.toMatchObject({ name: "NotFoundError" });
    expect(await store.inspectTarget(signal)).toEqual({ state: "empty" });
    expect(existsSync(path)).toBe(false);
  });
});

describe("usage of users and groups", () => {
  test("is replaced, limits stay", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.exec(
      `DELETE FROM jfs_user_group_quota;
       INSERT INTO jfs_user_group_quota VALUES (1, 5, 100, 10, 7, 7), (1, 6, -1, -1, 8, 8), (2, 5, 1, 2, 3, 4)`,
    );
    db.close();
    const record = (key: bigint) => ({ key, maxSpace: -1n, maxInodes: -1n, usedSpace: 40n, usedInodes: 4n });
    const usage = [packBatch("userQuota", [record(5n), record(9n)]), packBatch("groupQuota", [record(2n)])];
    await (await open(url)).replaceUserGroupUsage(usage, signal);
    expect(readTables(path).get("jfs_user_group_quota")).toEqual([
      "qtype=1 qkey=5 max_space=100 max_inodes=10 used_space=40 used_inodes=4",
      "qtype=1 qkey=6 max_space=-1 max_inodes=-1 used_space=0 used_inodes=0",
      "qtype=1 qkey=9 max_space=-1 max_inodes=-1 used_space=40 used_inodes=4",
      "qtype=2 qkey=2 max_space=-1 max_inodes=-1 used_space=40 used_inodes=4",
      "qtype=2 qkey=5 max_space=1 max_inodes=2 used_space=0 used_inodes=0",
    ]);
  });
});

describe("sessions and usage", () => {
  test("are those of the database", async () => {
    const store = await open(copySqliteFixture(NATIVE).url);
    const sessions = await store.listSessions(signal);
    expect(sessions).toMatchObject([{ sid: 1n, expire: 1795416105n }]);
    expect(JSON.parse(sessions[0]!.info!)).toMatchObject({ HostName: "fixture-host", MountPoint: "/mnt/natsqlite" });
    const session = await store.readSession(1n, signal);
    expect(session?.sustained.length).toBe(1);
    expect(session?.flocks.map((lock) => lock.type).toSorted()).toEqual(["R", "R", "W"]);
    expect(session?.plocks.map((lock) => lock.records.length % 24)).toEqual([0]);
    expect(await store.readSession(2n, signal)).toBeUndefined();
  });

  test("of very old clients are shown beside the others", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const db = new Database(path);
    db.exec(
      `CREATE TABLE jfs_session (sid INTEGER PRIMARY KEY NOT NULL, heartbeat INTEGER NOT NULL, info BLOB NULL);
       INSERT INTO jfs_session VALUES (7, 1000, '{"HostName":"old"}'), (-1, 2000, NULL)`,
    );
    db.close();
    const store = await open(url);
    expect((await store.listSessions(signal)).slice(1)).toEqual([
      { sid: 7n, expire: 1300n, info: '{"HostName":"old"}' },
      { sid: (1n << 64n) - 1n, expire: 2300n, info: "{}" },
    ]);
    expect(await store.readSession(7n, signal)).toMatchObject({ sid: 7n, expire: 1300n, sustained: [] });
  });

  test("count what waits for deletion as the reference's status does", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const store = await open(url);
    expect(await store.readUsage({ more: false, signal })).toEqual({ usedSpace: 5652873216n, totalInodes: 282n });
    const db = new Database(path);
    db.exec(
      `INSERT INTO jfs_delfile VALUES (77, 123, 1), (78, 1000, 1);
       INSERT INTO jfs_chunk_ref VALUES (9000, 5, -1);
       INSERT INTO jfs_delslices VALUES (9000, 1, x'000000000000000000002710'), (9001, 1, x'00000000000000000000271000');
       INSERT INTO jfs_edge (parent, name, inode, type) VALUES (9223372032828243969, x'61', 6002, 1);
       INSERT INTO jfs_dir_quota VALUES (1, 4096, 10, 77, 7)`,
    );
    db.close();
    // The numbers of `juicefs status --more` on the same rows.
    expect(await store.readUsage({ more: true, signal })).toEqual({
      ...{ usedSpace: 5652873216n, totalInodes: 282n },
      trashFiles: { count: 13n, bytes: 70121n },
      pendingDeletedFiles: { count: 2n, bytes: 1123n },
      trashSlices: { count: 11n, bytes: 47000n },
      pendingDeletedSlices: { count: 2n, bytes: 6005n },
    });
  });

  test("of an older volume come without the tables it lacks", async () => {
    const { path, url } = copySqliteFixture("legacy/legacy-1-3-0.sqlite.db");
    const db = new Database(path);
    db.exec("DROP TABLE jfs_delslices; DROP TABLE jfs_dir_quota; DROP TABLE jfs_sustained");
    db.close();
    const store = await open(url);
    expect((await store.readUsage({ more: true, signal })).trashSlices).toEqual({ count: 0n, bytes: 0n });
    expect((await store.readSession(1n, signal))?.sustained).toEqual([]);
    await store.close();
    expect(readdirSync(dirname(path))).toEqual(["legacy-1-3-0.sqlite.db"]);
  });
});
