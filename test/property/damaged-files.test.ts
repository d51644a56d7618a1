import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DecantError, InternalError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import { ALL_KEYS, badgerStore, unpackBadger } from "../support/badger-directory.ts";
import { rdbDatabase, rdbFile } from "../support/rdb-builder.ts";
import { rdbEntriesOf } from "../support/rdb-volume.ts";
import { fixture } from "../support/repository.ts";
import { missingRecords, readSalvaged, type Salvaged } from "../support/salvaged.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { type Pairs, transaction, writeLog, writeManifest, writeTable } from "../unit/engines/badger/directory.ts";
import { runsOf } from "./runs.ts";

/** What may happen to a file. Positions are parts of the whole, so that they mean something for every length. */
const damages = fc.record({
  kind: fc.constantFrom("overwrite" as const, "cut" as const, "zero" as const, "flip" as const),
  // doubles would nearly all be next to 0
  at: fc.nat(999_999).map((part) => part / 1_000_000),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
});

type Damage = typeof damages extends fc.Arbitrary<infer T> ? T : never;

/** Damages the first `size` bytes of a file, in which its content stands. */
function damaged(original: Buffer, { kind, at, bytes }: Damage, size: number = original.length): Buffer {
  const from = Math.floor(at * size);
  if (kind === "cut") return Buffer.from(original.subarray(0, from));
  const copy = Buffer.from(original);
  if (kind === "flip") copy[from]! ^= 1 << (bytes[0]! % 8);
  else if (kind === "zero") copy.fill(0, from, Math.min(size, from + bytes.length * 20));
  else copy.set(bytes.subarray(0, size - from), from);
  return copy;
}

/** What is read, or the error that says why there is nothing: one that whoever has the files can do something about. */
async function readOrFail<T>(read: Promise<T>, path: string): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (!(error instanceof DecantError) || error instanceof InternalError) throw error;
    expect(error.message).toContain(path);
    expect(error.hint).toBeTypeOf("string");
    return undefined;
  }
}

describe("a damaged RDB file", () => {
  const ERAS = ["2.4", "3.0", "5.0", "7.2", "elements"] as const;
  const originals: { bytes: Buffer; whole: Salvaged }[] = [];
  beforeAll(async () => {
    const path = join(temporaryDirectory(), "whole.rdb");
    const source = fixture("golden/engines/golden.redis.jsonl");
    const files = ERAS.map((era) => rdbFile([rdbDatabase(0), ...rdbEntriesOf(source, era)]));
    for (const bytes of [readFileSync(fixture("golden/engines/golden.redis.rdb")), ...files]) {
      writeFileSync(path, bytes);
      const whole = await readSalvaged(`rdb://${path}`);
      expect(whole.losses).toEqual([]);
      originals.push({ bytes, whole });
    }
  });

  test("is read as far as it can be, and what was lost is told", async () => {
    const path = join(temporaryDirectory(), "dump.rdb");
    const outcomes = { read: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.nat(ERAS.length), fc.array(damages, { minLength: 1, maxLength: 3 }), async (file, list) => {
        const { bytes: original, whole } = originals[file]!;
        const bytes = list.reduce<Buffer>((all, damage) => damaged(all, damage), original);
        writeFileSync(path, bytes);
        const found = await readOrFail(readSalvaged(`rdb://${path}`), path);
        outcomes[found === undefined ? "refused" : "read"]++;
        if (found === undefined || bytes.equals(original)) return;
        if (found.losses.length === 0) expect(found.records).toEqual(whole.records);
        const isCut = list.every(({ kind }) => kind === "cut");
        if (!isCut) return;
        // usage of quotas is counted anew, and no reason to leave limits out
        for (const lines of Object.values(missingRecords(found, whole))) {
          for (const line of lines) expect(line).toMatch(/maxSpace=.*used\w+=0/);
        }
      }),
      runsOf(150),
    );
    // what is refused has lost its head or its setting
    expect(outcomes.read).toBeGreaterThan(outcomes.refused);
  }, 240_000);
});

