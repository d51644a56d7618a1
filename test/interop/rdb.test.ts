import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { realClient } from "../support/real-client.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await realClient();
const redis =
  client !== undefined && (await requireRedisServer())
    ? await startRedis({ args: ["--repl-diskless-sync-delay", "0"] })
    : undefined;
afterAll(() => redis?.stop());

const SOURCE_DB = 4;
const TARGET_DB = 5;

/** What the client says of a volume: its setting, space and inodes. */
async function statusOf(url: string): Promise<{ Setting: { Name: string }; Statistic: object }> {
  const { out } = await mustRun(client!, ["status", url]);
  return JSON.parse(out) as { Setting: { Name: string }; Statistic: object };
}

/** Number of entries in a dump that the client makes of a volume. */
async function entriesOf(url: string): Promise<number> {
  const file = join(temporaryDirectory(), "by-client.json");
  await mustRun(client!, ["dump", url, file, "--keep-secret-key"]);
  return readFileSync(file, "latin1").split('"attr":').length - 1;
}

async function emptyTarget(): Promise<string> {
  const connection = redis!.client(TARGET_DB);
  await connection.flushdb();
  connection.disconnect();
  return redis!.url(TARGET_DB);
}

describe.skipIf(redis === undefined)("the client takes what was made of a server's own data", () => {
  const FORMATS = [
    ["json", []],
    ["binary", ["--binary"]],
  ] as const;
  for (const [format, flags] of FORMATS) {
    test.each(["an RDB file", "a full resync"])(`as a dump (${format}) of %s`, async (way) => {
      await restoreRedisJsonl(redis!.url(SOURCE_DB), fixture("golden/engines/golden.redis.jsonl"));
      const connection = redis!.client();
      await connection.call("SAVE");
      connection.disconnect();
      const rdb = join(temporaryDirectory(), "saved.rdb");
      copyFileSync(join(redis!.directory, "dump.rdb"), rdb);
      const source = way === "an RDB file" ? `rdb://${rdb}?db=${SOURCE_DB}` : redis!.url(SOURCE_DB);
      const snapshot = way === "an RDB file" ? "auto" : "replica";
      const { bytes, report } = await dumpVolume(source, { keepSecretKey: true, format, snapshot });
      expect(report.consistency.pointInTime).toBe(true);
      const file = join(temporaryDirectory(), "dump");
      writeFileSync(file, bytes);
      const target = await emptyTarget();
      await mustRun(client!, ["load", target, file, ...flags]);
      const original = redis!.url(SOURCE_DB);
      expect((await statusOf(target)).Setting).toEqual((await statusOf(original)).Setting);
      expect(await entriesOf(target)).toBe(await entriesOf(original));
      if (format === "json") return;
      // a binary dump is loaded exactly as it is; of names and targets in JSON the client changes some
      expect((await statusOf(target)).Statistic).toEqual((await statusOf(original)).Statistic);
      const [there, here] = await Promise.all([target, original].map((url) => dumpVolume(url, { snapshot: "none" })));
      const treeOf = ({ bytes }: { bytes: Buffer }): Buffer => bytes.subarray(bytes.indexOf('"FSTree"'));
      expectSameBytes(treeOf(there!), treeOf(here!));
    });
  }

  test("as a volume that was migrated from an RDB file", async () => {
    await restoreRedisJsonl(redis!.url(SOURCE_DB), fixture("golden/engines/golden.redis.jsonl"));
    const connection = redis!.client();
    await connection.call("SAVE");
    connection.disconnect();
    const target = newSqliteTarget();
    const source = `rdb://${join(redis!.directory, "dump.rdb")}?db=${SOURCE_DB}`;
    await migrate({ source, target: target.url }, createContext({ env: {} }));
    expect((await statusOf(target.url)).Setting).toEqual((await statusOf(redis!.url(SOURCE_DB))).Setting);
    expect(await entriesOf(target.url)).toBe(await entriesOf(redis!.url(SOURCE_DB)));
  });
});
