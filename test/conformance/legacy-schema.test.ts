import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "../golden/permitted-differences.ts";
import { runDecant } from "../support/decant.ts";
import { realClient } from "../support/real-client.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume } from "../support/run-operations.ts";
import { requireSqlServers, type SqlServer } from "../support/sql-servers.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** Sessions of clients before 1.0 (docs/spec/sql.md §8.1), one of them without information. */
const OLD_SESSIONS = `CREATE TABLE jfs_session (sid BIGINT PRIMARY KEY NOT NULL, heartbeat BIGINT NOT NULL, info BYTES NULL);
  INSERT INTO jfs_session VALUES (77, 1700000000, '{"Version":"0.17.0","HostName":"old","MountPoint":"/m"}'), (78, 1, NULL);`;

/** What a volume lacks (docs/spec/sql.md §3.3), and the same volume as a new one that holds nothing there. */
interface OldSchema {
  readonly drop: string;
  readonly empty: string;
}

const OF_1_3: OldSchema = {
  drop: `ALTER TABLE jfs_node DROP COLUMN tier_id;
    DROP TABLE jfs_user_group_quota, jfs_delegation_token, jfs_change_log;`,
  empty: `UPDATE jfs_node SET tier_id = 0;
    DELETE FROM jfs_user_group_quota; DELETE FROM jfs_delegation_token; DELETE FROM jfs_change_log;`,
};
const OF_1_0: OldSchema = {
  drop: `${OF_1_3.drop}
    ALTER TABLE jfs_node DROP COLUMN access_acl_id, DROP COLUMN default_acl_id,
      DROP COLUMN atimensec, DROP COLUMN mtimensec, DROP COLUMN ctimensec;
    DROP TABLE jfs_acl, jfs_detached_node, jfs_dir_stats, jfs_dir_quota, jfs_delslices;
    ${OLD_SESSIONS}`,
  empty: `${OF_1_3.empty}
    UPDATE jfs_node SET access_acl_id = 0, default_acl_id = 0, atimensec = 0, mtimensec = 0, ctimensec = 0;
    DELETE FROM jfs_acl; DELETE FROM jfs_detached_node; DELETE FROM jfs_dir_stats; DELETE FROM jfs_dir_quota;
    DELETE FROM jfs_delslices; ${OLD_SESSIONS}`,
};
const OLDER_STILL: OldSchema = {
  drop: `${OF_1_0.drop} DROP TABLE jfs_session2;`,
  empty: `${OF_1_0.empty} DELETE FROM jfs_session2;`,
};

const SCHEMAS: readonly (readonly [version: string, schema: OldSchema])[] = [
  ["1.3", OF_1_3],
  ["1.0", OF_1_0],
  ["before 1.0", OLDER_STILL],
];

const client = await realClient();
const servers = await requireSqlServers();
const cases = servers.flatMap(([name, server]) =>
  SCHEMAS.map(([version, schema]) => [name, version, server, schema] as const),
);

