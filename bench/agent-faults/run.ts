import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { mountingClient } from "../../test/support/mount.ts";
import { CACHE } from "../../test/support/repository.ts";
import type { Outcome } from "./check.ts";
import { runScenario, SCENARIOS, type Scenario } from "./scenarios.ts";

/**
 * Compiled agents and real mounts that share a volume for many short periods while something is wrong, and what has to hold all the
 * same: `npm run agent-faults`, docs/operations/reliability.md.
 */

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    periods: { type: "string", default: "12" },
    period: { type: "string", default: "15" },
    logs: { type: "string", default: join(CACHE, "agent-faults") },
    list: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run agent-faults -- [options]   agents, mounts and faults; ends with 1 when anything is not as it has to be

  --only NAME     this scenario, any number of times (all)
  --periods N     how many, where a scenario has no end of its own (12)
  --period S      seconds (15)
  --logs DIR      where the output of all processes goes (.cache/agent-faults)
  --list          names of the scenarios
  --json          one JSON document`);
  process.exit(0);
}
if (values.list) {
  for (const { name, about } of SCENARIOS) console.log(`${name.padEnd(20)} ${about}`);
  process.exit(0);
}

interface Result {
  readonly scenario: Scenario;
  readonly outcome: Outcome;
}

const unknown = (values.only ?? []).filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
if (unknown.length > 0) throw new Error(`No scenario ${unknown.join(", ")}: see --list`);
const chosen = SCENARIOS.filter(({ name }) => values.only === undefined || values.only.includes(name));
const client = chosen.some(({ needsMounts }) => needsMounts) ? await mountingClient() : undefined;
const results: Result[] = [];
for (const scenario of chosen) {
  if (scenario.needsMounts && client === undefined) {
    console.error(`${scenario.name}: left out, as nothing can be mounted here`);
    continue;
  }
  console.error(`${scenario.name}: ${scenario.about}`);
  const directory = join(values.logs, scenario.name);
  mkdirSync(directory, { recursive: true });
  const options = { periods: Number(values.periods), periodS: Number(values.period), client, directory };
  const outcome = await runScenario(scenario, options);
  results.push({ scenario, outcome });
  for (const violation of outcome.violations) console.error(`  VIOLATION: ${violation}`);
}
if (values.json) {
  console.log(
    JSON.stringify(
      results.map(({ scenario: { name, about }, outcome }) => ({ name, about, ...outcome })),
      null,
      2,
    ),
  );
} else {
  printTable(results);
}
process.exit(results.some(({ outcome }) => outcome.violations.length > 0) ? 1 : 0);

function printTable(all: readonly Result[]): void {
  const head = [
    "scenario",
    "periods",
    "agents",
    "kills",
    "faults",
    "made by agents",
    "clients",
    "races",
    "left unverified",
    "deleted",
    "apart",
    "violations",
  ];
  const rows = all.map(({ scenario, outcome: o }) => [
    scenario.name,
    ...[o.periods, o.agents, o.kills, o.faults, o.byAgents, o.byClients, o.races, o.unverified, o.deleted].map(String),
    o.shortestS === undefined ? "-" : `${o.shortestS.toFixed(0)}-${o.longestS!.toFixed(0)} s`,
    String(o.violations.length),
  ]);
  console.log(`| ${head.join(" | ")} |\n|${head.map((_, i) => (i === 0 ? "---|" : "--:|")).join("")}`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
}