describe("a damaged BadgerDB directory", () => {
  /** Tables and logs with several versions of keys, and all pairs that there ever were. */
  async function makeDirectory(): Promise<{ directory: string; written: Set<string> }> {
    const directory = temporaryDirectory();
    const written = new Set<string>();
    const pairs = (version: number, from: number, to: number): Pairs => {
      const made: Record<string, string> = {};
      for (let i = from; i < to; i++) {
        made[`key ${String(i).padStart(4, "0")}`] = `value ${version} ${"x".repeat(i % 97)}`;
      }
      for (const [key, value] of Object.entries(made)) written.add(`${key}=${value}`);
      return made;
    };
    await writeTable(directory, 1, 1n, pairs(1, 0, 300));
    await writeTable(directory, 2, 1n, pairs(1, 300, 600));
    await writeTable(directory, 3, 2n, pairs(2, 250, 350));
    writeManifest(directory, { 1: 6, 2: 6, 3: 0 });
    writeLog(directory, 1, transaction(3n, pairs(3, 100, 140)), transaction(4n, pairs(4, 120, 160)));
    writeLog(directory, 2, transaction(5n, { "key 0000": undefined }), transaction(6n, pairs(6, 598, 610)));
    return { directory, written };
  }

  async function readPairs(directory: string): Promise<{ pairs: string[]; losses: string[] }> {
    const losses: string[] = [];
    const signal = new AbortController().signal;
    const onLoss = ({ message }: { message: string }): void => void losses.push(message);
    const snapshot = await badgerStore(directory).openSnapshot({ signal, logger: silentLogger, onLoss });
    try {
      const pairs: string[] = [];
      for await (const page of snapshot.scan(ALL_KEYS)) {
        for (const [key, value] of pairsOf(page)) pairs.push(`${key.toString("latin1")}=${value.toString("latin1")}`);
      }
      return { pairs, losses };
    } finally {
      await snapshot.close();
    }
  }

  test("gives nothing that was never written, and all of it where nothing is told", async () => {
    const { directory, written } = await makeDirectory();
    const files = ["000001.sst", "000002.sst", "000003.sst", "00001.mem", "00002.mem", "MANIFEST"];
    const originals = new Map(files.map((name) => [name, readFileSync(join(directory, name))]));
    const whole = await readPairs(directory);
    expect(whole.losses).toEqual([]);
    const outcomes = { read: 0, refused: 0 };
    const damagesOfFiles = fc.array(fc.tuple(fc.constantFrom(...files), damages), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(damagesOfFiles, async (list) => {
        const copy = join(temporaryDirectory(), "copy");
        mkdirSync(copy);
        for (const [name, bytes] of originals) writeFileSync(join(copy, name), bytes);
        for (const [name, damage] of list) {
          writeFileSync(join(copy, name), damaged(readFileSync(join(copy, name)), damage));
        }
        const found = await readOrFail(readPairs(copy), copy);
        outcomes[found === undefined ? "refused" : "read"]++;
        if (found === undefined) return;
        expect(found.pairs.filter((pair) => !written.has(pair))).toEqual([]);
        const isCut = list.some(([name, { kind, at }]) => endsEarly(name, kind, at));
        if (found.losses.length === 0 && !isCut) expect(found.pairs).toEqual(whole.pairs);
      }),
      runsOf(150),
    );
    expect(outcomes.read).toBeGreaterThan(outcomes.refused);
  }, 240_000);

  test("of the real client never brings anything down", async () => {
    const original = await unpackBadger("golden/engines/golden-json.badger.tar.gz");
    const copy = join(temporaryDirectory(), "copy");
    mkdirSync(copy);
    // what matters stands in these: the logs have holes of gigabytes
    const names = ["000001.sst", "MANIFEST", "KEYREGISTRY"];
    for (const name of names) cpSync(join(original, name), join(copy, name));
    const whole = await readSalvaged(`badger://${copy}`);
    expect(whole.losses).toEqual([]);
    const outcomes = { read: 0, refused: 0 };
    const damagesOfFiles = fc.array(fc.tuple(fc.constantFrom("000001.sst", "MANIFEST"), damages), {
      minLength: 1,
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(damagesOfFiles, async (list) => {
        for (const name of names) cpSync(join(original, name), join(copy, name));
        for (const [name, damage] of list) {
          writeFileSync(join(copy, name), damaged(readFileSync(join(copy, name)), damage));
        }
        const found = await readOrFail(readSalvaged(`badger://${copy}`), copy);
        outcomes[found === undefined ? "refused" : "read"]++;
        if (found === undefined) return;
        expect(missingRecords({ ...found, records: { ...found.records, counter: [] } }, whole)).toEqual({});
        if (found.losses.length === 0) expect(found.records).toEqual(whole.records);
      }),
      runsOf(100),
    );
    expect(outcomes.read).toBeGreaterThan(outcomes.refused);
  }, 240_000);
});

/** A log or list that ends between two transactions or changes looks whole: nobody can tell. */
function endsEarly(name: string, kind: Damage["kind"], at: number): boolean {
  return !name.endsWith(".sst") && (kind === "cut" || (kind === "zero" && at > 0));
}
