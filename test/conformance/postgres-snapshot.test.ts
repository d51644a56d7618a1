import { describe, expect, test } from "vitest";
import { EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore, Snapshot } from "../../src/engines/engine.ts";
import { parsePostgresAddress } from "../../src/engines/postgres/postgres-address.ts";
import { PostgresSnapshot } from "../../src/engines/postgres/postgres-snapshot.ts";
import { openStore } from "../../src/engines/registry.ts";
import { type RecordKind, unpackBatch } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { requirePostgresServer, startPostgres } from "../support/postgres-server.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { change, failureOf, NEW_VOLUME, never } from "./engine-harness.ts";
import { comparable } from "./engine-records.ts";

const server = (await requirePostgresServer()) ? await startPostgres() : undefined;
const NATIVE = fixture("golden/native/natpg.postgres.sql");

const open = (url: string): Promise<MetadataStore> => openStore(url, { logger: silentLogger, signal: never, env: {} });

async function snapshotOf(database: string): Promise<Snapshot> {
  return (await open(server!.url(database))).openSnapshot({ signal: never, logger: silentLogger });
}

const read = async (snapshot: Snapshot, kinds: ReadonlySet<RecordKind> = ENGINE_KINDS) =>
  comparable(await collectRecords(snapshot.records({ kinds })));

/** What 1.3 did not have, and what a volume of before 1.0 did not (docs/spec/sql.md §3.3). */
const AS_1_3 = `ALTER TABLE jfs_node DROP COLUMN tier_id;
  DROP TABLE jfs_user_group_quota, jfs_delegation_token, jfs_change_log;`;
const AS_ANCIENT = `${AS_1_3} ALTER TABLE jfs_node DROP COLUMN access_acl_id, DROP COLUMN default_acl_id,
    DROP COLUMN atimensec, DROP COLUMN mtimensec, DROP COLUMN ctimensec;
  DROP TABLE jfs_acl, jfs_detached_node, jfs_dir_stats, jfs_dir_quota, jfs_delslices;`;

function killConnections(database: string): string {
  return `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
           WHERE datname = '${database}' AND pid <> pg_backend_pid()`;
}

