import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { NODE } from "../../test/support/decant.ts";
import { REPOSITORY } from "../../test/support/repository.ts";
import { mustRun, runCommand } from "../../test/support/run-command.ts";
import { startDecant } from "../../test/support/running-decant.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { wideVolumeText } from "../../test/support/wide-volume.ts";
import { ENGINE_NAMES, type EngineName, type FaultTarget, openTarget } from "./targets.ts";

/**
 * Loads that are killed at random moments, or whose server is, and gone on with: whether what is there in the end is what an undisturbed
 * load leaves. `npm run faults`, docs/reliability.md.
 */

const { values } = parseArgs({
  options: {
    engines: { type: "string", default: ENGINE_NAMES.join(",") },
    kills: { type: "string", default: "200" },
    restarts: { type: "string", default: "20" },
    files: { type: "string", default: "20000" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run faults -- [options]   loads that are killed and gone on with; ends with 1 when anything is not as it has to be

  --engines a,b   of ${ENGINE_NAMES.join(", ")} (all)
  --kills N       moments at which decant is killed, for each engine (200)
  --restarts N    moments at which the server is killed and started again (20)
  --files N       size of the volume (20000)`);
  process.exit(0);
}

const MAIN = join(REPOSITORY, "dist", "cli", "main.js");
/** Nothing is written before. */
const STARTING_MS = 200;
/** So many rounds for each that is wanted. */
const MOST_ROUNDS = 3;
const EVERY = ["--checkpoint-every", "200K"];
const directory = temporaryDirectory();
const dump = join(directory, "volume.json");
writeFileSync(dump, await wideVolumeText(Number(values.files)));

interface Tally {
  rounds: number;
  /** The load had ended before. */
  tooLate: number;
  /** Gone on with from a checkpoint, and from the beginning. */
  fromCheckpoint: number;
  fromBeginning: number;
  equal: number;
  readonly violations: string[];
}

const emptyTally = (): Tally => ({
  rounds: 0,
  tooLate: 0,
  fromCheckpoint: 0,
  fromBeginning: 0,
  equal: 0,
  violations: [],
});

async function decant(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return runCommand(NODE, [MAIN, ...args], { timeoutMs: 180_000 });
}

/** SHA-256 of all that is stored, as a binary dump has it. */
async function contents(url: string): Promise<string> {
  const file = join(directory, "contents.bin");
  await mustRun(NODE, [MAIN, "dump", url, file, "--binary", "--keep-secret-key"]);
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** One load with `fault` at a random moment, gone on with until it ends. */
async function round(target: FaultTarget, ms: number, expected: string, tally: Tally, fault: Fault): Promise<void> {
  const url = await target.fresh();
  if ((await decant("status", url)).code !== 4) throw new Error(`${url} is not empty`);
  tally.rounds++;
  // every third one is killed a second time
  for (let times = Math.random() < 1 / 3 ? 2 : 1; times > 0; times--) {
    const load = startDecant(["load", url, dump, "--resume", ...EVERY], {}, MAIN);
    load.input.end();
    await sleep(STARTING_MS + Math.random() * (ms - STARTING_MS));
    await fault(load, target);
    await load.ended;
  }
  const status = await decant("status", url);
  if (status.code === 0) {
    tally.tooLate++;
  } else {
    if (status.code !== 4) tally.violations.push(`status ended with ${status.code}: ${status.err}`);
    const resumed = await decant("load", url, dump, "--resume", "--json", ...EVERY);
    if (resumed.code !== 0) {
      tally.violations.push(`load --resume ended with ${resumed.code}: ${resumed.err}`);
      return;
    }
    const { resumedBatches } = JSON.parse(resumed.out) as { resumedBatches: number };
    if (resumedBatches > 0) tally.fromCheckpoint++;
    else tally.fromBeginning++;
  }
  if ((await contents(url)) === expected) tally.equal++;
  else tally.violations.push(`${url} is not what an undisturbed load leaves`);
}

type Fault = (load: ReturnType<typeof startDecant>, target: FaultTarget) => Promise<void>;

const killLoad: Fault = async (load) => load.kill("SIGKILL");
const killServer: Fault = (_, target) => target.restart!();

const rows: { readonly name: string; readonly fault: string; readonly tally: Tally }[] = [];
for (const name of values.engines.split(",") as EngineName[]) {
  const target = await openTarget(name);
  try {
    const url = await target.fresh();
    const begun = performance.now();
    await mustRun(NODE, [MAIN, "load", url, dump, ...EVERY]);
    const ms = performance.now() - begun;
    const expected = await contents(url);
    const faults: [string, number, Fault][] = [["kill -9 of decant", Number(values.kills), killLoad]];
    if (target.restart !== undefined) faults.push(["kill -9 of the server", Number(values.restarts), killServer]);
    for (const [text, count, fault] of faults) {
      const tally = emptyTally();
      rows.push({ name, fault: text, tally });
      let span = ms;
      // What ended before its fault counts for nothing: until so many were hit, or it is plain that few can be.
      for (let i = 0; tally.rounds - tally.tooLate < count && i < count * MOST_ROUNDS; i++) {
        const { tooLate } = tally;
        await round(target, span, expected, tally, fault);
        span = tally.tooLate > tooLate ? Math.max(STARTING_MS + 50, span * 0.95) : Math.min(ms, span * 1.02);
      }
      console.error(`${name}, ${text}: ${tally.equal} of ${tally.rounds} equal`);
      for (const violation of tally.violations) console.error(`  VIOLATION: ${violation}`);
    }
  } finally {
    await target.close();
  }
}

console.log(
  "| engine | fault | rounds | too late | from a checkpoint | from the beginning | equal in the end | violations |",
);
console.log("|---|---|--:|--:|--:|--:|--:|--:|");
for (const { name, fault, tally } of rows) {
  const { rounds, tooLate, fromCheckpoint, fromBeginning, equal, violations } = tally;
  console.log(
    `| ${[name, fault, rounds, tooLate, fromCheckpoint, fromBeginning, equal, violations.length].join(" | ")} |`,
  );
}
process.exit(rows.some(({ tally }) => tally.violations.length > 0) ? 1 : 0);
