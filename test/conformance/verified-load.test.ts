import { join } from "node:path";
import Database from "better-sqlite3";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { DataError, isAbortError } from "../../src/base/errors.ts";
import { type PhaseProgress, Progress } from "../../src/base/progress.ts";
import { backup } from "../../src/operations/backups/backup.ts";
import { restore } from "../../src/operations/backups/restore.ts";
import { createContext, type OperationContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { kindText } from "../../src/operations/verify-target.ts";
import { VERIFYING } from "../../src/operations/verifying.ts";
import type { RecordKind, RecordStream } from "../../src/volume/records.ts";
import { bucketVolume } from "../support/backup-volume.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";

/** Odd names, hard links, ACLs, extended attributes, quotas, a trash, files that wait for deletion. */
const VOLUME = "golden/engines/golden-bin.sqlite.db";
const engines = await requireEngines();
const quiet = createContext({ env: {} });

/** Does something at the moment when all is written and nothing is read again yet. */
class OnVerifying extends Progress {
  readonly #act: () => void;

  constructor(act: () => void) {
    super();
    this.#act = act;
  }

  override begin(name: string, totals: { records?: number; bytes?: number } = {}): PhaseProgress {
    if (name === VERIFYING) this.#act();
    return super.begin(name, totals);
  }
}

function meanwhile(act: () => void, parts: Partial<OperationContext> = {}): OperationContext {
  return createContext({ env: {}, ...parts, progress: new OnVerifying(act) });
}

async function dumpOf(url: string, format: "json" | "binary"): Promise<string> {
  const file = join(temporaryDirectory(), `dump.${format}`);
  await dump({ source: url, target: { file }, format, keepSecretKey: true }, quiet);
  return file;
}

async function failure(attempt: () => Promise<unknown>): Promise<DataError> {
  const error = await attempt().catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(DataError);
  return error as DataError;
}

describe.each(engines)("a load into $name with verification", (engine) => {
  test.each(["json", "binary"] as const)("of a %s dump reads again what it has written", async (format) => {
    const file = await dumpOf(copySqliteFixture(VOLUME).url, format);
    const report = await load({ target: await engine.createDatabase(), source: { file }, verify: true }, quiet);
    const { verified, records, kinds } = report.verification!;
    expect(verified).toBe(true);
    const counts = report.counts;
    for (const kind of ["node", "edge", "chunk", "symlink", "xattr", "acl", "quota", "delFile", "dirStat"] as const) {
      expect([kind, kinds[kind]?.records]).toEqual([kind, counts[kind]]);
    }
    expect(kinds.sliceRef!.records).toBeGreaterThan(0);
    expect(records).toBe(Object.values(kinds).reduce((sum, kind) => sum + kind.records, 0));
  });

  test("of a volume with the largest numbers", async () => {
    const source = copySqliteFixture(VOLUME);
    const database = new Database(source.path);
    // The patterns of 2^64 - 1 and 2^63 as SQL has them, below the root.
    database.exec(`INSERT INTO jfs_node SELECT -1, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec,
        ctimensec, 1, length, rdev, 1, 0, 0, 0 FROM jfs_node WHERE type = 1 AND nlink = 1 LIMIT 1;
      INSERT INTO jfs_edge (parent, name, inode, type) VALUES (1, x'ff00fe', -1, 1);
      INSERT INTO jfs_xattr (inode, name, value) VALUES (-1, 'user.largest', x'00')`);
    database.close();
    const file = await dumpOf(source.url, "binary");
    const report = await load({ target: await engine.createDatabase(), source: { file }, verify: true }, quiet);
    expect(report.verification!.kinds.edge!.records).toBe(report.counts.edge);
  });
});

/** A change of one row of each table, in place of a server or a disk that lost it; what is told of it. */
const CHANGES: readonly (readonly [kind: RecordKind, sql: string])[] = [
  ["node", "UPDATE jfs_node SET mtimensec = mtimensec + 1 WHERE inode = 3"],
  ["node", "DELETE FROM jfs_node WHERE inode = 3"],
  [
    "node",
    "INSERT INTO jfs_node SELECT 999999, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id, tier_id FROM jfs_node WHERE inode = 3",
  ],
  ["edge", "UPDATE jfs_edge SET name = x'ff' WHERE id = (SELECT max(id) FROM jfs_edge)"],
  ["edge", "DELETE FROM jfs_edge WHERE id = (SELECT max(id) FROM jfs_edge)"],
  ["edge", "INSERT INTO jfs_edge (parent, name, inode, type) SELECT parent, x'ff', inode, type FROM jfs_edge LIMIT 1"],
  ["chunk", "UPDATE jfs_chunk SET slices = slices || slices WHERE id = (SELECT max(id) FROM jfs_chunk)"],
  ["chunk", "DELETE FROM jfs_chunk WHERE id = (SELECT max(id) FROM jfs_chunk)"],
  ["symlink", "UPDATE jfs_symlink SET target = target || x'00' WHERE inode = (SELECT max(inode) FROM jfs_symlink)"],
  ["symlink", "DELETE FROM jfs_symlink WHERE inode = (SELECT max(inode) FROM jfs_symlink)"],
  ["xattr", "UPDATE jfs_xattr SET inode = inode + 1 WHERE id = (SELECT max(id) FROM jfs_xattr)"],
  ["xattr", "DELETE FROM jfs_xattr WHERE id = (SELECT max(id) FROM jfs_xattr)"],
  ["sliceRef", "UPDATE jfs_chunk_ref SET refs = refs + 1 WHERE chunkid = (SELECT max(chunkid) FROM jfs_chunk_ref)"],
  ["sliceRef", "DELETE FROM jfs_chunk_ref WHERE chunkid = (SELECT max(chunkid) FROM jfs_chunk_ref WHERE refs <> 1)"],
  ["acl", "UPDATE jfs_acl SET other = other + 1 WHERE id = 1"],
  ["acl", "DELETE FROM jfs_acl WHERE id = 1"],
  ["delFile", "UPDATE jfs_delfile SET expire = expire + 1"],
  ["delFile", "DELETE FROM jfs_delfile"],
  ["dirStat", "UPDATE jfs_dir_stats SET used_inodes = used_inodes + 1 WHERE inode = 1"],
  ["dirStat", "DELETE FROM jfs_dir_stats WHERE inode = 1"],
  ["quota", "UPDATE jfs_dir_quota SET max_space = max_space + 1 WHERE inode = 3"],
  ["quota", "DELETE FROM jfs_dir_quota WHERE inode = 3"],
  ["userQuota", "UPDATE jfs_user_group_quota SET used_space = used_space + 1 WHERE qtype = 1"],
  ["userQuota", "DELETE FROM jfs_user_group_quota WHERE qtype = 1"],
  ["groupQuota", "UPDATE jfs_user_group_quota SET used_space = used_space + 1 WHERE qtype = 2"],
  ["groupQuota", "DELETE FROM jfs_user_group_quota WHERE qtype = 2"],
  ["sustained", "INSERT INTO jfs_sustained (sid, inode) VALUES (1, 3)"],
  ["counter", "UPDATE jfs_counter SET value = value + 1 WHERE name = 'nextInode'"],
  ["counter", "DELETE FROM jfs_counter WHERE name = 'nextChunk'"],
];

describe("a load into a database that is changed before it is read again", () => {
  test.each(CHANGES)("fails, and names the kind: %s, %s", async (kind, sql) => {
    const file = await dumpOf(copySqliteFixture(VOLUME).url, "binary");
    const target = newSqliteTarget();
    const change = (): void => {
      const database = new Database(target.path);
      expect(database.prepare(sql).run().changes).toBeGreaterThan(0);
      database.close();
    };
    const error = await failure(() => load({ target: target.url, source: { file }, verify: true }, meanwhile(change)));
    expect(error.code).toBe("DECANT_E_VERIFY_FAILED");
    const [first, ...others] = error.details;
    expect(first).toMatch(new RegExp(`^${kindText(kind)}: \\d+ written, \\d+ found`));
    expect(others.filter((line) => !line.startsWith("counter "))).toEqual([]);
    expect(error.message).toBe(`${target.url} does not hold what was written (${first})`);
    expect(error.hint).toContain("must not be used");
  });

  test("fails when the setting is another one", async () => {
    const target = newSqliteTarget();
    const error = await failure(() =>
      migrate(
        { source: copySqliteFixture(VOLUME).url, target: target.url },
        meanwhile(() => {
          const database = new Database(target.path);
          database.exec("UPDATE jfs_setting SET value = replace(value, '\"TrashDays\"', ' \"TrashDays\"')");
          database.close();
        }),
      ),
    );
    expect(error.details[0]).toMatch(/^setting: \d+ bytes written, \d+ found, not the same$/);
  });

  test("names the counters, and all kinds that differ", async () => {
    const target = newSqliteTarget();
    const error = await failure(() =>
      migrate(
        { source: copySqliteFixture(VOLUME).url, target: target.url },
        meanwhile(() => {
          const database = new Database(target.path);
          database.exec("DELETE FROM jfs_counter WHERE name = 'usedSpace'; DELETE FROM jfs_symlink");
          database.close();
        }),
      ),
    );
    expect(error.message).toMatch(
      /does not hold what was written \(symlinks: \d+ written, 0 found, and 1 more kind\)$/,
    );
    expect(error.details[1]).toMatch(/^counters: \d written, \d found$/);
    expect(error.details[2]).toMatch(/^counter usedSpace: \d+ written, 0 found$/);
    expect(error.details).toHaveLength(3);
  });

  test("fails when what is there cannot be understood", async () => {
    const target = newSqliteTarget();
    const error = await failure(() =>
      migrate(
        { source: copySqliteFixture(VOLUME).url, target: target.url },
        meanwhile(() => {
          const database = new Database(target.path);
          database.exec("UPDATE jfs_chunk SET slices = x'00' WHERE id = (SELECT max(id) FROM jfs_chunk)");
          database.close();
        }),
      ),
    );
    expect(error.code).toBe("DECANT_E_VERIFY_FAILED");
    expect(error.details.at(-1)).toMatch(/^Chunks whose slice list has an impossible length.*: 1$/);
  });
});

test("a migration reads its target again unless it is told not to, and a dry run does not", async () => {
  const source = copySqliteFixture(VOLUME).url;
  const verified = await migrate({ source, target: newSqliteTarget().url }, quiet);
  expect(verified.verification?.verified).toBe(true);
  expect(verified.verification?.notCompared.map(({ kind }) => kind).sort()).toEqual(["parent", "sliceRef"]);
  const off = await migrate({ source, target: newSqliteTarget().url, verify: false }, quiet);
  expect(off.verification).toBeUndefined();
  const dry = await migrate({ source, target: newSqliteTarget().url, dryRun: true }, quiet);
  expect(dry.verification).toBeUndefined();
});

test("a load reads its target again only when it is told to, and refuses to do so without writing", async () => {
  const file = await dumpOf(copySqliteFixture(VOLUME).url, "json");
  const off = await load({ target: newSqliteTarget().url, source: { file } }, quiet);
  expect(off.verification).toBeUndefined();
  const both = load({ target: newSqliteTarget().url, source: { file }, verify: true, dryRun: true }, quiet);
  await expect(both).rejects.toMatchObject({ code: "DECANT_E_OPTION_VALUE" });
});

test("a load that is stopped while it reads again leaves the volume", async () => {
  const file = await dumpOf(copySqliteFixture(VOLUME).url, "json");
  const controller = new AbortController();
  const context = meanwhile(() => controller.abort(), { signal: controller.signal });
  const target = newSqliteTarget();
  const error = await load({ target: target.url, source: { file }, verify: true }, context).catch((e: unknown) => e);
  expect(error).toSatisfy(isAbortError);
  const database = new Database(target.path, { readonly: true });
  expect(database.prepare("SELECT count(*) FROM jfs_setting").pluck().get()).toBe(1);
  database.close();
});

describe("a restore", () => {
  test("reads its target again when it is told to", async () => {
    const volume = await bucketVolume();
    await backup({ volume: volume.url }, quiet);
    const from = { volume: volume.url };
    const plain = await restore({ target: newSqliteTarget().url, from }, quiet);
    expect(plain.loaded!.verification).toBeUndefined();
    const { loaded } = await restore({ target: newSqliteTarget().url, from, verify: true }, quiet);
    expect(loaded!.verification!.verified).toBe(true);
  });

  test("does not take a target that lost something for a damaged backup", async () => {
    const volume = await bucketVolume();
    for (let i = 0; i < 2; i++) await backup({ volume: volume.url, maxShrink: 100 }, quiet);
    const target = newSqliteTarget();
    const context = meanwhile(() => {
      const database = new Database(target.path);
      database.exec("DELETE FROM jfs_edge WHERE id = 1");
      database.close();
    });
    const error = await failure(() =>
      restore({ target: target.url, from: { volume: volume.url }, verify: true }, context),
    );
    expect(error.code).toBe("DECANT_E_VERIFY_FAILED");
    expect(error.details[0]).toMatch(/^directory entries: (\d+) written, \d+ found$/);
  });
});

const resumable = engines.filter(({ name }) => name === "Redis" || name === "etcd" || name === "TiKV");

describe.each(resumable)("a load into $name that goes on with an earlier one", (engine) => {
  test("is verified as a whole", async () => {
    const file = await dumpOf(copySqliteFixture(VOLUME).url, "binary");
    const target = await engine.createDatabase();
    await interrupted(target, file);
    const report = await load({ target, source: { file }, resume: true, verify: true }, quiet);
    expect(report.resumedBatches).toBeGreaterThan(0);
    expect(report.verification!.kinds.node!.records).toBe(report.counts.node);
  });
});

describe.each(engines.filter(({ name }) => name === "Redis"))("a load into $name that goes on", (engine) => {
  test("finds what the server has lost of what the earlier one stored", async () => {
    const file = await dumpOf(copySqliteFixture(VOLUME).url, "binary");
    const target = await engine.createDatabase();
    await interrupted(target, file);
    const client = new Redis(target);
    const stored = await client.keys("i[0-9]*");
    expect(await client.del(...stored)).toBeGreaterThan(0);
    client.disconnect();
    const error = await failure(() => load({ target, source: { file }, resume: true, verify: true }, quiet));
    expect(error.code).toBe("DECANT_E_VERIFY_FAILED");
    expect(error.details).toEqual([expect.stringMatching(/^inodes: \d+ written, \d+ found$/)]);
  });
});

/** Leaves a part of a volume in the target, up to a checkpoint: the kinds before the last one of the dump. */
async function interrupted(target: string, file: string): Promise<void> {
  const cutOff = new Error("cut off");
  async function* cut(records: RecordStream): RecordStream {
    const kinds = new Set<string>();
    for await (const batch of records) {
      kinds.add(batch.kind);
      if (kinds.size > 8) throw cutOff;
      yield batch;
    }
  }
  const request = { target, source: { file }, resume: true, checkpointBytes: 1000, through: cut };
  await expect(load(request, quiet)).rejects.toBe(cutOff);
}
