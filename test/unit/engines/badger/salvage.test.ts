import { appendFileSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { DataError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { pairsOf } from "../../../../src/engines/kv/kv-page.ts";
import type { KvLoss } from "../../../../src/engines/kv/kv-store.ts";
import { ALL_KEYS, badgerStore, readBadgerLines, unpackBadger } from "../../../support/badger-directory.ts";
import { mustRun } from "../../../support/run-command.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";
import { lines, transaction, writeLog, writeManifest, writeTable } from "./directory.ts";

interface Read {
  readonly lines: string[];
  /** Keys, or sentences without the directory. */
  readonly losses: string[];
}

async function salvage(directory: string): Promise<Read> {
  const losses = new Set<string>();
  const onLoss = ({ key, message }: KvLoss): void => {
    const text = message.replaceAll(directory, "DIR");
    losses.add(key === undefined ? text : `${key.toString("latin1")}: ${text}`);
  };
  const signal = new AbortController().signal;
  const snapshot = await badgerStore(directory).openSnapshot({ signal, logger: silentLogger, onLoss });
  try {
    const found: string[] = [];
    for await (const page of snapshot.scan(ALL_KEYS)) {
      for (const [key, value] of pairsOf(page)) found.push(`${key.toString("hex")} ${value.toString("hex")}`);
    }
    return { lines: found, losses: [...losses] };
  } finally {
    await snapshot.close();
  }
}

const CONSEQUENCE =
  "A part of DIR is lost: older values may stand in for what was lost, and deleted things may be back";

function overwrite(path: string, offset: number, bytes: Buffer): void {
  const all = readFileSync(path);
  bytes.copy(all, offset < 0 ? all.length + offset : offset);
  writeFileSync(path, all);
}

function tablesOf(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".sst"))
    .sort();
}

/** Keys in hex. */
function keysOf(list: readonly string[]): Set<string> {
  return new Set(list.map((line) => line.slice(0, line.indexOf(" "))));
}

