import { readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

const FIXTURES = new URL("../../fixtures/", import.meta.url);

export function fixtureText(path: string): string {
  return readFileSync(new URL(path, FIXTURES), "utf8");
}

/** The text of `Setting` in a dump, with its indentation. */
export function dumpedSetting(path: string): string {
  const document = fixtureText(path);
  const start = document.indexOf('"Setting": ') + '"Setting": '.length;
  return document.slice(start, document.indexOf('\n  "Counters"') - 1);
}

/** The setting as it stands in a fixture's database: SQLite file, or keys of Redis or etcd as JSON lines. */
export function storedSetting(path: string): string {
  if (path.endsWith(".db")) return sqliteSetting(new URL(path, FIXTURES).pathname);
  for (const line of fixtureText(path).split("\n")) {
    if (line === "") continue;
    const entry = JSON.parse(line) as { key_b64: string; value?: string; value_b64?: string };
    if (Buffer.from(entry.key_b64, "base64").toString("latin1").endsWith("setting")) {
      return Buffer.from(entry.value_b64 ?? entry.value ?? "", "base64").toString("utf8");
    }
  }
  throw new Error(`no setting in ${path}`);
}

function sqliteSetting(file: string): string {
  const database = new DatabaseSync(`file:${file}?immutable=1`, { readOnly: true });
  try {
    const row = database.prepare("SELECT CAST(value AS TEXT) AS value FROM jfs_setting WHERE name = 'format'").get();
    return row!.value as string;
  } finally {
    database.close();
  }
}
