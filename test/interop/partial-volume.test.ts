import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { mountingClient, whileMounted, withBucket } from "../support/mount.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const client = await mountingClient();
const redis = client !== undefined && (await requireRedisServer()) ? await startRedis() : undefined;

const TARGETS: readonly (readonly [name: string, skipped: boolean, url: (db: number) => string])[] = [
  ["SQLite", client === undefined, () => newSqliteTarget().url],
  ["Redis", redis === undefined, (db) => redis!.url(db)],
];

/** The dump, and a file in it by its path in the loaded volume. */
const DUMPS: readonly (readonly [dump: string, file: string[]])[] = [
  ["golden/dumps/golden.skip-trash.json", ["docs", "readme.txt"]],
  ["golden/dumps/golden.subdir-docs.json", ["readme.txt"]],
];

describe.each(TARGETS)("a partial dump loaded into %s", (_, skipped, url) => {
  test.skipIf(skipped).each(DUMPS)("lets files be deleted into the trash: %s", async (dump, file) => {
    const target = url(DUMPS.findIndex(([name]) => name === dump));
    const report = await loadVolumeFile(target, withBucket(fixture(dump), `${temporaryDirectory()}/`));
    // Without this step, which the report asks for, the volume cannot be mounted: its secret was taken out of the dump.
    expect(report.nextSteps).toEqual([expect.stringMatching(/decant config .* --secret-key SECRET$/)]);
    await config({ target, flags: { secretKey: "new secret" }, force: true }, createContext({ env: {} }));
    await whileMounted(client!, target, async (directory) => {
      // After a load by the reference this fails: its volume has no trash root (docs/spec/json-dump.md §13.10).
      rmSync(join(directory, ...file));
      const hours = readdirSync(join(directory, ".trash"));
      expect(hours).toHaveLength(1);
      expect(readdirSync(join(directory, ".trash", hours[0]!))).toEqual([
        expect.stringMatching(/^\d+-\d+-readme\.txt$/),
      ]);
    });
  });
});
