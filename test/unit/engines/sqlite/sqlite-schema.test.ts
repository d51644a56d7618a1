import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SQL_TABLES } from "../../../../src/engines/sql/schema.ts";
import { createIndexSql, createTableSql } from "../../../../src/engines/sqlite/sqlite-schema.ts";
import { REPOSITORY } from "../../../support/repository.ts";

const statements = (prefix: string): string[] =>
  SQL_TABLES.flatMap((table) => [createTableSql(table, prefix), ...createIndexSql(table, prefix)]);

test("the tables and indexes are those of the specification, to the letter and in its order", () => {
  const text = readFileSync(join(REPOSITORY, "docs/spec/sql.md"), "utf8");
  const start = text.indexOf("CREATE TABLE `jfs_setting`");
  const specified = text.slice(start, text.indexOf("```", start)).trimEnd();
  expect(
    statements("")
      .map((sql) => `${sql};`)
      .join("\n"),
  ).toBe(specified);
});

test("a table prefix is used verbatim in tables and indexes", () => {
  expect(statements("Abc").filter((sql) => sql.includes("edge"))).toEqual([
    "CREATE TABLE `jfs_Abc_edge` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `parent` INTEGER NOT NULL, `name` BLOB NOT NULL, `inode` INTEGER NOT NULL, `type` INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX `UQE_jfs_Abc_edge_edge` ON `jfs_Abc_edge` (`parent`,`name`)",
    "CREATE INDEX `IDX_jfs_Abc_edge_inode` ON `jfs_Abc_edge` (`inode`)",
  ]);
});
