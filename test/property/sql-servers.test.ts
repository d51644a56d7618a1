import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DecantError } from "../../src/base/errors.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameVolume } from "../support/compare-volumes.ts";
import { databaseOf } from "../support/database-of.ts";
import { requireMysql } from "../support/mysql-server.ts";
import { readMysqlTables } from "../support/mysql-tables.ts";
import { requirePostgres } from "../support/postgres-server.ts";
import { readPostgresTables } from "../support/postgres-tables.ts";
import { dumpText, loadText, newSqlite, quietContext } from "../support/volume-files.ts";
import { volumeRecords } from "../support/volume-model.ts";
import { type InodePlan, type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const mysql = await requireMysql();
const postgres = await requirePostgres();
const MEMORY = 16 * 1024 * 1024;

/** What there is no room for (docs/spec/sql.md §6): then nothing may be left. */
const REFUSALS = ["DECANT_E_UNSUPPORTED_VALUE", "DECANT_E_DUPLICATE"];

/** The same volume with numbers that fit, and with names that no collation takes for one. */
function fitting(plan: VolumePlan): VolumePlan {
  const fitInode = (inode: InodePlan): InodePlan => ({
    ...inode,
    uid: inode.uid & 0x7fff_ffff,
    gid: inode.gid & 0x7fff_ffff,
    rdev: inode.rdev & 0x7fff_ffff,
    xattrs: inode.xattrs.map(({ name, value }, i) => ({ name: `${i}.${name}`, value })),
  });
  return {
    ...plan,
    root: fitInode(plan.root),
    steps: plan.steps.map((step) => ({ ...step, inode: fitInode(step.inode) })),
  };
}

interface SqlServer {
  newDatabase(): Promise<string>;
  readTables(url: string): Promise<Map<string, string[]>>;
}

const SERVERS: readonly (readonly [name: string, server: SqlServer | undefined])[] = [
  [
    "MySQL",
    mysql && {
      newDatabase: async () => mysql.url(await mysql.createDatabase()),
      readTables: (url) => readMysqlTables(mysql, databaseOf(url)),
    },
  ],
  [
    "PostgreSQL",
    postgres && {
      newDatabase: async () => postgres.url(await postgres.createDatabase()),
      readTables: (url) => readPostgresTables(url),
    },
  ],
];

describe.each(SERVERS)("a volume of any content, in %s,", (_, found) => {
  test.skipIf(found === undefined)(
    "comes back byte for byte, by dump and by migration, or is refused without a trace",
    async () => {
      const server = found!;
      const outcomes = { kept: 0, refused: 0 };
      await fc.assert(
        fc.asyncProperty(volumePlans(60), fc.nat(3), async (plan, kind) => {
          const text = await encodeRecords(volumeRecords(kind === 0 ? plan : fitting(plan)), MEMORY);
          const url = await server.newDatabase();
          try {
            await loadText(url, text);
          } catch (error) {
            if (!(error instanceof DecantError) || !REFUSALS.includes(error.code)) throw error;
            expect(await server.readTables(url)).toEqual(new Map());
            outcomes.refused++;
            return;
          }
          outcomes.kept++;
          const { text: dumped, report } = await dumpText(url);
          expect(dumped.toString("latin1")).toBe(text.toString("latin1"));
          expect(report.findings).toEqual([]);
          const between = newSqlite().url;
          await migrate({ source: url, target: between }, quietContext());
          const target = await server.newDatabase();
          await migrate({ source: between, target }, quietContext());
          await expectSameVolume(url, target);
          expect((await dumpText(target)).text.equals(text)).toBe(true);
        }),
        runsOf(20),
      );
      expect(outcomes.kept).toBeGreaterThan(outcomes.refused);
    },
  );
});
