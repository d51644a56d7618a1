import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CLIENT_VERSION, realClient } from "../test/support/real-client.ts";
import { REPOSITORY } from "../test/support/repository.ts";
import { mustRun } from "../test/support/run-command.ts";
import { CELLS, type Cell, DEFAULT_CELLS, type Variant } from "./cells.ts";
import { parseCorpusArguments } from "./corpus.ts";
import type { CorpusOptions } from "./corpus-shape.ts";
import type { Floor } from "./floors.ts";
import { type Measurement, measure, type Program } from "./measure.ts";
import { type CellResult, renderReport, type Series } from "./report.ts";
import { type BenchVolume, openVolume } from "./volume.ts";

const HELP = `npm run bench -- [options]     decant and the reference client by turns on the same volume

  --files N         size of the volume (100000; the targets are for 1000000)
  --cells a,b       of ${CELLS.map((cell) => cell.name).join(", ")}
                    (${DEFAULT_CELLS.join(",")})
  --runs N          runs of each program in each cell (3)
  --only PROGRAM    decant, reference or floor: the database's own client with the same tables
  --against NAME    only this way to call the reference: default or --fast; the default of etcd-json, which takes a quarter
                    of an hour at a million files, runs only so
  --cpu-prof        leave CPU profiles of decant in bench/results/profiles/
  --corpus "ARGS"   more options of bench/corpus.ts, such as "--names odd --slices 3"
  --no-write        print the report only
`;

const RESULTS = join(REPOSITORY, "bench", "results");
const SLOW_SECONDS = 300;

interface BenchOptions {
  readonly corpus: Partial<CorpusOptions> & { files: number };
  readonly corpusText: string;
  readonly cells: readonly Cell[];
  readonly runs: number;
  readonly only: string | undefined;
  readonly against: string | undefined;
  readonly profile: boolean;
  readonly write: boolean;
}

interface Programs {
  readonly decant: readonly string[];
  /** Always there: it builds the volumes. */
  readonly reference: readonly string[];
}

