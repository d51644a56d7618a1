import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isIncomplete } from "../../src/cli/report-json.ts";
import type { LoadReport } from "../../src/operations/report.ts";
import { realClient } from "../support/real-client.ts";
import { readRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { mustRun } from "../support/run-command.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { query, readCatalog, readTables } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import {
  comparableLines,
  dumpFacts,
  expectedKeys,
  expectedTables,
  removeTrashRoot,
  TRASH_ROOT,
} from "./reference-load.ts";

const client = await realClient();
const redis = (await requireRedisServer()) ? await startRedis() : undefined;
/** Databases of the private Redis: decant loads into the one, the reference into the other. */
const [OURS, THEIRS] = [1, 2];

const PASSPHRASE = readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim();

interface Dump {
  readonly file: string;
  /** For backup objects of encrypted volumes. */
  readonly cipher?: string;
}

const DUMPS: readonly Dump[] = [
  { file: "golden/dumps/golden.keep.json" },
  { file: "golden/dumps/golden.json.gz" },
  { file: "golden/dumps/golden.skip-trash.json" },
  { file: "golden/dumps/golden.subdir-docs.json" },
  { file: "golden/native/natsqlite.keep.json" },
  { file: "golden/native/natpg.keep.json" },
  { file: "golden/native/natetcd.keep.json" },
  { file: "golden/native/natbadger.skip-trash.json" },
  { file: "golden/native/awkward.keep.json" },
  { file: "golden/changelog/chlogsqlite.json" },
  { file: "golden/changelog/chlogredis.json" },
  { file: "golden/changelog/chlogpg.json" },
  { file: "golden/changelog/chlogetcd.json" },
  { file: "legacy/legacy-1-3-0.keep.json" },
  { file: "legacy/legacy-1-3-1.json" },
  { file: "legacy/legacy-1-3-0.subdir.json" },
  { file: "legacy/ancient.by-1.4.2.json" },
  { file: "encrypted/encaes.json" },
  { file: "encrypted/encchacha.removed.json" },
  { file: "encrypted/objects/encaes/meta/dump-2026-11-23-064825.json.gz", cipher: "aes256gcm-rsa" },
  { file: "encrypted/objects/encchacha/meta/dump-2026-11-23-064854.json.gz", cipher: "chacha20-rsa" },
  { file: "encrypted/objects/plain/meta/dump-2026-11-23-064923.json.gz" },
  { file: "malformed/base.json" },
];

/** Inodes whose entry in the tree changes by a load: the link counts of a cloned hard-linked symlink, 2 natively. */
const RECOUNTED: Readonly<Record<string, readonly string[]>> = {
  "golden/dumps/golden.keep.json": ["1369", "1377"],
  "golden/native/natsqlite.keep.json": ["1274", "1275"],
  "golden/native/natpg.keep.json": ["1277", "1278"],
  "golden/native/natetcd.keep.json": ["1271", "1272"],
  "golden/changelog/chlogsqlite.json": [],
  "encrypted/encaes.json": [],
  "legacy/ancient.by-1.4.2.json": [],
  "malformed/base.json": [],
};

const KEY_FILE = fixture("encrypted/key-traditional-encrypted.pem");

function loadByDecant(url: string, { file, cipher }: Dump): Promise<LoadReport> {
  const decryption = cipher === undefined ? {} : { decryption: { keyFile: KEY_FILE, algorithm: cipher } };
  return loadVolumeFile(url, fixture(file), { ...decryption, env: { JFS_RSA_PASSPHRASE: PASSPHRASE } });
}

async function loadByReference(url: string, { file, cipher }: Dump): Promise<void> {
  const decryption = cipher === undefined ? [] : ["--encrypt-rsa-key", KEY_FILE, "--encrypt-algo", cipher];
  await mustRun(client!, ["load", url, fixture(file), ...decryption], { env: { JFS_RSA_PASSPHRASE: PASSPHRASE } });
}

/** A dump by the reference client. */
async function dumpByReference(url: string): Promise<Buffer> {
  const file = join(temporaryDirectory(), "dump.json");
  await mustRun(client!, ["dump", "--keep-secret-key", url, file]);
  return readFileSync(file);
}

/** The document of an encrypted object is the volume's own dump beside it, but for what happened later. */
function factsOf({ file, cipher }: Dump): ReturnType<typeof dumpFacts> {
  return dumpFacts(fixture(cipher === undefined ? file : file.replace(/objects\/(\w+)\/.*/, "$1.json")));
}

async function emptyRedis(): Promise<void> {
  const connection = redis!.client();
  await connection.flushall();
  connection.disconnect();
}

describe.skipIf(client === undefined)("a volume loaded into SQLite", () => {
  test.each(DUMPS)("has the rows of the reference's load of $file, and its dump", async (dump) => {
    const [ours, theirs] = [newSqliteTarget(), newSqliteTarget()];
    await loadByDecant(ours.url, dump);
    await loadByReference(theirs.url, dump);
    const facts = factsOf(dump);
    const rows = readTables(ours.path);
    if (!facts.hasTrash) removeTrashRoot(rows);
    for (const [table, expected] of expectedTables(readTables(theirs.path), facts)) {
      expect([table, rows.get(table)]).toEqual([table, expected]);
    }
    expect(readCatalog(ours.path)).toEqual(readCatalog(theirs.path));
    const dumps = [await dumpByReference(ours.url), await dumpByReference(theirs.url)];
    const [got, wanted] = dumps.map((bytes) => comparableLines(bytes, facts));
    expect(got).toEqual(wanted);
  });
});

