import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { parseMysqlAddress } from "../../src/engines/mysql/mysql-address.ts";
import { MysqlSnapshot } from "../../src/engines/mysql/mysql-snapshot.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import type { RecordKind } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { requireMysqlProgram, startMysql } from "../support/mysql-server.ts";
import { fixture } from "../support/repository.ts";
import { Bench, type EngineHarness, failureOf, NEW_VOLUME } from "./engine-harness.ts";
import { attribute, comparable, INODE_PAST_SIGNED } from "./engine-records.ts";

const found = (await requireMysqlProgram()) ? await startMysql() : undefined;
const server = found!;
const signal = new AbortController().signal;

/** A snapshot that several connections read, whatever the size of the volume. */
function openShared(url: string, stop: AbortSignal = signal): Promise<MysqlSnapshot> {
  return MysqlSnapshot.open(parseMysqlAddress(url, {}), {}, { signal: stop, logger: silentLogger }, 0n);
}

async function readShared(url: string, kinds = ENGINE_KINDS, root?: bigint): Promise<Record<string, string[]>> {
  const snapshot = await openShared(url);
  try {
    return comparable(await collectRecords(snapshot.records(root === undefined ? { kinds } : { kinds, root })));
  } finally {
    await snapshot.close();
  }
}

const bench = (database: string): Bench => new Bench({} as EngineHarness, server.url(database));