describe.skipIf(server === undefined)("a snapshot of a PostgreSQL volume", () => {
  test("stays as it was while others write", async () => {
    const database = await server!.restore(NATIVE);
    const snapshot = await snapshotOf(database);
    await server!.psql(
      database,
      `DELETE FROM jfs_edge; UPDATE jfs_node SET length = 1; TRUNCATE jfs_xattr;
       INSERT INTO jfs_counter VALUES ('new', 1); UPDATE jfs_setting SET value = '{}';`.replace(
        "TRUNCATE",
        "DELETE FROM",
      ),
    );
    const records = await read(snapshot);
    await snapshot.close();
    const expected = await snapshotOf(await server!.restore(NATIVE));
    expect(records).toEqual(await read(expected));
    await expected.close();
    const after = await snapshotOf(database);
    expect((await read(after)).edge).toBeUndefined();
    await after.close();
  });

  test("reads the tables and columns of older clients as they are", async () => {
    const whole = await snapshotOf(await server!.restore(NATIVE));
    const complete = await read(whole);
    await whole.close();
    const database = await server!.restore(NATIVE);
    await server!.psql(database, AS_1_3);
    const old = await snapshotOf(database);
    const { userQuota: _, groupQuota: __, ...expected } = complete;
    const { node, ...others } = await read(old);
    await old.close();
    expect(others).toEqual(Object.fromEntries(Object.entries(expected).filter(([kind]) => kind !== "node")));
    expect(node).toHaveLength(complete.node!.length);
    await server!.psql(database, AS_ANCIENT.slice(AS_1_3.length));
    const ancient = await snapshotOf(database);
    const rest = await read(ancient);
    await ancient.close();
    expect(Object.keys(rest).sort()).toEqual([
      "chunk",
      "counter",
      "edge",
      "node",
      "parent",
      "sliceRef",
      "sustained",
      "symlink",
      "xattr",
    ]);
    const { report } = await dumpVolume(server!.url(database));
    expect(report.consistency.pointInTime).toBe(true);
    const store = await open(server!.url(database));
    expect(await store.readUsage({ more: true, signal: never })).toMatchObject({
      trashSlices: { count: 0n, bytes: 0n },
    });
    expect(await store.readSession(1n, never)).toMatchObject({ sid: 1n });
  });

  test("and what is missing is added when the setting is changed, as the reference adds it", async () => {
    const database = await server!.restore(NATIVE);
    const sorted = (schema: string) =>
      schema
        .split("\n")
        .map((line) => line.replace(/,$/, ""))
        .sort();
    const before = sorted(await server!.dumpSchema(database));
    await server!.psql(database, AS_ANCIENT);
    expect(sorted(await server!.dumpSchema(database))).not.toEqual(before);
    const store = await open(server!.url(database));
    await store.updateSetting(change, never);
    expect(sorted(await server!.dumpSchema(database))).toEqual(before);
    const snapshot = await snapshotOf(database); // columns that were added hold NULL in old rows
    expect((await read(snapshot, new Set<RecordKind>(["node"]))).node!.length).toBeGreaterThan(200);
    await snapshot.close();
  });

  test("fails with the first reason when the server ends the connection between two tables", async () => {
    const database = await server!.restore(NATIVE);
    const snapshot = await snapshotOf(database);
    await server!.psql("postgres", killConnections(database));
    const failure = await failureOf(() => read(snapshot));
    expect(failure).toBeInstanceOf(EngineError);
    expect(failure).toMatchObject({ code: "DECANT_E_POSTGRES_LOST", retryable: true });
    expect(String(failure)).toContain("terminating connection due to administrator command");
    await snapshot.close();
  });

  test("fails when the server ends the connection in the middle of a table", async () => {
    const database = await server!.restore(NATIVE);
    await server!.psql(
      database,
      `INSERT INTO jfs_xattr (inode, name, value)
         SELECT 2, 'user.' || i, decode(repeat('ab', 50000), 'hex') FROM generate_series(1, 600) i`,
    );
    const snapshot = await snapshotOf(database);
    const failure = await failureOf(async () => {
      let killed = false;
      for await (const batch of snapshot.records({ kinds: new Set<RecordKind>(["xattr"]) })) {
        if (!killed && batch.count > 0) await server!.psql("postgres", killConnections(database));
        killed = true;
      }
    });
    expect(failure).toBeInstanceOf(EngineError);
    expect(failure).toMatchObject({ code: "DECANT_E_POSTGRES_LOST", retryable: true });
    expect(String(failure)).toContain("terminat"); // a server that cannot send any more cannot say why
    await snapshot.close();
  });

  test("has the sessions and the usage that the reference's status shows", async () => {
    const database = await server!.restore(NATIVE);
    const store = await open(server!.url(database));
    const [summary, ...others] = await store.listSessions(never);
    expect(others).toEqual([]);
    expect(summary).toMatchObject({ sid: 1n, expire: 1795416149n });
    expect(JSON.parse(summary!.info!)).toMatchObject({ HostName: "fixture-host", ProcessID: 32713 });
    expect(await store.readSession(1n, never)).toMatchObject({
      sid: 1n,
      sustained: [1303n],
      flocks: [
        { inode: 1305n, owner: 985486659320907343n, type: "W" },
        { inode: 1306n, owner: 8067191824393949196n, type: "R" },
        { inode: 1306n, owner: BigInt.asUintN(64, -7882870649341144465n), type: "R" },
      ],
      plocks: [{ inode: 1307n, owner: BigInt.asUintN(64, -1605911362816144490n), records: expect.any(Buffer) }],
    });
    expect(await store.readSession(2n, never)).toBeUndefined();
    const number = async (query: string) => BigInt((await server!.psql(database, query)).trim() || "0");
    const usage = await store.readUsage({ more: true, signal: never });
    expect(usage).toMatchObject({
      usedSpace: 5652873216n,
      totalInodes: 282n,
      pendingDeletedFiles: { count: await number("SELECT count(*) FROM jfs_delfile") },
      trashSlices: { count: await number("SELECT sum(length(slices)) / 12 FROM jfs_delslices") },
      pendingDeletedSlices: { count: await number("SELECT count(*) FROM jfs_chunk_ref WHERE refs <= 0") },
    });
    expect(usage.trashFiles!.count).toBeGreaterThan(0n);
  });

  test("is shared by several connections, which read large tables in parts, each row once", async () => {
    const database = await server!.createDatabase();
    const url = server!.url(database);
    const store = await open(url);
    await store.createVolume(NEW_VOLUME, never);
    await server!.psql(database, WIDE_VOLUME);
    const blocks = "SELECT pg_relation_size('jfs_node') / 8192";
    expect(Number((await server!.psql(database, blocks)).trim())).toBeGreaterThan(2 * 4096);
    const address = parsePostgresAddress(url, {});
    const options = { signal: never, logger: silentLogger };
    const together = await PostgresSnapshot.open(address, options, 0n);
    expect(together.consistency).toMatchObject({
      pointInTime: true,
      method: "4 REPEATABLE READ transactions with one snapshot",
    });
    // Rows move to other blocks, vanish and come, and all of that is younger than the snapshot.
    await server!.psql(database, "UPDATE jfs_node SET length = 7; DELETE FROM jfs_edge WHERE inode % 2 = 0");
    await server!.psql(database, "INSERT INTO jfs_edge (parent, name, inode, type) VALUES (1, 'new', 2, 1)");
    const kinds = new Set<RecordKind>(["node", "edge", "counter", "sliceRef"]);
    const [inodes, lengths] = [new Set<bigint>(), new Set<bigint>()];
    const entries = new Set<bigint>();
    const counts = new Map<string, number>();
    for await (const batch of together.records({ kinds })) {
      counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
      if (batch.kind === "node") {
        for (const { inode, attribute } of unpackBatch("node", batch)) {
          inodes.add(inode);
          lengths.add(attribute.readBigUInt64BE(51));
        }
      }
      if (batch.kind === "edge") for (const { inode } of unpackBatch("edge", batch)) entries.add(inode);
    }
    await together.close();
    expect([counts.get("node"), inodes.size]).toEqual([WIDE_FILES + 2, WIDE_FILES + 2]);
    expect([counts.get("edge"), entries.size]).toEqual([WIDE_FILES, WIDE_FILES]);
    expect(lengths).toEqual(new Set([5n, 4096n]));
    const after = await PostgresSnapshot.open(address, options, 0n);
    let edges = 0;
    for await (const batch of after.records({ kinds: new Set<RecordKind>(["edge"]) })) edges += batch.count;
    await after.close();
    expect(edges).toBe(WIDE_FILES / 2 + 1);
  });

  test("of several connections can be left in the middle, and fails with what one of them met", async () => {
    const database = await server!.restore(NATIVE);
    const address = parsePostgresAddress(server!.url(database), {});
    const options = { signal: never, logger: silentLogger };
    const left = await PostgresSnapshot.open(address, options, 0n);
    for await (const _ of left.records({ kinds: ENGINE_KINDS })) break;
    await left.close();
    const broken = await PostgresSnapshot.open(address, options, 0n);
    await server!.psql("postgres", killConnections(database));
    const failure = await failureOf(() => read(broken));
    expect(failure).toMatchObject({ code: "DECANT_E_POSTGRES_LOST" });
    expect(String(failure)).toContain("terminating connection due to administrator command");
    await broken.close();
  });

  test("is read by one connection where more are not to be had, and says so", async () => {
    const database = await server!.restore(NATIVE);
    await server!.psql(database, `CREATE ROLE lonely LOGIN CONNECTION LIMIT 1; GRANT pg_read_all_data TO lonely`);
    const url = server!.url(database).replace("postgres@", "lonely@");
    const alone = await PostgresSnapshot.open(
      parsePostgresAddress(url, {}),
      { signal: never, logger: silentLogger },
      0n,
    );
    expect(alone.consistency.pointInTime).toBe(true);
    expect(alone.consistency.method).toMatch(
      /^one REPEATABLE READ transaction; more could not be used: .*too many connections/,
    );
    const whole = await snapshotOf(await server!.restore(NATIVE));
    expect(await read(alone)).toEqual(await read(whole));
    await whole.close();
    await alone.close();
  });

  test("is refused where a policy hides rows from the user, instead of being read in part", async () => {
    const database = await server!.restore(NATIVE);
    await server!.psql(
      database,
      `CREATE ROLE half LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO half;
       ALTER TABLE jfs_edge ENABLE ROW LEVEL SECURITY;
       CREATE POLICY part ON jfs_edge USING (inode % 2 = 0)`,
    );
    const url = server!.url(database).replace("postgres@", "half@");
    const failure = await failureOf(() => dumpVolume(url));
    expect(failure).toMatchObject({ code: "DECANT_E_POSTGRES_PERMISSION" });
    expect(String(failure)).toContain("row-level security");
  });

  test("needs no other right than SELECT, and none to what it does not read", async () => {
    const database = await server!.restore(NATIVE);
    await server!.psql(
      database,
      `CREATE ROLE viewer LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO viewer;
       REVOKE ALL ON jfs_session2, jfs_flock, jfs_plock, jfs_delegation_token FROM viewer`,
    );
    const viewer = await dumpVolume(server!.url(database).replace("postgres@", "viewer@"));
    const { bytes } = await dumpVolume(server!.url(database));
    expect(viewer.bytes.equals(bytes)).toBe(true);
  });

  test("keeps tables from being emptied while it is read", async () => {
    const database = await server!.restore(NATIVE);
    const snapshot = await snapshotOf(database);
    const truncate = "SET lock_timeout = '100ms'; TRUNCATE jfs_edge";
    await expect(server!.psql(database, truncate)).rejects.toThrow("lock timeout");
    await snapshot.close();
    await server!.psql(database, truncate);
  });
});

const WIDE_FILES = 600_000;
/** Files without content in one directory, as rows. */
const WIDE_VOLUME = `
  INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, nlink, length, rdev, parent)
    SELECT i, 1, 0, 420, 0, 0, 0, 0, 0, 1, 5, 0, 1 FROM generate_series(2, ${WIDE_FILES} + 1) i;
  INSERT INTO jfs_edge (parent, name, inode, type)
    SELECT 1, convert_to('file' || i, 'UTF8'), i, 1 FROM generate_series(2, ${WIDE_FILES} + 1) i;`;