describe.each(["none", "snappy", "zstd"])("a damaged directory whose tables are %s", (name) => {
  let original: string;
  let whole: string[];
  beforeAll(async () => {
    original = await unpackBadger("badger/databases.tar.gz", name);
    whole = await readBadgerLines(original);
  });

  async function copy(): Promise<string> {
    const directory = join(temporaryDirectory(), "copy");
    await mustRun("cp", ["-a", "--sparse=always", original, directory]);
    return directory;
  }

  test("gives all, and no loss, where nothing is damaged", async () => {
    expect(await salvage(original)).toEqual({ lines: whole, losses: [] });
  });

  test("loses a block that is damaged, of each table, and nothing else", async () => {
    const directory = await copy();
    const tables = tablesOf(directory);
    for (const table of tables) overwrite(join(directory, table), 5000, Buffer.alloc(16, 0xee));
    await expect(readBadgerLines(directory)).rejects.toThrow(DataError);
    const found = await salvage(directory);
    const blocks = found.losses.filter((loss) => loss !== CONSEQUENCE);
    expect(found.losses).toContain(CONSEQUENCE);
    expect(blocks).toHaveLength(tables.length);
    for (const loss of blocks) {
      expect(loss).toMatch(
        /^DIR\/\d{6}\.sst is damaged at offset \d+: .*: what stands from key .* to (key .*|the end of the table) is lost$/,
      );
    }
    // some 30 pairs stand in a block
    const left = keysOf(found.lines);
    const missing = [...keysOf(whole)].filter((key) => !left.has(key));
    expect(missing.length).toBeGreaterThan(0);
    expect(missing.length).toBeLessThan(120 * tables.length);
  });

  test("finds the blocks of a table whose index is damaged, where it can", async () => {
    const directory = await copy();
    for (const table of tablesOf(directory)) overwrite(join(directory, table), -40, Buffer.alloc(8, 0xee));
    const found = await salvage(directory);
    if (name === "zstd") {
      for (const table of tablesOf(directory)) {
        expect(found.losses.find((loss) => loss.startsWith(`DIR/${table} is damaged`))).toMatch(/: the table is lost$/);
      }
    } else {
      expect(found.lines).toEqual(whole);
      expect(found.losses).toContain(CONSEQUENCE);
      expect(found.losses).toHaveLength(tablesOf(directory).length + 1);
      expect(found.losses[0]).toMatch(/: \d+ blocks were found without it, and nothing from offset \d+ on$/);
    }
  });

  test("reads a table that is cut off up to the cut", async () => {
    const directory = await copy();
    const sizes = new Map(tablesOf(directory).map((table) => [table, readFileSync(join(directory, table)).length]));
    const [largest] = [...sizes].sort(([, a], [, b]) => b - a)[0]!;
    truncateSync(join(directory, largest), Math.floor(sizes.get(largest)! / 2));
    const found = await salvage(directory);
    expect(found.losses).toContain(CONSEQUENCE);
    expect(found.losses.find((loss) => loss.startsWith(`DIR/${largest} `))).toMatch(
      name === "zstd" ? /: the table is lost$/ : /: \d+ blocks were found without it, and nothing from offset \d+ on$/,
    );
  });

  test("does without a table that is missing", async () => {
    const directory = await copy();
    const [first] = tablesOf(directory);
    rmSync(join(directory, first!));
    const found = await salvage(directory);
    expect(found.losses).toEqual([
      `DIR/${first} is damaged at offset 0: MANIFEST lists this table, but there is no such file: the table is lost`,
      CONSEQUENCE,
    ]);
  });

  test("reads all tables where MANIFEST is missing, damaged or cut off", async () => {
    const damages: [how: (path: string) => void, what: string][] = [
      [(path) => rmSync(path), `MANIFEST is missing, but there are ${tablesOf(original).length} tables`],
      [
        (path) => writeFileSync(path, "garbage, not a list"),
        "MANIFEST is damaged at offset 0: it does not begin with Bdgr",
      ],
      [(path) => overwrite(path, 20, Buffer.alloc(4, 0xee)), "the checksum is wrong"],
      [(path) => truncateSync(path, 30), "MANIFEST does not fit the tables that are there or is cut off"],
    ];
    for (const [how, what] of damages) {
      const directory = await copy();
      how(join(directory, "MANIFEST"));
      const found = await salvage(directory);
      expect(found.losses.join("\n")).toContain(what);
      expect(found.losses).toContain(CONSEQUENCE);
      // no table was left over here, so all is as it was
      expect(found.lines).toEqual(whole);
    }
  });

  test("loses values of the value log one by one, each with its key", async () => {
    const log = (directory: string): string => join(directory, "000001.vlog");
    const directory = await copy();
    truncateSync(log(directory), 4000);
    const cutOff = await salvage(directory);
    expect(cutOff.losses.length).toBeGreaterThan(0);
    for (const loss of cutOff.losses) {
      expect(loss).toMatch(
        /: DIR\/000001\.vlog is damaged at offset \d+: a record of \d+ bytes should stand there, the file has 4000$/,
      );
    }
    const other = await copy();
    rmSync(log(other));
    const missing = await salvage(other);
    for (const loss of missing.losses) expect(loss).toMatch(/there is no such file$/);
    for (const { lines: left, losses } of [cutOff, missing]) {
      expect(left.length + losses.length).toBe(whole.length);
      const all = new Set(whole);
      expect(left.every((line) => all.has(line))).toBe(true);
    }
  });

  test("is not changed by reading", async () => {
    const directory = await copy();
    for (const table of tablesOf(directory)) overwrite(join(directory, table), -40, Buffer.alloc(8, 0xee));
    rmSync(join(directory, "MANIFEST"));
    const state = async (): Promise<string> =>
      (await mustRun("sh", ["-c", `cd '${directory}' && ls -l && md5sum *.sst`])).stdout.toString();
    const before = await state();
    await salvage(directory);
    expect(await state()).toBe(before);
  });
});

