import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { CACHE, REPOSITORY } from "../test/support/repository.ts";
import { requireTikv, type TikvServer } from "../test/support/tikv-server.ts";
import { generateCorpus } from "./corpus.ts";
import { type Measurement, measure, median } from "./measure.ts";

/**
 * How load and dump of a volume in TiKV grow with the number of workers, where each request takes some milliseconds: `npm run
 * tikv-workers`. The server is that of the tests, in one process, with regions on several stores.
 */

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "300000" },
    regions: { type: "string", default: "64" },
    stores: { type: "string", default: "3" },
    delay: { type: "string", default: "2" },
    workers: { type: "string", default: "1,2,4,8" },
    runs: { type: "string", default: "1" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run tikv-workers -- [options]   load and dump of a volume in TiKV, by the number of workers

  --files N      size of the volume (300000)
  --regions N    regions, a power of 2 up to 256, of equal size (64)
  --stores N     stores, which lead them by turns (3)
  --delay MS     what each request takes longer than it has to (2)
  --workers a,b  numbers of workers, each up to 16 (1,2,4,8)
  --runs N       runs of each, by turns; medians are shown (1)`);
  process.exit(0);
}

const [files, regions, stores, delayMs, runs] = [
  values.files,
  values.regions,
  values.stores,
  values.delay,
  values.runs,
].map(Number) as [number, number, number, number, number];
const PREFIX = "bench";
const DECANT = [join(REPOSITORY, "node_modules", ".bin", "node"), join(REPOSITORY, "dist", "cli", "main.js")];
/** The corpus has some extended attributes without a value. */
const WITHOUT_EMPTY = ["--on-unsupported", "skip"];
const directory = join(CACHE, "bench", `tikv-${files}`);

interface Row {
  readonly workers: number;
  readonly loads: Measurement[];
  readonly dumps: Measurement[];
  /** CPU seconds of the server for each load and each dump. */
  readonly served: [load: number, dump: number][];
}

async function corpus(): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "corpus.json");
  if (existsSync(file)) return file;
  await pipeline(Readable.from(generateCorpus({ files })), createWriteStream(`${file}.partial`));
  renameSync(`${file}.partial`, file);
  return file;
}

/** Keys of inodes begin with `A` and the lowest byte of the inode (docs/spec/kv.md), of which all occur equally often. */
async function divide(server: TikvServer): Promise<void> {
  for (let i = 0; i < regions; i++) {
    const key = Buffer.from(`${PREFIX}\xfdA${String.fromCharCode((i * 256) / regions)}`, "latin1");
    await server.split(key);
    await server.moveLeader(key, i % stores);
  }
}

async function runOnce(row: Row, json: string): Promise<string> {
  const server = await requireTikv({ stores, delayMs });
  if (server === undefined) throw new Error("The benchmark needs the test server of TiKV, which is built with Go");
  try {
    await divide(server);
    process.env.DECANT_TIKV_WORKERS = String(row.workers);
    const dumped = join(directory, "dumped.json");
    rmSync(dumped, { force: true });
    const cpu = [(await server.state()).cpuSeconds];
    row.loads.push(await measure([...DECANT, "load", ...WITHOUT_EMPTY, server.url(PREFIX), json], directory));
    cpu.push((await server.state()).cpuSeconds);
    row.dumps.push(await measure([...DECANT, "dump", server.url(PREFIX), dumped], directory));
    cpu.push((await server.state()).cpuSeconds);
    row.served.push([cpu[1]! - cpu[0]!, cpu[2]! - cpu[1]!]);
    const hash = createHash("sha256");
    await pipeline(createReadStream(dumped), hash);
    return hash.digest("hex");
  } finally {
    await server.end();
  }
}

function cells(
  measurements: readonly Measurement[],
  base: readonly Measurement[],
  served: readonly number[],
): string[] {
  const wall = (of: readonly Measurement[]): number => median(of.map(({ wallSeconds }) => wallSeconds));
  const peak = Math.max(...measurements.map(({ peakMegabytes = Number.NaN }) => peakMegabytes));
  return [
    `${wall(measurements).toFixed(1)} s`,
    `${(files / wall(measurements)).toFixed(0)}`,
    `${(wall(base) / wall(measurements)).toFixed(2)}`,
    `${median(measurements.map(({ cpuSeconds }) => cpuSeconds)).toFixed(1)} s`,
    `${median(served).toFixed(1)} s`,
    `${peak.toFixed(0)} MB`,
  ];
}

const json = await corpus();
const rows: Row[] = values.workers
  .split(",")
  .map((workers) => ({ workers: Number(workers), loads: [], dumps: [], served: [] }));
const digests = new Set<string>();
for (let run = 0; run < runs; run++) {
  for (const row of rows) {
    console.error(`Run ${run + 1} with ${row.workers} workers`);
    digests.add(await runOnce(row, json));
  }
}
rmSync(join(directory, "dumped.json"), { force: true });

console.log(
  `${files} files (${(statSync(json).size / 1e6).toFixed(0)} MB of JSON), ${regions} regions on ${stores} stores, ${delayMs} ms per request; ` +
    `${cpus().length} cores for client and server, load average ${loadavg()[0]!.toFixed(1)}\n`,
);
const columns = ["files/s", "growth", "CPU", "server's CPU", "peak"].join(" | ");
console.log(`| workers | load | ${columns} | dump | ${columns} |`);
console.log(`|${"---|".repeat(13)}`);
for (const { workers, loads, dumps, served } of rows) {
  const load = cells(
    loads,
    rows[0]!.loads,
    served.map(([seconds]) => seconds),
  );
  const dump = cells(
    dumps,
    rows[0]!.dumps,
    served.map(([, seconds]) => seconds),
  );
  console.log(`| ${[workers, ...load, ...dump].join(" | ")} |`);
}
console.log(`\nThe dumps are ${digests.size === 1 ? "equal" : "**not equal**"}.`);
