import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DECANT_MAIN, NODE } from "../test/support/decant.ts";
import { startRedis } from "../test/support/redis-server.ts";
import { generateCorpus } from "./corpus.ts";
import type { CorpusOptions } from "./corpus-shape.ts";
import { type Measurement, measure } from "./measure.ts";

const HELP = `node bench/memory.ts [options]     peak memory and times of loads and dumps of extreme shapes

  --entries N       size of the larger of two volumes (2000000); the smaller has half, for the growth of times
  --max-memory S    as of decant (256M)
  --engines a,b     sqlite, redis (sqlite)
  --shapes a,b      of one-directory, directories-only (both)
  --scratch DIR     where volumes are made; needs about 1 KiB per entry (the system's temporary directory)
`;

/** What a run needs besides its record index: the run time and its buffers, and SQLite's page cache and index sorting. */
const BASE_MEGABYTES = 350;

const SHAPES: Readonly<Record<string, (entries: number) => Partial<CorpusOptions>>> = {
  "one-directory": (entries) => ({ files: entries, huge: entries }),
  "directories-only": (entries) => ({ files: Math.ceil(entries / 1000), filesPerDirectory: 0.001 }),
};

interface Options {
  readonly entries: number;
  readonly maxMemory: string;
  readonly engines: readonly string[];
  readonly shapes: readonly string[];
  readonly scratch: string;
}

function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      entries: { type: "string", default: "2000000" },
      "max-memory": { type: "string", default: "256M" },
      engines: { type: "string", default: "sqlite" },
      shapes: { type: "string", default: Object.keys(SHAPES).join(",") },
      scratch: { type: "string", default: tmpdir() },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  return {
    entries: Number(values.entries.replaceAll("_", "")),
    maxMemory: values["max-memory"],
    engines: values.engines.split(","),
    shapes: values.shapes.split(","),
    scratch: values.scratch,
  };
}

function writeCorpus(file: string, options: Partial<CorpusOptions>): void {
  const descriptor = openSync(file, "w");
  for (const bytes of generateCorpus(options)) writeSync(descriptor, bytes);
  closeSync(descriptor);
}

/** An empty place for one volume, and how to end it. */
async function openTarget(engine: string, directory: string): Promise<{ url: string; end: () => Promise<void> }> {
  if (engine === "sqlite") {
    return { url: `sqlite3://${join(directory, "volume.db")}`, end: async () => undefined };
  }
  const server = await startRedis();
  return { url: server.url(0), end: () => server.stop() };
}

async function measureShape(options: Options, engine: string, shape: string, entries: number): Promise<Measurement[]> {
  const directory = mkdtempSync(join(options.scratch, "decant-memory-"));
  const target = await openTarget(engine, directory);
  try {
    const file = join(directory, "volume.json");
    writeCorpus(file, SHAPES[shape]!(entries));
    const limits = ["--max-memory", options.maxMemory, "--tmp-dir", directory];
    const load = await measure([NODE, DECANT_MAIN, "load", target.url, file, ...limits], directory);
    rmSync(file);
    const dump = await measure([NODE, DECANT_MAIN, "dump", target.url, file, ...limits], directory);
    return [load, dump];
  } finally {
    await target.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

function row(name: string, entries: number, { wallSeconds, cpuSeconds, peakMegabytes }: Measurement): string {
  const cells = [name.padEnd(34), entries.toString().padStart(9), `${wallSeconds.toFixed(1)} s`.padStart(8)];
  const peak = peakMegabytes === undefined ? "?" : `${Math.round(peakMegabytes)} MB`;
  return [...cells, `${cpuSeconds.toFixed(1)} s`.padStart(8), peak.padStart(8)].join("  ");
}

/** Says what is wrong with the figures of one operation on the smaller and the larger volume. */
function judge(small: Measurement, large: Measurement, ceilingMegabytes: number): string[] {
  const problems: string[] = [];
  const growth = large.cpuSeconds / small.cpuSeconds;
  if (growth > 2.6) problems.push(`twice the entries took ${growth.toFixed(1)} times as long`);
  const peak = large.peakMegabytes ?? 0;
  if (peak > ceilingMegabytes) problems.push(`${Math.round(peak)} MB are more than ${ceilingMegabytes} MB`);
  return problems;
}

function megabytes(size: string): number {
  const match = /^(\d+)([KMG])$/.exec(size);
  if (match === null) throw new Error(`Cannot understand ${size}: write 256M`);
  return Number(match[1]) * { K: 1 / 1024, M: 1, G: 1024 }[match[2] as "K" | "M" | "G"];
}

const options: Options = parseOptions();
const ceiling: number = BASE_MEGABYTES + megabytes(options.maxMemory);
console.log(`${"".padEnd(34)}  ${"entries".padStart(9)}      wall       CPU      peak`);
for (const engine of options.engines) {
  for (const shape of options.shapes) {
    const half = Math.floor(options.entries / 2);
    const small = await measureShape(options, engine, shape, half);
    const large = await measureShape(options, engine, shape, options.entries);
    for (const [i, operation] of ["load", "dump"].entries()) {
      const name = `${engine}, ${shape}, ${operation}`;
      console.log(row(name, half, small[i]!));
      console.log(row(name, options.entries, large[i]!));
      for (const problem of judge(small[i]!, large[i]!, ceiling)) {
        console.log(`  ${problem}`);
        process.exitCode = 1;
      }
    }
  }
}
