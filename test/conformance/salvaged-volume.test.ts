import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { convert } from "../../src/operations/convert.ts";
import { type DumpRequest, dump } from "../../src/operations/dump.ts";
import { load } from "../../src/operations/load.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes, unpackBatch } from "../../src/volume/records.ts";
import { decodeAll, encodeAll } from "../support/binary-segments.ts";
import { differences } from "../support/compare-volumes.ts";
import { fixture } from "../support/repository.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { requireEngines } from "../support/test-engines.ts";
import { quietContext } from "../support/volume-files.ts";
import { runInMemory } from "../unit/cli/memory-io.ts";

const engines = await requireEngines();
const WHOLE = fixture("golden/dumps/golden.keep.bin");
const LOST_FOUND = { ignore: new Set(["nlink", "atime", "counters"] as const) };

/** Inodes of the golden volume. */
const CHAIN = 1178n;
const CHAIN_L0 = 1179n;
const CROSS_CHUNK = 1194n;
const MANY = 1057n;
const READ_ME = 1046n;
const RELATIVE_LINK = 1206n;

type Drop = <K extends FlatKind>(kind: K, isDropped: (record: RecordTypes[K]) => boolean) => void;

/** The golden volume, of which records are lost, as a binary dump: engines store that as it is. */
async function damagedDump(damage: (drop: Drop) => void): Promise<string> {
  let { batches } = await decodeAll(readFileSync(WHOLE));
  damage((kind, isDropped) => {
    const kept = batches.filter((batch) => batch.kind === kind).flatMap((batch) => [...unpackBatch(kind, batch)]);
    const rest = kept.filter((record) => !isDropped(record));
    expect(rest.length).toBeLessThan(kept.length);
    batches = [...batches.filter((batch) => batch.kind !== kind), packBatch(kind, rest) as RecordBatch];
  });
  const file = join(temporaryDirectory(), "damaged.bin");
  writeFileSync(file, await encodeAll(batches));
  return file;
}

const damage = (drop: Drop): void => {
  drop("node", ({ inode }) => [CHAIN_L0, CROSS_CHUNK, RELATIVE_LINK].includes(inode));
  drop("edge", ({ inode }) => [CHAIN, MANY, READ_ME].includes(inode));
};

interface Salvaged {
  readonly file: string;
  readonly losses: string[];
  /** `kind place` of the report. */
  readonly report: string[];
}

async function salvaged(source: string, options: Partial<DumpRequest>): Promise<Salvaged> {
  const directory = temporaryDirectory();
  const [file, lossReport] = [join(directory, "rest"), join(directory, "losses.jsonl")];
  const report = await dump(
    { source, target: { file }, keepGoing: true, keepSecretKey: true, lossReport, snapshot: "none", ...options },
    quietContext(),
  );
  const lines = readFileSync(lossReport, "utf8").trimEnd().split("\n");
  return {
    file,
    losses: report.findings.filter(({ loss }) => loss).map(({ kind, count }) => `${kind} ${count}`),
    report: lines.map((line) => {
      const { kind, place } = JSON.parse(line) as { kind: string; place: string };
      return `${kind} ${place}`;
    }),
  };
}

/** What a volume that is loaded from a dump lacks of the whole one. */
async function lossesOf(file: string): Promise<string[]> {
  const { url } = newSqliteTarget();
  await load({ target: url, source: { file } }, quietContext());
  const again = join(temporaryDirectory(), "again.json");
  expect((await dump({ source: url, target: { file: again } }, quietContext())).findings.some(({ loss }) => loss)).toBe(
    false,
  );
  const verified = await runInMemory(["verify", again, "--json"]);
  const { problems } = JSON.parse(verified.stdout) as { problems: { severity: string }[] };
  expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  const { lines } = await differences(WHOLE, url, LOST_FOUND);
  return lines;
}

