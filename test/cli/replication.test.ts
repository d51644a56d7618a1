import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const redis = (await requireRedisServer())
  ? await startRedis({ args: ["--repl-diskless-sync-delay", "0"] })
  : undefined;
afterAll(() => redis?.stop());

const GOLDEN = "golden/engines/golden.redis.jsonl";

describe.skipIf(redis === undefined)("dump --snapshot", () => {
  test("replica, tracking and auto give one instant and end with 0, none says that it does not and ends with 0 too", async () => {
    await restoreRedisJsonl(redis!.url(), fixture(GOLDEN));
    const directory = temporaryDirectory();
    const files: Buffer[] = [];
    for (const method of ["replica", "tracking", "auto", "none"]) {
      const file = join(directory, `${method}.json`);
      const run = await runDecant(["dump", redis!.url(), file, "--snapshot", method, "--json", "--manifest"]);
      expect([method, run.code]).toEqual([method, 0]);
      const { consistency } = JSON.parse(run.out) as { consistency: Record<string, unknown> };
      expect(consistency).toMatchObject(
        method === "none" ? { pointInTime: false, asked: true } : { pointInTime: true },
      );
      const isTracked = method === "tracking" || method === "auto";
      const tracking = isTracked ? { rereadKeys: 0, rounds: 1, heldMs: 0 } : undefined;
      expect([method, consistency.tracking]).toEqual([method, tracking]);
      const manifest = JSON.parse(readFileSync(`${file}.manifest.json`, "utf8")) as typeof consistency;
      expect(manifest.consistency).toEqual(consistency);
      files.push(readFileSync(file));
    }
    for (const file of files) expect(file.equals(files[0]!)).toBe(true);
  });

  test("holds for other commands too: with none a migration and a comparison end with 0", async () => {
    const source = redis!.url(3);
    expect((await runDecant(["load", source, fixture("golden/dumps/golden.keep.json")])).code).toBe(0);
    const copy = `sqlite3://${join(temporaryDirectory(), "copy.db")}`;
    for (const method of ["none", "auto"]) {
      const choice = ["--snapshot", method, "--max-pause", "0"];
      const migrated = await runDecant(["migrate", source, method === "none" ? copy : `${copy}2`, ...choice]);
      expect([method, migrated.code]).toEqual([method, 0]);
      const compared = await runDecant(["diff", source, copy, ...choice]);
      expect([method, compared.code, compared.err]).toEqual([method, 0, expect.not.stringContaining("NOT one")]);
    }
  });

  test.each([
    [["--max-pause", "soon"], /Invalid value "soon" for "max-pause": 0, or up to 1m/],
    [["--snapshot", "magic"], /must be auto, tracking, replica or none/],
    [["--snapshot", "replica", "--subdir", "/docs"], /--snapshot replica takes no --subdir/],
  ])("%j is refused", async (options, message) => {
    const file = join(temporaryDirectory(), "x.json");
    const run = await runDecant(["dump", redis!.url(), file, ...options]);
    expect([run.code, existsSync(file)]).toEqual([2, false]);
    expect(run.err).toMatch(message);
  });
});

describe.skipIf(redis === undefined)("an RDB file", () => {
  test("is dumped with 0, and refused as a target with 2", async () => {
    await restoreRedisJsonl(redis!.url(), fixture(GOLDEN));
    const client = redis!.client();
    await client.call("SAVE");
    client.disconnect();
    const directory = temporaryDirectory();
    const rdb = join(directory, "saved.rdb");
    copyFileSync(join(redis!.directory, "dump.rdb"), rdb);
    const dumped = await runDecant(["dump", `rdb://${rdb}`, join(directory, "x.json")]);
    expect(dumped.code).toBe(0);
    expect(dumped.err).toMatch(/consistent as of .*: An RDB file is the database as of the moment/);
    const loaded = await runDecant(["load", `rdb://${rdb}`, join(directory, "x.json")]);
    expect([loaded.code, loaded.out]).toEqual([2, ""]);
    expect(loaded.err).toMatch(/is an RDB file, which can only be read\n {2}hint: /);
  });

  test.each([
    ["rdb:///does/not/exist.rdb", 4, /There is no file \/does\/not\/exist.rdb/],
    ["rdb://", 2, /names no file/],
    ["rdb:///x?database=1", 2, /Unknown parameter .*: database/],
    ["rdb:///x?db=one", 2, /Invalid database number .*"one"/],
    ["rdb:///", 7, /\/ is no file/],
    [`rdb://${fixture(GOLDEN)}`, 6, /is no RDB file: it begins with/],
  ])("is not taken from %s", async (address, code, message) => {
    const run = await runDecant(["dump", address, join(temporaryDirectory(), "x.json")]);
    expect(run.code).toBe(code);
    expect(run.err).toMatch(message);
  });
});
