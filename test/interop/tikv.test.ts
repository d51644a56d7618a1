import { readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { migrate } from "../../src/operations/migrate.ts";
import { expectSameBytes } from "../golden/compare-bytes.ts";
import { REPLACEMENT_CHARACTERS, withPermittedDifferences } from "../golden/permitted-differences.ts";
import { type ListedEntry, listMount, mountingClient, whileMounted } from "../support/mount.ts";
import { fixture } from "../support/repository.ts";
import { mustRun } from "../support/run-command.ts";
import { type DumpOptions, dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";

const client = await mountingClient();
const server = client === undefined ? undefined : await requireTikvCluster({ stores: 2 });

const DUMPS: readonly (readonly [flags: string[], options: DumpOptions])[] = [
  [[], {}],
  [["--keep-secret-key"], { keepSecretKey: true }],
  [["--skip-trash"], { skipTrash: true }],
  [["--subdir", "/docs"], { subdir: "/docs" }],
];

async function divide(prefix: string): Promise<string> {
  for (const key of ["A\x02", "A\x10", "D", "U"]) await server!.split(Buffer.from(`${prefix}\xfd${key}`, "latin1"));
  return server!.url(prefix);
}

describe.skipIf(server === undefined)("a volume that the reference made and mounted on TiKV", () => {
  let url = "";
  let original: ListedEntry[] = [];

  beforeAll(async () => {
    if (server === undefined) return;
    url = await divide("native");
    const options = ["--storage", "file", "--bucket", `${temporaryDirectory()}/`, "--enable-acl", "--trash-days", "3"];
    await mustRun(client!, ["format", ...options, "--secret-key", "not so secret", url, "native"]);
    await mustRun(client!, ["config", url, "--user-group-quota", "--yes"]);
    await mustRun(client!, ["quota", "set", url, "--path", "/docs", "--create", "--capacity", "1", "--inodes", "1000"]);
    await whileMounted(client!, url, async (directory) => {
      const env = { PATH: `${dirname(client!)}${delimiter}${process.env.PATH}` };
      await mustRun("python3", [fixture("scripts/populate.py"), directory], { env });
      original = await listMount(directory);
    });
  });

  test.each(DUMPS)("is dumped to the reference's bytes with %o", async (flags, options) => {
    const { bytes, report } = await dumpVolume(url, options);
    expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
    const file = join(temporaryDirectory(), "dump.json");
    await mustRun(client!, ["dump", ...flags, url, file]);
    const reference = readFileSync(file);
    expectSameBytes(
      bytes,
      flags[0] === "--subdir" ? reference : withPermittedDifferences(reference, REPLACEMENT_CHARACTERS),
    );
  });

  test("went to SQLite and back, and is mounted with every entry and byte it had", async () => {
    const sqlite = newSqliteTarget();
    const back = await divide("back");
    await migrate({ source: url, target: sqlite.url }, createContext());
    await migrate({ source: sqlite.url, target: back }, createContext());
    let entries: ListedEntry[] = [];
    await whileMounted(client!, back, async (directory) => {
      entries = await listMount(directory);
    });
    expect(entries.map(withoutMountTimes)).toEqual(original.map(recounted).map(withoutMountTimes));
    const check = await mustRun(client!, ["fsck", back, "--path", "/", "--recursive"]);
    expect(check.err).not.toMatch(/<ERROR>/);
  });
});

/** A clone of a hard-linked symlink has 2 links, of which one is not there (test/fixtures/golden/README.md). */
function recounted(entry: ListedEntry): ListedEntry {
  return /^\/clones\/links\/rel(-hardlink)?$/.test(entry.path ?? "") ? { ...entry, nlink: 1 } : entry;
}

/** The times of the trash root are those of the mount, and reading sets access times. */
function withoutMountTimes({ atime_ns: _, ...entry }: ListedEntry): object {
  return entry.path === "/.trash" ? { ...entry, mtime_ns: 0, ctime_ns: 0 } : entry;
}