describe.each(cases)("%s: a volume with the schema of %s", (_, version, found, schema) => {
  const server = found!;

  async function openWith(sql: string): Promise<string> {
    const url = await server.restore(fixture(`golden/native/nat${NATIVE[server.ending]}.${server.ending}.sql`));
    await server.run(url, sql.replaceAll("BYTES", server.ending === "mysql" ? "BLOB" : "BYTEA"));
    return url;
  }

  test.skipIf(found === undefined)("is dumped without what it lacks, and stays as it is", async () => {
    const [old, emptied] = [await openWith(schema.drop), await openWith(schema.empty)];
    const before = await stateOf(server, old);
    for (const options of [{ keepSecretKey: true }, { keepSecretKey: true, subdir: "/docs" }]) {
      const { bytes, report } = await dumpVolume(old, options);
      expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
      expect(report.consistency.pointInTime).toBe(true);
      expectSameBytes(bytes, (await dumpVolume(emptied, options)).bytes);
      if (client !== undefined) expectSameBytes(bytes, await dumpByReference(emptied, options));
    }
    expect(await stateOf(server, old)).toEqual(before);
  });

  test.skipIf(found === undefined)("shows its sessions and its usage as the reference does", async () => {
    const [old, emptied] = [await openWith(schema.drop), await openWith(schema.empty)];
    const before = await stateOf(server, old);
    const status = await runDecant(["status", old], UTC);
    const more = await runDecant(["status", old, "--more"], UTC);
    expect([status.code, more.code]).toEqual([0, 0]);
    expect(more.out).toBe((await runDecant(["status", emptied, "--more"], UTC)).out);
    if (version !== "1.3") {
      expect(JSON.parse(status.out)).toMatchObject({
        Sessions: expect.arrayContaining([expect.objectContaining({ Sid: 77, Expire: "2023-11-14T22:18:20Z" })]),
      });
      expect((await runDecant(["status", old, "--session", "77"], UTC)).out).toContain('"HostName": "old"');
    }
    if (client !== undefined) {
      expect(status.out).toBe(await statusByReference(old));
      expect(more.out).toBe(await statusByReference(emptied, "--more"));
    }
    expect(await stateOf(server, old)).toEqual(before);
  });

  test.skipIf(found === undefined)("is migrated to the rows and the schema of a new volume", async () => {
    const [old, emptied] = [await openWith(schema.drop), await openWith(schema.empty)];
    const before = await stateOf(server, old);
    const [ours, wanted] = [await server.createDatabase(), await server.createDatabase()];
    await migrate({ source: old, target: ours }, createContext({ env: {} }));
    await migrate({ source: emptied, target: wanted }, createContext({ env: {} }));
    expect(await stateOf(server, ours)).toEqual(await stateOf(server, wanted));
    expect(await stateOf(server, old)).toEqual(before);
  });

  test.skipIf(found === undefined)("gets a new schema when its setting is changed, and nothing before", async () => {
    const old = await openWith(schema.drop);
    const before = await stateOf(server, old);
    await config({ target: old, flags: { trashDays: 2n }, force: true }, createContext({ env: {} })); // as it is
    expect(await stateOf(server, old)).toEqual(before);
    await config({ target: old, flags: { trashDays: 9n }, force: true }, createContext({ env: {} }));
    const whole = await openWith(schema.empty);
    expect(sorted(await server.readSchema(old))).toEqual(sorted(await server.readSchema(whole)));
    if (client === undefined) return;
    const theirs = await openWith(schema.drop);
    await mustRun(client, ["config", theirs, "--trash-days", "9", "--yes"], UTC);
    expect(await server.readSchema(old)).toEqual(await server.readSchema(theirs));
    expect(await server.readTables(old)).toEqual(await server.readTables(theirs));
  });
});

const UTC = { env: { TZ: "UTC" } };
const NATIVE: Readonly<Record<string, string>> = { postgres: "pg", mysql: "mysql" };

async function stateOf(server: SqlServer, url: string): Promise<unknown> {
  return { schema: await server.readSchema(url), rows: await server.readTables(url) };
}

/** Columns that were added later stand at another place. */
function sorted(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/,$/, "")).sort();
}

async function dumpByReference(url: string, { subdir }: DumpOptions): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  const flags = subdir === undefined ? [] : ["--subdir", String(subdir)];
  await mustRun(client!, ["dump", "--keep-secret-key", ...flags, url, file]);
  const bytes = readFileSync(file);
  return subdir === undefined ? withPermittedDifferences(bytes, REPLACEMENT_CHARACTERS) : bytes;
}

async function statusByReference(url: string, ...flags: string[]): Promise<string> {
  const { out } = await mustRun(client!, ["status", url, ...flags], UTC);
  // The library that the reference uses for MySQL logs to standard output.
  const lines = out.replaceAll(/^\[xorm\] .*\n/gm, "");
  return lines.replaceAll("\u001b", "").replaceAll(/\[(1;33|0)m/g, "");
}