describe.skipIf(found === undefined)("several connections to MySQL", () => {
  test("give the records that one gives", async () => {
    const database = await server.restore(fixture("golden/native/natmysql.mysql.sql"));
    expect(await readShared(server.url(database))).toEqual(await bench(database).read());
    expect(await readShared(server.url(database), ENGINE_KINDS, 1n)).toEqual(
      await bench(database).read(ENGINE_KINDS, 1n),
    );
  });

  test("read ranges of keys that together are every key, however sparse", async () => {
    const database = await server.createDatabase();
    const numbers = [2n, 199_999n, 200_000n, 200_001n, 200_002n, 400_001n, 1n << 40n, 1n << 62n, TRASH_INODE - 1n];
    const all = [
      ...numbers,
      TRASH_INODE,
      TRASH_INODE + 7n,
      (1n << 63n) - 1n,
      1n << 63n,
      INODE_PAST_SIGNED,
      (1n << 64n) - 1n,
    ];
    const node = all.map((inode) => ({ inode, attribute: attribute(FileType.regular, 1n) }));
    const symlink = numbers.slice(0, 6).map((inode) => ({ inode, target: Buffer.from(String(inode)) }));
    await bench(database).load({ node, symlink });
    const kinds = new Set<RecordKind>(["node", "symlink"]);
    expect(await readShared(server.url(database), kinds)).toEqual(comparable({ node, symlink }));
  });

  test("begin under the lock that the user may take, and say which", async () => {
    const database = await server.createDatabase();
    await bench(database).load({ node: [{ inode: 1n, attribute: NEW_VOLUME.root }] });
    const users = [
      [
        "all",
        `ALL ON ${database}.*`,
        /^4 transactions .* begun under a lock of the volume's tables, for which writers waited \d+ ms at most$/,
      ],
      [
        "global",
        "SELECT, RELOAD ON *.*",
        /^4 transactions .* begun under a global read lock, for which writers waited \d+ ms/,
      ],
      [
        "reader",
        `SELECT ON ${database}.*`,
        /^one transaction with a consistent snapshot; the user may not lock its tables/,
      ],
    ] as const;
    for (const [name, rights, method] of users) {
      await server.query(`CREATE OR REPLACE USER "${name}"@'%'; GRANT ${rights} TO "${name}"@'%'`);
      const snapshot = await openShared(server.url(database).replace("root@", `${name}@`));
      expect(snapshot.consistency).toMatchObject({ pointInTime: true, method: expect.stringMatching(method) });
      expect(comparable(await collectRecords(snapshot.records({ kinds: new Set(["node"]) }))).node).toHaveLength(1);
      await snapshot.close();
    }
    await server.query("INSERT INTO jfs_counter VALUES ('after', 1)", database); // no lock was left behind
  });

  test("see one instant while others move things between tables all the time", async () => {
    const database = await server.createDatabase();
    const inodes = Array.from({ length: 200 }, (_, i) => BigInt(i + 2));
    await bench(database).load({
      node: inodes.map((inode) => ({ inode, attribute: attribute(FileType.regular, 1n) })),
      edge: inodes.map((inode) => ({ parent: 1n, inode, type: 1, name: Buffer.from(`f${inode}`) })),
    });
    let isDone = false;
    let moves = 0;
    const writer = async (first: bigint): Promise<void> => {
      for (let i = 0n; !isDone; i = (i + 1n) % 50n) {
        const inode = first + i;
        // A file moves and is rewritten in one transaction: the place of its entry says what its node must be.
        await server.query(
          `START TRANSACTION; SET @p = (SELECT 3 - parent FROM jfs_edge WHERE inode = ${inode} FOR UPDATE);
           UPDATE jfs_edge SET parent = @p WHERE inode = ${inode};
           UPDATE jfs_node SET parent = @p, mode = 420 + @p WHERE inode = ${inode}; COMMIT`,
          database,
        );
        moves++;
      }
    };
    const writers = [2n, 52n, 102n, 152n].map(writer);
    await server.query("UPDATE jfs_node SET mode = 421", database);
    try {
      for (let i = 0; i < 25; i++) {
        const before = moves;
        const snapshot = await openShared(server.url(database));
        while (moves < before + 8) await new Promise((resolve) => setTimeout(resolve, 5));
        const records = await collectRecords(snapshot.records({ kinds: new Set<RecordKind>(["node", "edge"]) }));
        await snapshot.close();
        const nodes = new Map(
          (records.get("node") as { inode: bigint; attribute: Buffer }[]).map((node) => [node.inode, node.attribute]),
        );
        const edges = records.get("edge") as { inode: bigint; parent: bigint }[];
        expect([nodes.size, edges.length]).toEqual([200, 200]);
        const torn = edges.filter(({ inode, parent }) => nodes.get(inode)!.readBigUInt64BE(ATTR_PARENT_AT) !== parent);
        expect(torn).toEqual([]);
      }
    } finally {
      isDone = true;
      await Promise.all(writers);
    }
    expect(moves).toBeGreaterThan(200);
  });

  test("stop together when they are told to, or are left", async () => {
    const database = await server.createDatabase();
    const node = Array.from({ length: 60_000 }, (_, i) => ({
      inode: BigInt(i * 20 + 1),
      attribute: attribute(FileType.regular, 1n),
    }));
    await bench(database).load({ node }, "complete", 10_000);
    const controller = new AbortController();
    const aborted = await openShared(server.url(database), controller.signal);
    const failure = await failureOf(async () => {
      for await (const _ of aborted.records({ kinds: ENGINE_KINDS })) controller.abort();
    });
    expect(failure).toMatchObject({ name: "AbortError" });
    await aborted.close();
    const left = await openShared(server.url(database));
    for await (const batch of left.records({ kinds: new Set<RecordKind>(["node"]) })) {
      expect(batch.count).toBeGreaterThan(0);
      break;
    }
    await left.close();
    const held = await openShared(server.url(database));
    const records = held.records({ kinds: new Set<RecordKind>(["node"]) })[Symbol.asyncIterator]();
    expect((await records.next()).done).toBe(false);
    const started = performance.now();
    await held.close();
    expect(performance.now() - started).toBeLessThan(1000);
    const rest = async (): Promise<void> => {
      while (!(await records.next()).done);
    };
    expect(await failureOf(rest)).toMatchObject({ code: "DECANT_E_MYSQL_LOST" });
    const threads = async (): Promise<unknown[][]> =>
      server.query(`SELECT id FROM information_schema.processlist WHERE db = '${database}'`);
    for (let i = 0; (await threads()).length > 0; i++) {
      expect(i).toBeLessThan(200);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
});

/** Where the parent stands in an attribute record. */
const ATTR_PARENT_AT = 63;