describe.skipIf(client === undefined || redis === undefined)("a volume loaded into Redis", () => {
  test.each(DUMPS)("has the keys of the reference's load of $file, and its dump", async (dump) => {
    await emptyRedis();
    const [ours, theirs] = [redis!.url(OURS), redis!.url(THEIRS)];
    await loadByDecant(ours, dump);
    await loadByReference(theirs, dump);
    const facts = factsOf(dump);
    const rootKey = Buffer.from(`i${TRASH_ROOT}`).toString("base64");
    const keys = await readRedisJsonl(ours);
    const compared = facts.hasTrash ? keys : keys.filter((line) => !line.includes(`"${rootKey}"`));
    expect(compared.length).toBe(keys.length - (facts.hasTrash ? 0 : 1));
    expect(compared).toEqual(expectedKeys(await readRedisJsonl(theirs), facts));
    const dumps = [await dumpByReference(ours), await dumpByReference(theirs)];
    const [got, wanted] = dumps.map((bytes) => comparableLines(bytes, { ...facts, oddTimes: new Set() }));
    expect(got).toEqual(wanted);
  });
});

describe("without the reference client, a loaded volume", () => {
  test("has the rows of the fixture that the reference made of the same dump", async () => {
    const ours = newSqliteTarget();
    const dump = "golden/dumps/golden.keep.json";
    await loadVolumeFile(ours.url, fixture(dump));
    const rows = readTables(ours.path);
    const theirs = readTables(fixture("golden/engines/golden-json.sqlite.db"));
    for (const [table, expected] of expectedTables(theirs, dumpFacts(fixture(dump)))) {
      expect([table, rows.get(table)]).toEqual([table, expected]);
    }
  });

  test.skipIf(redis === undefined)(
    "has the keys of the fixtures that the reference made of the same dumps",
    async () => {
      for (const [dump, loaded] of [
        ["golden/dumps/golden.keep.json", "golden/engines/golden-json.redis.jsonl"],
        ["legacy/legacy-1-3-0.keep.json", "legacy/legacy-1-3-0.redis-loaded.jsonl"],
        ["legacy/legacy-1-3-1.keep.json", "legacy/legacy-1-3-1.redis-loaded.jsonl"],
      ] as const) {
        await emptyRedis();
        await loadVolumeFile(redis!.url(OURS), fixture(dump));
        const theirs = readFileSync(fixture(loaded), "utf8").trimEnd().split("\n");
        const setting = (lines: string[]) => lines.filter((line) => !line.startsWith('{"key_b64": "c2V0dGluZw=="'));
        const expected = expectedKeys(theirs, dumpFacts(fixture(dump)));
        // 1.3 knows no tiers: its setting is that of its time (test/fixtures/legacy/README.md).
        const all = dump.startsWith("legacy") ? setting : (lines: string[]) => lines;
        expect(all(await readRedisJsonl(redis!.url(OURS)))).toEqual(all(expected));
      }
    },
  );

  test.each(Object.entries(RECOUNTED))("is dumped to the trees it was loaded from: %s", async (file, recounted) => {
    const target = newSqliteTarget();
    await loadVolumeFile(target.url, fixture(file));
    const { bytes } = await dumpVolume(target.url, { keepSecretKey: true });
    const [got, wanted] = [treeLines(bytes), treeLines(readFileSync(fixture(file)))];
    const differing = wanted.filter((line, i) => line !== got[i]);
    expect(differing.map((line) => /"inode":(\d+)/.exec(line)?.[1] ?? line)).toEqual(recounted);
    expect(got.length).toBe(wanted.length);
  });

  test("gets a database of its own: nothing of other volumes is touched", async () => {
    const target = newSqliteTarget();
    await loadVolumeFile(target.url, fixture("malformed/base.json"));
    const before = readTables(target.path);
    await expect(loadVolumeFile(target.url, fixture("malformed/base.json"))).rejects.toMatchObject({
      code: "DECANT_E_NOT_EMPTY",
    });
    expect(readTables(target.path)).toEqual(before);
    expect(query(target.path, "PRAGMA integrity_check")).toEqual(["ok"]);
  });

  test("is reported: nothing was lost, and what is to be done next", async () => {
    const report = await loadVolumeFile(newSqliteTarget().url, fixture("golden/dumps/golden.json"));
    expect(isIncomplete(report)).toBe(false);
    expect(report.findings.map(({ kind, count }) => `${kind} ${count}`)).toEqual([
      "sustained-dropped 1",
      "pending-deletion 1",
      "link-count 2",
    ]);
    expect(report.nextSteps).toHaveLength(1);
    expect(report.nextSteps[0]).toContain("--secret-key");
  });
});

function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}
