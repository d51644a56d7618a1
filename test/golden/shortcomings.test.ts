import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { type PhaseProgress, Progress } from "../../src/base/progress.ts";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { migrate } from "../../src/operations/migrate.ts";
import type { LoadReport } from "../../src/operations/report.ts";
import { runDecant } from "../support/decant.ts";
import { readRedisJsonl, restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** What the reference does wrong, item by item of docs/spec/json-dump.md §13, and decant does not. */

const redis = (await requireRedisServer()) ? await startRedis() : undefined;
const NATIVE = "golden/native/natsqlite.sqlite.db";
const BASE_TEXT = readFileSync(fixture("malformed/base.json"), "utf8");
const TRASH_ROOT = "9223372032828243968";

/** A copy of a SQLite volume with something changed by hand. */
function damaged(name: string, ...statements: string[]): { path: string; url: string } {
  const copy = copySqliteFixture(name);
  const db = new Database(copy.path);
  for (const statement of statements) db.exec(statement);
  db.close();
  return copy;
}

/** base.json with texts replaced; each must be there. */
function edited(...edits: readonly (readonly [text: string, replacement: string])[]): string {
  let text = BASE_TEXT;
  for (const [from, to] of edits) {
    if (!text.includes(from)) throw new Error(`base.json has no ${from}`);
    text = text.replace(from, () => to);
  }
  return document(text);
}

function document(text: string): string {
  const file = join(temporaryDirectory(), "edited.json");
  writeFileSync(file, text);
  return file;
}

/** An empty database of the private server. */
async function redisTarget(): Promise<string> {
  const client = redis!.client();
  await client.flushall();
  client.disconnect();
  return redis!.url(1);
}

/** Addresses of an empty target on each engine that can be had here. */
async function targets(): Promise<string[]> {
  return [newSqliteTarget().url, ...(redis === undefined ? [] : [await redisTarget()])];
}

async function loaded(file: string): Promise<{ path: string; url: string; report: LoadReport }> {
  const target = newSqliteTarget();
  return { ...target, report: await loadVolumeFile(target.url, file) };
}

/** A dump's text with the counter that every load sets to 0. */
async function dumpText(url: string): Promise<string> {
  return (await dumpVolume(url, { keepSecretKey: true })).bytes
    .toString()
    .replace('"nextSession": 0', '"nextSession": 1');
}

const losses = (report: { findings: LoadReport["findings"] }): string[] =>
  report.findings.filter(({ loss }) => loss).map(({ kind }) => kind);

describe("what a dump of the reference does wrong", () => {
  test("13.1 a missing --subdir is an error and creates nothing", async () => {
    const source = copySqliteFixture(NATIVE);
    const before = readFileSync(source.path);
    const file = join(temporaryDirectory(), "dump.json");
    const request = { source: source.url, target: { file }, subdir: "/docs/none/below" };
    await expect(dump(request, createContext())).rejects.toMatchObject({ code: "DECANT_E_NO_PATH" });
    expect(readFileSync(source.path).equals(before)).toBe(true);
    expect(readdirSync(dirname(file))).toEqual([]);
    if (redis === undefined) return;
    const url = await redisTarget();
    await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
    const keys = await readRedisJsonl(url);
    await expect(dumpVolume(url, { subdir: "none" })).rejects.toMatchObject({ code: "DECANT_E_NO_PATH" });
    expect(await readRedisJsonl(url)).toEqual(keys);
  });

  test("13.2 a real U+FFFD comes back from a dump, in names, link targets and xattr values", async () => {
    const source = damaged(
      NATIVE,
      "UPDATE jfs_symlink SET target = x'efbfbd2fefbfbdefbfbd' WHERE inode = (SELECT min(inode) FROM jfs_symlink)",
      "UPDATE jfs_xattr SET value = x'efbfbdff' WHERE rowid = (SELECT min(rowid) FROM jfs_xattr)",
    );
    const file = join(temporaryDirectory(), "dump.json");
    await dump({ source: source.url, target: { file }, keepSecretKey: true }, createContext());
    const { path } = await loaded(file);
    for (const table of ["jfs_edge", "jfs_symlink", "jfs_xattr"]) {
      expect(readTables(path).get(table)).toEqual(readTables(source.path).get(table));
    }
    const names = query(path, "SELECT hex(name) FROM jfs_edge");
    expect(names).toEqual(expect.arrayContaining(["EFBFBD", "EFBFBDEFBFBD78"]));
  });

  test("13.3 an xattr name that is not UTF-8 is a loss in the report of a dump, and none in a migration", async () => {
    const update =
      "UPDATE jfs_xattr SET name = CAST(x'757365722eff' AS TEXT) WHERE rowid = (SELECT min(rowid) FROM jfs_xattr)";
    const source = damaged(NATIVE, update);
    const { report } = await dumpVolume(source.url);
    expect(report.findings).toContainEqual(expect.objectContaining({ kind: "xattr-name", count: 1, loss: true }));
    expect(report.findings.find(({ kind }) => kind === "xattr-name")!.examples[0]).toMatch(/^\//);
    expect((await runDecant(["dump", source.url, join(temporaryDirectory(), "dump.json")])).code).toBe(3);
    const target = newSqliteTarget();
    const migrated = await migrate({ source: source.url, target: target.url }, createContext());
    expect(losses(migrated)).toEqual([]);
    expect(readTables(target.path).get("jfs_xattr")).toEqual(readTables(source.path).get("jfs_xattr"));
  });

  test("13.12 the encryption key stays in a dump, as in the reference's, but decant says so", async () => {
    const warnings: string[] = [];
    const file = join(temporaryDirectory(), "dump.json");
    const logger = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
    const source = copySqliteFixture("encrypted/encaes.sqlite.db").url;
    await dump({ source, target: { file } }, createContext({ logger }));
    const { Setting } = JSON.parse(readFileSync(file, "utf8")) as { Setting: Record<string, string> };
    expect(Setting.SecretKey).toBe("removed");
    expect(Setting.EncryptKey).toMatch(/^[A-Za-z0-9+/=]{1000,}$/);
    expect(warnings).toContainEqual(expect.stringMatching(/^The encryption key stays in the dump/));
  });

  test("13.15 what waits for deletion or is still open is named, for it is not in a JSON dump", async () => {
    const { report } = await dumpVolume(copySqliteFixture(NATIVE).url);
    expect(report.findings).toContainEqual(expect.objectContaining({ kind: "node-without-entry", count: 1 }));
    const { report: after } = await loaded(fixture("golden/dumps/golden.keep.json"));
    expect(after.findings.map(({ kind, text }) => [kind, text.includes("gc --delete")])).toEqual([
      ["sustained-dropped", true],
      ["pending-deletion", true],
      ["link-count", false],
    ]);
  });

  test("13.17 a dump is the volume at one instant, whatever is written meanwhile", async () => {
    const source = damaged(NATIVE, "PRAGMA journal_mode = WAL");
    const before = await dumpVolume(source.url);
    const writer = new Database(source.path);
    const file = join(temporaryDirectory(), "dump.json");
    const progress = new WritingProgress(() => {
      writer.exec("UPDATE jfs_node SET mode = 0, uid = 4242; DELETE FROM jfs_edge WHERE parent > 1");
    });
    const report = await dump({ source: source.url, target: { file } }, createContext({ progress }));
    writer.close();
    expect(progress.phases.map(({ name }) => name)).toContain("Reading inodes");
    expect(report.consistency.pointInTime).toBe(true);
    expect(readFileSync(file).equals(before.bytes)).toBe(true);
    expect((await dumpVolume(source.url)).bytes.equals(before.bytes)).toBe(false);
  });

  test.skipIf(redis === undefined)("13.17 a dump of Redis ends with exit code 3 unless it is one instant", async () => {
    const url = await redisTarget();
    await restoreRedisJsonl(url, fixture("golden/engines/golden.redis.jsonl"));
    const file = join(temporaryDirectory(), "dump.json");
    const { code, out } = await runDecant(["dump", url, file, "--json"]);
    const { consistency } = JSON.parse(out) as { consistency: { pointInTime: boolean; method: string } };
    expect([code, consistency.pointInTime]).toEqual(consistency.pointInTime ? [0, true] : [3, false]);
    expect(consistency.method).toMatch(/^[A-Z].{10,}[^.]$/);
  });

  test("13.19 a dump that is stopped leaves no file behind", async () => {
    const directory = temporaryDirectory();
    const stop = new AbortController();
    const request = { source: copySqliteFixture(NATIVE).url, target: { file: join(directory, "dump.json.gz") } };
    const progress = new WritingProgress(() => stop.abort());
    const context = createContext({ signal: stop.signal, progress, memory: { maxBytes: 2 ** 20, tmpDir: directory } });
    await expect(dump(request, context)).rejects.toMatchObject({ name: "AbortError" });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("13.11 a cycle in the database does not make a dump endless", async () => {
    const edge = (name: string, inode: number) =>
      `INSERT INTO jfs_edge (parent, name, inode, type) VALUES (2, CAST('${name}' AS BLOB), ${inode}, 2)`;
    const { bytes, report } = await dumpVolume(
      damaged("encrypted/plain.sqlite.db", edge("root", 1), edge("self", 2)).url,
    );
    expect(bytes.length).toBeLessThan(10_000);
    expect(report.findings).toContainEqual(
      expect.objectContaining({
        kind: "directory-repeated",
        count: 2,
        examples: ["/dir/root", "/dir/self"],
        loss: true,
      }),
    );
  });

  test("13.22 a negative length, a missing ACL rule and an unknown type end neither a dump nor its truth", async () => {
    const inode = (where: string) => `(SELECT min(inode) FROM jfs_node WHERE ${where})`;
    const length = `UPDATE jfs_node SET length = -5 WHERE inode = ${inode("type = 1 AND length > 0")}`;
    const negative = await dumpVolume(damaged(NATIVE, length).url);
    expect(negative.bytes.length).toBeLessThan(200_000);
    expect(losses(negative.report)).toEqual(["impossible-length"]);
    const acl = await dumpVolume(damaged(NATIVE, "DELETE FROM jfs_acl WHERE id = 1").url);
    expect(losses(acl.report)).toEqual(["missing-acl"]);
    expect(acl.report.findings.find(({ kind }) => kind === "missing-acl")!.examples[0]).toMatch(/^\//);
    const type = await dumpVolume(
      damaged(NATIVE, `UPDATE jfs_node SET type = 9 WHERE inode = ${inode("type = 1")}`).url,
    );
    expect(losses(type.report)).toEqual(["unknown-type"]);
    expect(type.bytes.toString()).toContain('"type":"unknown"');
  });
});

/** Does something once reading has begun: the snapshot is open then. */
class WritingProgress extends Progress {
  readonly #work: () => void;

  constructor(work: () => void) {
    super();
    this.#work = work;
  }

  override begin(...args: Parameters<Progress["begin"]>): PhaseProgress {
    if (args[0] === "Reading inodes") this.#work();
    return super.begin(...args);
  }
}

describe("what a load of the reference does wrong", () => {
  test("13.4 every slice has its true number of references, and holes have none", async () => {
    const { path } = await loaded(fixture("golden/dumps/golden.keep.json"));
    expect(query(path, "SELECT count(*) FROM jfs_chunk_ref WHERE chunkid = 0")).toEqual(["0"]);
    const counts = query(path, "SELECT refs || ' x ' || count(*) FROM jfs_chunk_ref GROUP BY refs ORDER BY refs");
    expect(counts).toEqual(["1 x 232", "2 x 9", "5 x 1"]);
    if (redis === undefined) return;
    const url = await redisTarget();
    await loadVolumeFile(url, fixture("golden/dumps/golden.keep.json"));
    const line = (await readRedisJsonl(url)).find((text) => text.includes('"c2xpY2VSZWY="'))!;
    const fields = (JSON.parse(line) as { value: [string, string][] }).value.map((pair) =>
      pair.map((text) => Buffer.from(text, "base64").toString()),
    );
    expect(fields.filter(([field]) => field!.startsWith("k0_"))).toEqual([]);
    expect(fields.map(([, count]) => count).sort()).toEqual([...Array<string>(9).fill("1"), "4"]);
  });

  test("13.5 what is not known or is null changes nothing else", async () => {
    const plain = BASE_TEXT;
    const file = edited(
      ['  "Sustained": [],', '  "Later": {"a": [1, {"b": "}"}], "c": null},\n  "Sustained": null,'],
      ['  "DelFiles": [],', '  "DelFiles": null,\n  "Others": [[{}], "]"],'],
      ['"user.a","value":"1"}],', '"user.a","value":"1"}],\n "future": {"entries": {"x": {}}}, "more": [1],'],
    );
    const { url, report } = await loaded(file);
    expect(await dumpText(url)).toBe(plain);
    expect(report.findings.map(({ kind }) => kind)).toEqual(["unknown-member"]);
    const empty = edited([
      '      "d1": {',
      '      "d0": {"attr": {"inode":90,"type":"directory","mode":493}, "entries": null},\n      "d1": {',
    ]);
    const lines = (await dumpText((await loaded(empty)).url)).split("\n");
    expect(lines).toEqual(expect.arrayContaining(['      "d0": {', '      "d1": {', '      "d2": {']));
  });

  test("13.6 a dump that ends at a section, without its last brace or with something behind it is refused", async () => {
    const cuts = [
      BASE_TEXT.slice(0, BASE_TEXT.indexOf(',\n  "Trash": {')),
      BASE_TEXT.slice(0, BASE_TEXT.indexOf('  "Trash": {')),
      BASE_TEXT.trimEnd().slice(0, -1),
      `${BASE_TEXT}x`,
      `${BASE_TEXT}${BASE_TEXT}`,
    ];
    for (const cut of cuts) {
      for (const url of await targets())
        await expect(loadVolumeFile(url, document(cut))).rejects.toBeInstanceOf(DataError);
    }
  });

  test("13.7 a missing attr or an unknown type is an error that names the entry, and any order will do", async () => {
    const attribute = /"attr": (\{"inode":4,.*\}),\n/.exec(BASE_TEXT)!;
    await expect(loaded(edited([attribute[0], ""]))).rejects.toMatchObject({ location: { path: "/d1/a.txt" } });
    const unknown = attribute[0].replace("regular", "door");
    await expect(loaded(edited([attribute[0], unknown]))).rejects.toMatchObject({ location: { path: "/d1/a.txt" } });
    const first = /"chunks": (\[\{"index":0,"slices":\[\{"id":1,.*)\n/.exec(BASE_TEXT)!;
    const { url } = await loaded(
      edited([`,\n            ${first[0]}`, "\n"], [attribute[0], `"chunks": ${first[1]}, ${attribute[0]}`]),
    );
    expect(await dumpText(url)).toBe(BASE_TEXT);
  });

  test("13.8 a load that fails leaves the target empty, so that the next one succeeds", async () => {
    for (const url of await targets()) {
      await expect(loadVolumeFile(url, edited(['"symlink": "', '"symlink": 5, "x": "']))).rejects.toThrow();
      if (url.startsWith("sqlite3")) expect(existsSync(url.slice("sqlite3://".length))).toBe(false);
      else expect(await readRedisJsonl(url)).toEqual([]);
      await loadVolumeFile(url, fixture("malformed/base.json"));
      expect(await dumpText(url)).toBe(BASE_TEXT);
    }
  });

  test("13.9 a dump without Setting or without FSTree is refused", async () => {
    for (const name of ["j24-no-setting.json", "j26-no-fstree.json"]) {
      await expect(loaded(fixture(`malformed/${name}`))).rejects.toMatchObject({ code: "DECANT_E_JSON_MISSING" });
    }
    const none = document(BASE_TEXT.replace(/"FSTree": \{[\s\S]*?\n {2}\},/, '"FSTree": null,'));
    await expect(loaded(none)).rejects.toBeInstanceOf(DataError);
  });

  test("13.10 a volume loaded from a partial dump has a trash root", async () => {
    for (const name of ["golden/dumps/golden.skip-trash.json", "golden/dumps/golden.subdir-docs.json"]) {
      const { path, report } = await loaded(fixture(name));
      const root = `SELECT type || ' ' || mode || ' ' || nlink || ' ' || parent FROM jfs_node WHERE inode = ${TRASH_ROOT}`;
      expect(query(path, root)).toEqual(["2 365 2 1"]);
      expect(report.findings).toContainEqual(expect.objectContaining({ kind: "trash-created", loss: false }));
      if (redis === undefined) continue;
      const url = await redisTarget();
      await loadVolumeFile(url, fixture(name));
      const keys = (await readRedisJsonl(url)).map((line) =>
        Buffer.from(JSON.parse(line).key_b64, "base64").toString(),
      );
      expect(keys).toContain(`i${TRASH_ROOT}`);
    }
  });

  test("13.13 one secret is not set while another one would become the text removed", async () => {
    const removed = '"SecretKey": "removed",\n    "SessionToken": "removed",\n    "BlockSize"';
    const { url, path, report } = await loaded(edited(['"BlockSize"', removed]));
    expect(report.nextSteps).toHaveLength(1);
    const before = query(path, "SELECT value FROM jfs_setting");
    const request = { target: url, flags: { secretKey: "new" }, force: true };
    await expect(config(request, createContext({ env: {} }))).rejects.toMatchObject({
      code: "DECANT_E_SECRET_REMOVED",
    });
    expect(query(path, "SELECT value FROM jfs_setting")).toEqual(before);
  });

  test("13.14 numbers that the source had given out are not given out again", async () => {
    const report = await loadVolumeFile(newSqliteTarget().url, fixture("golden/dumps/golden.keep.json"));
    expect(report.counters.source).toMatchObject({ nextInode: 2049n, nextChunk: 4097n, nextTrash: 1n });
    expect(report.counters.loaded).toMatchObject({ nextInode: 2049n, nextChunk: 4097n, nextTrash: 1n });
  });

  test("13.16 the version of a volume is checked before anything is written", async () => {
    for (const url of await targets()) {
      const loading = loadVolumeFile(url, fixture("malformed/j69-setting-meta-version.json"));
      await expect(loading).rejects.toMatchObject({ code: "DECANT_E_CLIENT_VERSION" });
      const context = createContext({ env: {} });
      const source = { file: fixture("malformed/base.json") };
      await load({ target: url, source }, context); // still empty
    }
  });

  test("13.18 and 13.21 fractions before 1970 and times outside 1677 to 2262 are stored exactly", async () => {
    const attribute =
      /"atime":1795416199,"mtime":1795416199,"ctime":1795416199,"atimensec":616794647,"mtimensec":635807988,/;
    const times = '"atime":-5,"mtime":-20000000000,"ctime":10413792000,"atimensec":999999999,"mtimensec":1,';
    const text = BASE_TEXT.replace(attribute, times);
    const first = await loaded(document(text));
    const instants = "SELECT atime, atimensec, mtime, mtimensec, ctime, ctimensec FROM jfs_node WHERE inode = 4";
    const row = readTables(first.path)
      .get("jfs_node")!
      .find((node) => node.startsWith("inode=4 "));
    expect(row).toMatch(
      / atime=-4000000 mtime=-19999999999999999 ctime=10413792000637813 atimensec=-1 mtimensec=-999 ctimensec=957 /,
    );
    // The text of a dump from SQL is the reference's, with a wrapped remainder: it is read back as the same instant.
    const second = await loaded(document(await dumpText(first.url)));
    expect(query(second.path, instants)).toEqual(query(first.path, instants));
    expect(readTables(second.path)).toEqual(readTables(first.path));
    if (redis === undefined) return;
    const url = await redisTarget();
    await loadVolumeFile(url, document(text));
    expect(await dumpText(url)).toBe(text);
  });

  test("13.20 errors have path, line and offset", async () => {
    const file = edited(['"id":3,"size":11', '"id":-3,"size":11']);
    await expect(loaded(file)).rejects.toMatchObject({
      message: expect.stringMatching(/"\/d1\/b\.txt".*line 46/),
      location: { path: "/d1/b.txt", line: 46, offset: expect.any(Number) },
    });
  });

  test("13.21 chunks that stand before attr count as references", async () => {
    const attribute = /"attr": \{"inode":4,.*\},\n/.exec(BASE_TEXT)![0];
    const chunks = /,\n *("chunks": \[\{"index":0,"slices":\[\{"id":1,.*)\n/.exec(BASE_TEXT)!;
    const { path } = await loaded(edited([chunks[0], "\n"], [attribute, `${chunks[1]},\n${attribute}`]));
    expect(query(path, "SELECT refs FROM jfs_chunk_ref WHERE chunkid = 1")).toEqual(["1"]);
  });
});