/** Entries of many/, of which only the first and the last is told. */
function withoutMany(lines: readonly string[]): string[] {
  return lines.filter((line) => !/\/many\/entry-|#1057\/entry-/.test(line));
}

describe.each(engines)("a damaged volume in $name", (engine) => {
  test.each(["json", "binary"] as const)(
    "is dumped as %s as far as it goes, and is then a sound one",
    async (format) => {
      const url = await engine.createDatabase();
      await load(
        { target: url, source: { file: await damagedDump(damage) }, unsupported: { action: "skip" } },
        quietContext(),
      );
      const lost = engine.holdsEmptyValues ? [] : (await differences(WHOLE, url, LOST_FOUND)).lines;
      expect(lost.length).toBeLessThan(1000);

      const without = await salvaged(url, { format });
      const gone = withoutMany(await lossesOf(without.file));
      expect(gone.filter((line) => line.startsWith("D "))).toEqual(
        expect.arrayContaining(["D /chain/", "D /chain/l0/", "D /docs/readme.txt", "D /many/"]),
      );

      const { file, losses, report } = await salvaged(url, { format, lostFound: true });
      const lines = withoutMany(await lossesOf(file));
      expect(lines.filter((line) => line.startsWith("D "))).toEqual([]);
      expect(lines.filter((line) => line.startsWith("R ")).toSorted()).toEqual([
        "R /chain -> /lost+found/#1178/",
        "R /docs/readme.txt -> /lost+found/#1046",
        "R /many -> /lost+found/#1057/",
      ]);
      expect(losses.filter((loss) => !loss.startsWith("reader "))).toEqual(["placed-inode 3", "rebuilt-node 3"]);
      expect(report.filter((line) => !line.startsWith("reader "))).toEqual([
        "placed-inode /lost+found/#1046",
        "placed-inode /lost+found/#1057",
        "placed-inode /lost+found/#1178",
        "rebuilt-node /lost+found/#1178/l0: directory",
        "rebuilt-node /data/cross-chunk: regular, 67108869 bytes",
        "rebuilt-node /links/rel: symlink, 18 bytes",
      ]);
    },
  );
});

describe.each(engines)("a damaged dump, loaded into $name with --keep-going", (engine) => {
  test.each([
    ["JSON", "golden.keep.json", 60_000],
    ["binary", "golden.keep.bin", 30_000],
  ] as const)("of the %s format is what is left of it, by the same rules as a converted one", async (_, name, at) => {
    const bytes = readFileSync(fixture(`golden/dumps/${name}`));
    bytes.fill(0, at, at + 3000);
    const directory = temporaryDirectory();
    const [damaged, converted, lossReport] = ["damaged", "converted.json", "losses.jsonl"].map((file) =>
      join(directory, file),
    ) as [string, string, string];
    writeFileSync(damaged, bytes);
    const salvage = { keepGoing: true, lostFound: true };
    await convert(
      { source: { file: damaged }, target: { file: converted }, format: "json", ...salvage },
      quietContext(),
    );
    const unsupported = { action: "skip" } as const;
    const whole = await engine.createDatabase();
    await load({ target: whole, source: { file: converted }, unsupported }, quietContext());
    const expected = await engine.readContent(whole);

    const url = await engine.createDatabase();
    await expect(load({ target: url, source: { file: damaged }, unsupported }, quietContext())).rejects.toThrow();
    const request = { target: url, source: { file: damaged }, unsupported, lossReport, verify: true, ...salvage };
    const report = await load(request, quietContext());
    const losses = report.findings.filter(({ loss, kind }) => loss && !kind.startsWith("unsupported"));
    expect(losses.length).toBeGreaterThan(0);
    const told = readFileSync(lossReport, "utf8").trimEnd().split("\n").length;
    expect(told).toBeGreaterThanOrEqual(losses.reduce((sum, { count }) => sum + count, 0));
    const content = await engine.readContent(url);
    const rows = (all: ReadonlyMap<string, readonly string[]>): number => [...all.values()].flat().length;
    expect(rows(content)).toBe(rows(expected));
    const { lines } = await differences(whole, url, LOST_FOUND);
    expect(lines).toEqual([]);
  });
});

test("--lost-found needs --keep-going and all of the volume", async () => {
  const { url } = newSqliteTarget();
  const run = (options: Partial<DumpRequest>): Promise<unknown> =>
    dump({ source: url, target: { file: "/nowhere" }, ...options }, quietContext());
  await expect(run({ lostFound: true })).rejects.toThrow("--lost-found needs --keep-going");
  const both = { lostFound: true, keepGoing: true };
  await expect(run({ ...both, subdir: "/docs" })).rejects.toThrow("neither --subdir nor --skip-trash");
  await expect(run({ ...both, skipTrash: true })).rejects.toThrow("neither --subdir nor --skip-trash");
});
