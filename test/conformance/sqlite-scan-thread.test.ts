import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { ScanThread } from "../../src/engines/sqlite/scan-thread.ts";
import { openReader } from "../../src/engines/sqlite/sqlite-connection.ts";
import type { FlatKind } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { NODE } from "../support/decant.ts";
import { recordTexts } from "../support/reference-binary-dump.ts";
import { REPOSITORY } from "../support/repository.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";

const signal = new AbortController().signal;
const context = { logger: silentLogger, signal, env: {} };
const NATIVE = "golden/native/natsqlite.sqlite.db";

async function readAll(url: string): Promise<Record<string, string[]>> {
  const snapshot = await (await openStore(url, context)).openSnapshot(context);
  try {
    const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
    return Object.fromEntries(
      [...ENGINE_KINDS].map((kind) => [kind, recordTexts(records.get(kind as FlatKind) ?? [])]),
    );
  } finally {
    await snapshot.close();
  }
}

/** Makes a database so large that its tables are read on a thread of their own. */
function addBallast(path: string): void {
  const db = new Database(path);
  db.exec("CREATE TABLE ballast (x BLOB); INSERT INTO ballast VALUES (zeroblob(17000000))");
  db.close();
}

describe("tables read on another thread", () => {
  test("give the records that they give without", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    const small = await readAll(url);
    expect(ScanThread.startFor(path)).toBeUndefined();
    addBallast(path);
    const thread = ScanThread.startFor(path);
    expect(thread).toBeDefined();
    await thread?.close();
    expect(await readAll(url)).toEqual(small);
    expect(small.node?.length).toBeGreaterThan(100);
  });

  test("report what is wrong with the file", async () => {
    const { path, url } = copySqliteFixture(NATIVE);
    addBallast(path);
    const db = new Database(path);
    db.pragma("journal_mode = DELETE");
    const root = db.prepare("SELECT rootpage FROM sqlite_master WHERE name = 'jfs_node'").pluck().get() as number;
    const pageBytes = db.pragma("page_size", { simple: true }) as number;
    db.close();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, (root - 1) * pageBytes, root * pageBytes);
    writeFileSync(path, bytes);
    await expect(readAll(url)).rejects.toMatchObject({ name: "DataError", code: "DECANT_E_CORRUPT_DATABASE" });
  });

  test("see the state that the main connection sees, while others commit", async () => {
    const { path } = copySqliteFixture(NATIVE);
    const setUp = new Database(path);
    setUp.pragma("journal_mode = WAL");
    setUp.exec("CREATE TABLE tick (id INTEGER PRIMARY KEY)");
    setUp.close();
    const writer = spawn(NODE, ["-e", WRITER, path], { cwd: REPOSITORY, stdio: ["ignore", "pipe", "inherit"] });
    await once(writer.stdout, "data");
    const db = openReader(path);
    const thread = ScanThread.startFor(path, 0)!;
    const count = db.prepare("SELECT count(*) FROM tick").pluck();
    const seen = new Set<bigint>();
    let joined = 0;
    try {
      for (let round = 0; round < 40; round++) {
        const together = await thread.beginWith(path, () => {
          if (db.inTransaction) db.exec("ROLLBACK");
          db.exec("BEGIN");
          count.get();
        });
        const query = "SELECT CAST(group_concat(id, ' ') AS BLOB), count(*), max(id) FROM tick WHERE id >= ?";
        let rows = 0;
        for await (const page of thread.pages(query)) rows += page.rows;
        if (!together) continue;
        joined++;
        await sleep(2);
        expect(BigInt(rows)).toBe(count.get());
        seen.add(count.get() as bigint);
      }
    } finally {
      await thread.close();
      db.close();
      writer.kill("SIGKILL");
    }
    expect(joined).toBeGreaterThan(30);
    // The writer did write meanwhile.
    expect(seen.size).toBeGreaterThan(10);
  });
});

/** Commits one row after the other, with a pause of about a millisecond, and tells when it has begun. */
const WRITER = `
  const db = new (require("better-sqlite3"))(process.argv[1]);
  db.pragma("synchronous = OFF");
  const insert = db.prepare("INSERT INTO tick DEFAULT VALUES");
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; ; i++) {
    insert.run();
    if (i === 10) require("node:fs").writeSync(1, "begun");
    Atomics.wait(pause, 0, 0, 1);
  }`;
