import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import type { CommandResult } from "../support/run-command.ts";
import { STACK_TRACE } from "../support/running-decant.ts";
import { mountSmallDisk, type SmallDisk } from "../support/small-disk.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { loadText, newSqlite } from "../support/volume-files.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const disks: SmallDisk[] = [];

afterEach(() => {
  for (const disk of disks.splice(0)) disk.unmount();
});

function smallDisk(context: { skip: (note?: string) => never }, size: string): SmallDisk {
  const disk = mountSmallDisk(size, "full disks");
  if (disk === undefined) return context.skip("no small file system");
  disks.push(disk);
  return disk;
}

const text: Buffer = await wideVolumeText(20_000);
const dumpFile: string = join(temporaryDirectory(), "dump.json");
writeFileSync(dumpFile, text);
const source = newSqlite();
await loadText(source.url, text);

async function fails(args: readonly string[], code: number, message: RegExp): Promise<CommandResult> {
  const result = await runDecant(args);
  expect({ code: result.code, err: result.err }).toEqual({ code, err: expect.stringMatching(message) });
  expect(result.err).not.toMatch(STACK_TRACE);
  return result;
}

describe("a full disk", () => {
  test.for(["dump.json", "dump.json.gz"])("stops a dump into %s, of which nothing stays", async (name, context) => {
    const disk = smallDisk(context, "100k");
    const file = join(disk.directory, name);
    await fails(["dump", source.url, file], 7, /ENOSPC|[Nn]o space/);
    expect(readdirSync(disk.directory)).toEqual([]);
  });

  test("leaves the file that a dump would have replaced", async (context) => {
    const disk = smallDisk(context, "100k");
    const file = join(disk.directory, "dump.json");
    writeFileSync(file, "the dump before");
    await fails(["dump", source.url, file], 7, /ENOSPC|[Nn]o space/);
    expect(readdirSync(disk.directory)).toEqual(["dump.json"]);
    expect(readFileSync(file, "utf8")).toBe("the dump before");
  });

  test("stops a load into SQLite, of which nothing stays", async (context) => {
    const disk = smallDisk(context, "1m");
    await fails(["load", `sqlite3://${join(disk.directory, "volume.db")}`, dumpFile], 7, /full|ENOSPC|[Nn]o space/);
    expect(readdirSync(disk.directory)).toEqual([]);
  });

  test("stops a format of a new SQLite file, of which nothing stays", async (context) => {
    const disk = smallDisk(context, "24k");
    const bucket = `${temporaryDirectory()}/`;
    const url = `sqlite3://${join(disk.directory, "volume.db")}`;
    await fails(["format", url, "myvol", "--bucket", bucket], 7, /full|I\/O error|ENOSPC|[Nn]o space/);
    expect(readdirSync(disk.directory)).toEqual([]);
  });

  test("for temporary files stops dumps and loads and is named", async (context) => {
    const disk = smallDisk(context, "100k");
    const limits = ["--max-memory", "1M", "--tmp-dir", disk.directory];
    const output = temporaryDirectory();
    const message = new RegExp(`temporary file in ${disk.directory}.*ENOSPC`);
    const dumped = await fails(["dump", source.url, join(output, "dump.json"), ...limits], 7, message);
    expect(dumped.err).toContain("--tmp-dir");
    expect(readdirSync(output)).toEqual([]);
    const target = newSqlite();
    const large = join(output, "large.json");
    writeFileSync(large, await wideVolumeText(100_000));
    await fails(["load", target.url, large, ...limits], 7, message);
    expect(target.files()).toEqual([]);
    expect(readdirSync(disk.directory)).toEqual([]);
  });

  test("behind stdout is an error", async () => {
    await fails(["dump", source.url, "/dev/full"], 7, /ENOSPC|[Nn]o space/);
  });
});

describe("a directory that cannot be written", () => {
  test("refuses dumps, loads and temporary files, each with its name", async (context) => {
    const directory = readOnlyDirectory(context);
    await fails(["dump", source.url, join(directory, "dump.json")], 7, /EROFS|EACCES|[Rr]ead-only|denied/);
    const url = `sqlite3://${join(directory, "volume.db")}`;
    await fails(["load", url, dumpFile], 7, /volume\.db/);
    expect(readdirSync(directory)).toEqual([]);
    const limits = ["--max-memory", "1M", "--tmp-dir", directory];
    await fails(["dump", source.url, join(temporaryDirectory(), "d.json"), ...limits], 7, /temporary file in/);
  });

  /** For root, rights do not count: then it is a file system that is mounted read-only. */
  function readOnlyDirectory(context: { skip: (note?: string) => never }): string {
    if (process.getuid?.() !== 0) {
      const directory = join(temporaryDirectory(), "read-only");
      mkdirSync(directory);
      chmodSync(directory, 0o555);
      return directory;
    }
    const disk = smallDisk(context, "100k");
    disk.makeReadOnly();
    return disk.directory;
  }
});

describe("a SQLite database that another program holds locked", () => {
  test("is not loaded into, and stays as it is", async () => {
    const target = newSqlite();
    const emptied = new Database(target.path);
    emptied.exec("CREATE TABLE gone (x); DROP TABLE gone");
    emptied.close();
    // Reading the file in this process while it is held would end the lock: so POSIX wants it.
    const before = readFileSync(target.path);
    const holder = new Database(target.path);
    holder.exec("BEGIN EXCLUSIVE");
    try {
      const { err } = await fails(["load", target.url, dumpFile], 7, /locked|in use/);
      expect(err).toContain("volume.db");
      expect(target.files().filter((name) => name.includes("decant"))).toEqual([]);
    } finally {
      holder.close();
    }
    expect(readFileSync(target.path).equals(before)).toBe(true);
    const { code, err } = await runDecant(["load", target.url, dumpFile]);
    expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
    expect(statSync(target.path).size).toBeGreaterThan(1_000_000);
  });

  test("is not dumped, and no file appears", async () => {
    const locked = newSqlite();
    await loadText(locked.url, text);
    const holder = new Database(locked.path);
    holder.pragma("locking_mode = EXCLUSIVE");
    holder.exec("BEGIN EXCLUSIVE");
    try {
      const file = join(temporaryDirectory(), "dump.json");
      await fails(["dump", locked.url, file], 7, /locked|in use/);
      expect(existsSync(file)).toBe(false);
    } finally {
      holder.close();
    }
  });
});
