import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  hasRuns,
  LoadRuns,
  RUNS_DIRECTORY,
  readStoredLoad,
  removeRuns,
} from "../../../../src/engines/badger/load-runs.ts";
import { PairSorter } from "../../../../src/engines/badger/pair-sorter.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const PROGRESS = Buffer.from('{"checkpoint":1}');
const MEBIBYTE = 1024 * 1024;

function put(sorter: PairSorter, key: string, value: string): void {
  const at = sorter.reserve(Buffer.byteLength(key), Buffer.byteLength(value));
  sorter.buffer.write(key, at);
  sorter.buffer.write(value, at + Buffer.byteLength(key));
}

function drain(sorter: PairSorter): [string, string][] {
  const found: [string, string][] = [];
  while (sorter.next()) {
    const { bytes, keyStart, valueStart, valueEnd } = sorter;
    found.push([bytes.toString("utf8", keyStart, valueStart), bytes.toString("utf8", valueStart, valueEnd)]);
  }
  sorter.close();
  return found;
}

function newSorter(keeper: LoadRuns): PairSorter {
  return new PairSorter({ maxBytes: MEBIBYTE, tmpDir: "/nowhere", rankBytes: 0, keeper });
}

async function checkpoint(sorter: PairSorter, keeper: LoadRuns): Promise<void> {
  const { runs, pieces } = sorter.flush();
  await keeper.checkpoint(PROGRESS, runs, pieces);
}

function resume(database: string): { keeper: LoadRuns; sorter: PairSorter } {
  const stored = readStoredLoad(database)!;
  const { keeper, runs } = LoadRuns.resume(database, stored);
  const sorter = newSorter(keeper);
  sorter.restore(runs, stored.pieces);
  return { keeper, sorter };
}

const filesIn = (database: string): string[] => readdirSync(join(database, RUNS_DIRECTORY)).sort();

describe("the runs of a load", () => {
  test("are not there before they are needed", () => {
    const database = temporaryDirectory();
    const sorter = newSorter(new LoadRuns(database, undefined));
    put(sorter, "a", "1");
    expect(drain(sorter)).toEqual([["a", "1"]]);
    expect(readdirSync(database)).toEqual([]);
    expect(readStoredLoad(database)).toBeUndefined();
    expect(hasRuns(database)).toBe(false);
    removeRuns(database);
  });

  test("of the last checkpoint are all that another sorter goes on with, and later pairs replace earlier ones", async () => {
    const database = temporaryDirectory();
    const keeper = new LoadRuns(database, "/made");
    const sorter = newSorter(keeper);
    put(sorter, "a", "old");
    put(sorter, "b", "old");
    await checkpoint(sorter, keeper);
    put(sorter, "b", "new");
    await checkpoint(sorter, keeper);
    put(sorter, "a", "lost");
    sorter.flush();
    sorter.close();
    expect(filesIn(database)).toEqual(["progress", "run-000001", "run-000002", "run-000003"]);
    expect(readStoredLoad(database)).toMatchObject({ progress: PROGRESS, made: "/made", pieces: 2 });
    const resumed = resume(database);
    expect(filesIn(database)).toEqual(["progress", "run-000001", "run-000002"]);
    expect(resumed.sorter.find([Buffer.from("a"), Buffer.from("b"), Buffer.from("c")]).map(String)).toEqual([
      "old",
      "new",
      "undefined",
    ]);
    put(resumed.sorter, "a", "newest");
    await checkpoint(resumed.sorter, resumed.keeper);
    expect(filesIn(database)).toEqual(["progress", "run-000001", "run-000002", "run-000003"]);
    expect(drain(resumed.sorter)).toEqual([
      ["a", "newest"],
      ["b", "new"],
    ]);
  });

  test("are never many, however small they are", async () => {
    const database = temporaryDirectory();
    let keeper = new LoadRuns(database, undefined);
    let sorter = newSorter(keeper);
    const rounds = 64 * 10 + 5;
    let most = 0;
    for (let i = 0; i < rounds; i++) {
      put(sorter, `key ${i}`, `${i}`);
      put(sorter, "each", `${i}`);
      sorter.flush();
      if (i % 100 === 99) {
        await checkpoint(sorter, keeper);
        most = Math.max(most, filesIn(database).length);
        expect(sorter.find([Buffer.from("each"), Buffer.from("key 0")]).map(String)).toEqual([`${i}`, "0"]);
      }
      if (i % 300 !== 299) continue;
      sorter.close();
      ({ keeper, sorter } = resume(database));
    }
    expect(most).toBeLessThan(1 + 63 + 10);
    await checkpoint(sorter, keeper);
    expect(readStoredLoad(database)!.runs.map(({ tier }) => tier)).toEqual([...Array(10).fill(1), ...Array(5).fill(0)]);
    const found = new Map(drain(sorter));
    expect(found.get("each")).toBe(`${rounds - 1}`);
    expect(found.size).toBe(rounds + 1);
  });

  test("that a checkpoint lists stay until the next one, also when they were merged", async () => {
    const database = temporaryDirectory();
    const keeper = new LoadRuns(database, undefined);
    const sorter = newSorter(keeper);
    for (let i = 0; i < 63; i++) {
      put(sorter, `key ${i}`, "");
      await checkpoint(sorter, keeper);
    }
    put(sorter, "key 63", "");
    sorter.flush(); // makes one of 64
    sorter.close();
    expect(filesIn(database)).toHaveLength(1 + 63 + 1);
    const resumed = resume(database);
    expect(filesIn(database)).toHaveLength(1 + 63);
    expect(drain(resumed.sorter)).toHaveLength(63);
  });

  test("go, and with them their directory where nothing else is in it", async () => {
    const database = temporaryDirectory();
    const keeper = new LoadRuns(database, undefined);
    const sorter = newSorter(keeper);
    put(sorter, "a", "1");
    await checkpoint(sorter, keeper);
    sorter.close();
    writeFileSync(join(database, RUNS_DIRECTORY, "decant-unfinished-progress"), "");
    writeFileSync(join(database, RUNS_DIRECTORY, "run-of-somebody"), "");
    removeRuns(database);
    expect(filesIn(database)).toEqual(["run-of-somebody"]);
    expect(readStoredLoad(database)).toBeUndefined();
  });

  test.each([
    ["", "its second line does not tell the runs"],
    ['{"checkpoint":1}\n{"pieces":1}\n', "its second line does not tell the runs"],
    ['{}\n{"pieces":1,"runs":[{"name":"../run","bytes":1,"crc32":1,"tier":0}]}\n', "its second line"],
    ['{}\n{"pieces":1,"runs":[{"name":"run-000009","bytes":1,"crc32":1,"tier":0}]}\n', "run-000009 is not as"],
  ])("are refused with %j instead of what a checkpoint writes", async (text, message) => {
    const database = temporaryDirectory();
    const keeper = new LoadRuns(database, undefined);
    const sorter = newSorter(keeper);
    put(sorter, "a", "1");
    await checkpoint(sorter, keeper);
    sorter.close();
    const path = join(database, RUNS_DIRECTORY, "progress");
    expect(readFileSync(path, "utf8").split("\n")).toHaveLength(3);
    writeFileSync(path, text);
    expect(() => resume(database)).toThrow(message);
    expect(() => resume(database)).toThrow(expect.objectContaining({ code: "DECANT_E_LOAD_REMAINS" }));
  });
});