function parseOptions(): BenchOptions {
  const { values } = parseArgs({
    options: {
      files: { type: "string", default: "100000" },
      cells: { type: "string", default: DEFAULT_CELLS.join(",") },
      runs: { type: "string", default: "3" },
      only: { type: "string" },
      against: { type: "string" },
      "cpu-prof": { type: "boolean", default: false },
      corpus: { type: "string", default: "" },
      "no-write": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const corpusArguments = values.corpus.split(" ").filter((word) => word !== "");
  const files = Number(values.files.replaceAll("_", ""));
  return {
    corpus: { ...parseCorpusArguments(corpusArguments).options, files },
    corpusText: values.corpus === "" ? "default" : values.corpus,
    cells: values.cells.split(",").map(findCell),
    runs: Number(values.runs),
    only: values.only,
    against: values.against,
    profile: values["cpu-prof"],
    write: !values["no-write"],
  };
}

function findCell(name: string): Cell {
  const cell = CELLS.find((candidate) => candidate.name === name);
  if (cell === undefined) throw new Error(`No cell ${name}: there are ${CELLS.map((c) => c.name).join(", ")}`);
  return cell;
}

async function findPrograms(options: BenchOptions): Promise<Programs> {
  const client = await realClient();
  if (client === undefined) throw new Error(`The benchmark needs the reference client ${CLIENT_VERSION}`);
  const node = join(REPOSITORY, "node_modules", ".bin", "node");
  const profiles = join(RESULTS, "profiles");
  if (options.profile) mkdirSync(profiles, { recursive: true });
  return {
    decant: [
      node,
      ...(options.profile ? ["--cpu-prof", `--cpu-prof-dir=${profiles}`] : []),
      join(REPOSITORY, "dist", "cli", "main.js"),
    ],
    reference: [client],
  };
}

/** One program in one cell, and what it has done so far. */
interface Contestant {
  readonly program: Program;
  readonly variant: Variant | undefined;
  readonly floor?: Floor;
  readonly command: readonly string[];
  readonly runs: Measurement[];
  readonly digests: Set<string>;
  /** A reference that takes minutes runs once at this size. */
  isSlow: boolean;
}

function contestants(cell: Cell, volume: BenchVolume, programs: Programs, options: BenchOptions): Contestant[] {
  const { only, against } = options;
  const fresh = () => ({ runs: [], digests: new Set<string>(), isSlow: false });
  const ours: Contestant = { program: "decant", variant: undefined, command: programs.decant, ...fresh() };
  const theirs = cell.variants
    .filter(({ name, onRequest }) => (against === undefined ? !onRequest : name === against))
    .map((variant): Contestant => ({ program: "reference", variant, command: programs.reference, ...fresh() }));
  const floor = cell.floor?.(volume);
  const floors: Contestant[] =
    floor === undefined ? [] : [{ program: "floor", variant: undefined, floor, command: [], ...fresh() }];
  return [ours, ...theirs, ...floors].filter((contestant) => only === undefined || contestant.program === only);
}

async function runCell(cell: Cell, volume: BenchVolume, options: BenchOptions, programs: Programs) {
  const all = contestants(cell, volume, programs, options);
  for (let turn = 0; turn < options.runs; turn++) {
    for (const contestant of all) if (!contestant.isSlow) await runOnce(cell, volume, contestant);
  }
  return { result: toResult(cell, volume, all), isSlow: all.some((contestant) => contestant.isSlow) };
}

async function runOnce(cell: Cell, volume: BenchVolume, contestant: Contestant): Promise<void> {
  const command = await commandOf(cell, volume, contestant);
  const measured = await measure(command, volume.scratch);
  contestant.runs.push(measured);
  contestant.isSlow = contestant.program === "reference" && measured.wallSeconds > SLOW_SECONDS;
  const isCompared = contestant.floor === undefined && !contestant.variant?.hasOtherResult;
  if (cell.digest !== undefined && isCompared) contestant.digests.add(await cell.digest(volume));
  await cell.clean(volume);
  const name = `${contestant.program} ${contestant.variant?.name ?? contestant.floor?.name ?? ""}`.trimEnd();
  const { cpuSeconds, wallSeconds, peakMegabytes } = measured;
  console.error(
    `${cell.name} ${volume.files} ${name}: CPU ${cpuSeconds.toFixed(2)} s, wall ${wallSeconds.toFixed(2)} s, ` +
      `${peakMegabytes?.toFixed(0) ?? "?"} MB`,
  );
}

async function commandOf(cell: Cell, volume: BenchVolume, contestant: Contestant): Promise<string[]> {
  const args = await cell.prepare(volume, contestant.program);
  if (contestant.floor === undefined) return [...contestant.command, ...args, ...(contestant.variant?.flags ?? [])];
  // A load's arguments name its target.
  return contestant.floor.prepare(new URL(args[1]!.replace(/\(|\)/g, "")).pathname.slice(1));
}

function toResult(cell: Cell, volume: BenchVolume, all: readonly Contestant[]): CellResult {
  const digests = new Set(all.flatMap((contestant) => [...contestant.digests]));
  return {
    cell: cell.name,
    files: volume.files,
    documentBytes: volume.documentBytes,
    series: all.map(
      ({ program, variant, floor, runs }): Series => ({
        program,
        variant: variant?.name ?? floor?.name ?? "",
        runs,
        target: variant?.target,
      }),
    ),
    sameResult: all.filter((contestant) => contestant.digests.size > 0).length < 2 ? undefined : digests.size === 1,
  };
}

/** All cells at one size; those with a slow reference are returned for a smaller one. */
async function runSize(
  cells: readonly Cell[],
  corpus: BenchOptions["corpus"],
  options: BenchOptions,
  programs: Programs,
) {
  const engines = new Set(cells.map((cell) => cell.engine));
  const volume = await openVolume(corpus, programs.reference, engines);
  const results: CellResult[] = [];
  const slow: Cell[] = [];
  try {
    for (const cell of cells) {
      const { result, isSlow } = await runCell(cell, volume, options, programs);
      results.push(result);
      if (isSlow) slow.push(cell);
    }
  } finally {
    await volume.close();
  }
  return { results, slow };
}

async function main(): Promise<void> {
  const options = parseOptions();
  const programs = await findPrograms(options);
  const { results, slow } = await runSize(options.cells, options.corpus, options, programs);
  if (slow.length > 0) {
    const smaller = { ...options.corpus, files: Math.ceil(options.corpus.files / 10) };
    results.push(...(await runSize(slow, smaller, options, programs)).results);
  }
  const commit = (await mustRun("git", ["rev-parse", "--short", "HEAD"], { cwd: REPOSITORY })).out.trim();
  const date = new Date().toISOString();
  const report = renderReport(results, {
    date,
    decant: `commit ${commit} on Node.js ${process.version}`,
    reference: `juicefs ${CLIENT_VERSION}`,
    corpus: `${options.corpus.files} files, ${options.corpusText}`,
  });
  console.log(report);
  if (!options.write) return;
  mkdirSync(RESULTS, { recursive: true });
  const file = join(RESULTS, `${date.slice(0, 10)}-${options.corpus.files}.md`);
  writeFileSync(file, report);
  console.error(`Written to ${file}`);
}

await main();
