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

const rows: (TrialRow & { readonly name: string })[] = [];
for (const name of values.engines.split(",") as EngineName[]) {
  for await (const { fault, tally } of trialsOf(name)) {
    rows.push({ name, fault, tally });
    console.error(`${name}, ${fault}: ${tally.equal} of ${tally.rounds} equal`);
    for (const violation of tally.violations) console.error(`  VIOLATION: ${violation}`);
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