describe("a damaged memtable log", () => {
  const first = transaction(1n, { a: "1", b: "1" });
  const second = transaction(2n, { b: "2", c: "2" });
  const third = transaction(3n, { d: "3" });

  test("is read in front of the damage and behind it", async () => {
    const directory = temporaryDirectory();
    const path = writeLog(directory, 1, first, second, third);
    const offset = 20 + first.length + 12;
    overwrite(path, offset, Buffer.from([0xee]));
    await expect(readBadgerLines(directory)).rejects.toThrow(DataError);
    const found = await salvage(directory);
    expect(found.lines).toEqual(lines({ a: "1", b: "1", c: "2", d: "3" }));
    expect(found.losses[0]).toMatch(
      new RegExp(
        `^DIR/00001\\.mem is damaged at offset ${20 + first.length}: what stands there, up to offset \\d+, is lost$`,
      ),
    );
    expect(found.losses.slice(1)).toEqual([CONSEQUENCE]);
  });

  test("says where it ends with a transaction that was not finished, or may be damaged", async () => {
    const directory = temporaryDirectory();
    writeLog(directory, 1, first, second.subarray(0, second.length - 6));
    expect(await salvage(directory)).toEqual({
      lines: lines({ a: "1", b: "1" }),
      losses: [
        `DIR/00001.mem ends at offset ${20 + first.length} with what is no whole transaction: it was not finished, or it is damaged and lost`,
        CONSEQUENCE,
      ],
    });
  });

  test("is damaged also where the file is larger by far than what stands in it", async () => {
    const directory = temporaryDirectory();
    const path = writeLog(directory, 1, first, second, third);
    overwrite(path, 20 + first.length + 12, Buffer.from([0xee]));
    truncateSync(path, 128 * 1024 * 1024);
    await expect(readBadgerLines(directory)).rejects.toThrow(
      /there is no whole transaction, but others stand behind it/,
    );
    expect((await salvage(directory)).lines).toEqual(lines({ a: "1", b: "1", c: "2", d: "3" }));
  });

  test("goes on behind much that is no record", async () => {
    const directory = temporaryDirectory();
    const garbage = Buffer.alloc(300_000);
    for (let i = 0; i < garbage.length; i++) garbage[i] = (i * 7919 + (i >> 8)) & 0xff;
    writeLog(directory, 1, first, garbage, third);
    const found = await salvage(directory);
    expect(found.lines).toEqual(lines({ a: "1", b: "1", d: "3" }));
    expect(found.losses).toEqual([
      `DIR/00001.mem is damaged at offset ${20 + first.length}: what stands there, up to offset ${20 + first.length + garbage.length}, is lost`,
      CONSEQUENCE,
    ]);
  });

  test("is lost where it says that it is encrypted, and others are read", async () => {
    const directory = temporaryDirectory();
    const path = writeLog(directory, 1, first);
    overwrite(path, 0, Buffer.from([1]));
    writeLog(directory, 2, third);
    const found = await salvage(directory);
    expect(found.lines).toEqual(lines({ d: "3" }));
    expect(found.losses).toEqual([
      "Cannot read DIR/00001.mem: the log is encrypted: what stands in this log from there on is lost",
      CONSEQUENCE,
    ]);
  });
});

describe("what stands in several places", () => {
  test("is what an older table has, where the newer one is lost", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1", b: "1" });
    await writeTable(directory, 2, 2n, { a: "2" });
    writeManifest(directory, { 1: 6, 2: 0 });
    renameSync(join(directory, "000002.sst"), join(directory, "elsewhere"));
    const found = await salvage(directory);
    expect(found.lines).toEqual(lines({ a: "1", b: "1" }));
    expect(found.losses).toContain(CONSEQUENCE);
  });

  test("a table that no MANIFEST lists is left out where all that it lists is there", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1" });
    await writeTable(directory, 2, 2n, { a: "2" });
    writeManifest(directory, { 1: 0 });
    expect(await salvage(directory)).toEqual({ lines: lines({ a: "1" }), losses: [] });
    appendFileSync(join(directory, "MANIFEST"), Buffer.from([0, 0, 0, 9, 1]));
    expect((await salvage(directory)).lines).toEqual(lines({ a: "2" }));
  });

  test("tables that overlap are read where MANIFEST says that they do not", async () => {
    const directory = temporaryDirectory();
    await writeTable(directory, 1, 1n, { a: "1", c: "1" });
    await writeTable(directory, 2, 1n, { b: "1", d: "1" });
    writeManifest(directory, { 1: 6, 2: 6 });
    expect(await salvage(directory)).toEqual({ lines: lines({ a: "1", b: "1", c: "1", d: "1" }), losses: [] });
  });
});
