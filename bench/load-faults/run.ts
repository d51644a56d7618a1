import { parseArgs } from "node:util";
import { killTrials } from "./kill-faults.ts";
import { NETWORK_ENGINES, networkTrials } from "./network-faults.ts";
import { spaceTrials } from "./space-faults.ts";
import { ENGINE_NAMES, type EngineName } from "./targets.ts";
import { Trial, type TrialRow } from "./trial.ts";

/**
 * Loads that are killed at random moments, or whose server, network or disk fails, and that are gone on with: whether what is there in
 * the end is what an undisturbed load leaves. `npm run faults`, docs/reliability.md.
 */

const { values } = parseArgs({
  options: {
    engines: { type: "string", default: ENGINE_NAMES.join(",") },
    kills: { type: "string", default: "200" },
    restarts: { type: "string", default: "20" },
    networks: { type: "string", default: "20" },
    disks: { type: "string", default: "20" },
    files: { type: "string", default: "20000" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run faults -- [options]   loads that fail and are gone on with; ends with 1 when anything is not as it has to be

  --engines a,b   of ${ENGINE_NAMES.join(", ")} (all)
  --kills N       moments at which decant is killed, for each engine (200)
  --restarts N    moments at which the server is killed and started again (20)
  --networks N    times that the network is cut, that it stands still, and that it is slow (20)
  --disks N       times that a disk is full, or memory or quota of the server used up (20)
  --files N       size of the volume (20000)`);
  process.exit(0);
}

const trial = await Trial.of(Number(values.files));
const [kills, restarts, networks, disks] = [values.kills, values.restarts, values.networks, values.disks].map(Number);

async function* trialsOf(name: EngineName): AsyncGenerator<TrialRow> {
  if (kills! + restarts! > 0) yield* killTrials(name, { kills: kills!, restarts: restarts! }, trial);
  if (networks! > 0 && NETWORK_ENGINES.includes(name)) yield* networkTrials(name, networks!, trial);
  if (disks! > 0) yield* spaceTrials(name, disks!, trial);
}

const HEAD = [
  "| engine | fault | rounds | too late | from a checkpoint | from the beginning | equal in the end | violations |",
  "|---|---|--:|--:|--:|--:|--:|--:|",
];

/** Each line also goes to stderr at once: a run may take hours, and end before its time. */
function rowOf(name: EngineName, { fault, tally }: TrialRow): string {
  const { rounds, tooLate, fromCheckpoint, fromBeginning, equal, violations } = tally;
  const cells = [name, fault, rounds, tooLate, fromCheckpoint, fromBeginning, equal, violations.length];
  return `| ${cells.join(" | ")} |`;
}

const rows: string[] = [];
let hasViolations = false;
for (const name of values.engines.split(",") as EngineName[]) {
  for await (const row of trialsOf(name)) {
    const line = rowOf(name, row);
    rows.push(line);
    console.error(line);
    for (const violation of row.tally.violations) console.error(`  VIOLATION: ${violation}`);
    hasViolations ||= row.tally.violations.length > 0;
  }
}

console.log([...HEAD, ...rows].join("\n"));
process.exit(hasViolations ? 1 : 0);
