import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { CatalogueEntry } from "../../src/operations/backups/catalogue.ts";
import { isWholeDump } from "../../src/operations/backups/verify-backup.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { newSqliteTarget } from "../../test/support/run-operations.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { type AgentProcess, DIST_MAIN, type LoggedProcess, NODE } from "./agent-process.ts";
import type { SeenBackup } from "./history.ts";
import type { World } from "./world.ts";

export interface Expectations {
  /** Whether any two backups have to be a period apart. Not where clocks differ and nobody's is everybody's. */
  readonly isExclusive: boolean;
  /** Whether there has to be a backup in each period, but for the time of faults and what it takes to get over them. */
  readonly isSteady: boolean;
}

export interface Outcome {
  readonly agents: number;
  readonly mounts: number;
  readonly kills: number;
  readonly faults: number;
  readonly periods: number;
  /** Good ones by agents, and those by clients. */
  readonly byAgents: number;
  readonly byClients: number;
  /** Backups of two clients, or of a client and an agent, in the same moment: the reference does not compare. */
  readonly races: number;
  /** What was left by agents that were killed, and counts for nothing. */
  readonly unverified: number;
  readonly deleted: number;
  readonly shortestS: number | undefined;
  readonly longestS: number | undefined;
  readonly violations: readonly string[];
}

/** What names and clocks round away, and what one client that looks at the same moment takes. */
const ROUNDING_MS = 1100;
const RACE_MS = 2500;

interface Made {
  readonly name: string;
  /** When it was begun. */
  readonly atMs: number;
  readonly endMs: number;
  readonly by: "agent" | "client";
}

/** Holds what was seen against what has to be. Everything has ended. */
export async function checkWorld(world: World, expectations: Expectations): Promise<Outcome> {
  const endedMs = Date.now();
  const last = await world.history.end();
  const violations = [...world.history.violations];
  const clientNames = namesByClients(world.mounts);
  const made = madeBackups(world.history.backups(), clientNames);
  const { gaps, races } = checkGaps(world, made, endedMs, expectations, violations);
  checkOverlaps(made, violations);
  for (const agent of world.agents) checkCounted(agent, violations);
  const unverified = last.filter(({ backup, quality }) => quality !== "good" && !clientNames.has(backup.name));
  const started = new Set(world.history.backups().map(({ entry }) => entry.backup.name));
  for (const entry of last) {
    if (entry.quality === "good" && started.has(entry.backup.name)) await checkLoads(world, entry, violations);
  }
  for (const { backup } of last.filter(({ backup: { name } }) => clientNames.has(name))) {
    if (!(await isWholeDump(world.storage, backup, createContext({ env: {} })))) {
      violations.push(`${backup.name} of a client is damaged`);
    }
  }
  for (const after of world.afterwards) await after();
  return {
    agents: world.agents.length,
    mounts: world.mounts.length,
    kills: world.kills,
    faults: world.faults.length - world.kills,
    periods: Math.floor((endedMs - world.startedMs) / world.periodMs),
    byAgents: made.filter(({ by }) => by === "agent").length,
    byClients: made.filter(({ by }) => by === "client").length,
    races,
    unverified: unverified.length,
    deleted: world.history.deletions,
    shortestS: gaps.length === 0 ? undefined : Math.min(...gaps) / 1000,
    longestS: gaps.length === 0 ? undefined : Math.max(...gaps) / 1000,
    violations,
  };
}

function namesByClients(mounts: readonly LoggedProcess[]): Set<string> {
  const names = new Set<string>();
  for (const { lines } of mounts) {
    for (const { text } of lines) {
      const match = /backup metadata succeed.*\/(dump-[^/"]+)"/.exec(text);
      if (match !== null) names.add(match[1]!);
    }
  }
  return names;
}

/** Ascending by their begin, by the right clock. */
function madeBackups(seen: readonly SeenBackup[], byClients: ReadonlySet<string>): Made[] {
  const made: Made[] = [];
  for (const { entry, seenMs, goodMs } of seen) {
    const { name, time } = entry.backup;
    const named = time.getTime();
    if (byClients.has(name)) {
      made.push({ name, atMs: named, endMs: seenMs, by: "client" });
    } else if (goodMs !== undefined && entry.manifest === undefined) {
      // Its manifest was lost, and somebody has verified it since.
      made.push({ name, atMs: named, endMs: seenMs, by: "agent" });
    } else if (goodMs !== undefined && entry.manifest !== undefined) {
      const { durationMs, verifiedAt } = entry.manifest.backup;
      const told = Date.parse(verifiedAt);
      const endMs = Math.abs(told - goodMs) < 5000 ? told : goodMs;
      const isNamedRightly = Math.abs(named - (endMs - durationMs)) < 60_000;
      made.push({ name, atMs: isNamedRightly ? named : endMs - durationMs, endMs, by: "agent" });
    }
  }
  return made.sort((a, b) => a.atMs - b.atMs);
}

function checkGaps(
  world: World,
  made: readonly Made[],
  endedMs: number,
  { isExclusive, isSteady }: Expectations,
  violations: string[],
): { gaps: number[]; races: number } {
  const gaps: number[] = [];
  let races = 0;
  for (const [i, { name, atMs, by }] of made.entries()) {
    const next = made[i + 1];
    if (next !== undefined) {
      const gap = next.atMs - atMs;
      const isRace = gap < RACE_MS && (by === "client" || next.by === "client");
      if (isRace) races++;
      else gaps.push(gap);
      if (isExclusive && !isRace && gap < world.periodMs - ROUNDING_MS) {
        violations.push(`${name} and ${next.name} are ${gap / 1000} s apart, the period is ${world.options.periodS} s`);
      }
    }
    const to = next?.atMs ?? endedMs;
    const allowed = allowedMs(world, atMs, to);
    if (isSteady && to - atMs > allowed) {
      violations.push(`no backup for ${(to - atMs) / 1000} s after ${name}, more than ${allowed / 1000} s`);
    }
  }
  if (made.length === 0) violations.push("there is no backup at all");
  return { gaps, races };
}

/** A period and the tenth that looks may come late; what is wrong meanwhile, a lease that has to end, and a repetition. */
function allowedMs({ faults, periodMs, leaseMs }: World, fromMs: number, toMs: number): number {
  let allowed = periodMs * 1.25 + 3000;
  const during = faults.filter((fault) => fault.fromMs < toMs && fault.toMs > fromMs - periodMs);
  if (during.length > 0) allowed += periodMs + 2 * leaseMs;
  for (const { fromMs: from, toMs: to } of during) allowed += Math.max(0, Math.min(to, toMs) - Math.max(from, fromMs));
  return allowed;
}

/** Of two that agents have made, one had ended before the other one began. */
function checkOverlaps(made: readonly Made[], violations: string[]): void {
  const ours = made.filter(({ by }) => by === "agent");
  for (const [i, { name, endMs }] of ours.entries()) {
    const next = ours[i + 1];
    // The begin of a name is cut to the second.
    if (next !== undefined && next.atMs + 1000 < endMs)
      violations.push(`${next.name} was begun before ${name} had ended`);
  }
}

/** Each attempt of which the log says that it failed is counted, as far as the metrics could be read after it. */
function checkCounted(agent: AgentProcess, violations: string[]): void {
  const failed = agent.lines.filter(({ text }) => text.includes("backup metadata failed"));
  const counted = agent.metric("decant_backup_failures_total");
  const late = failed.filter(({ atMs }) => atMs > (agent.endedMs ?? Infinity) - 3000).length;
  if (counted < failed.length - late) {
    violations.push(`${agent.label} tells of ${failed.length} failed backups and has counted ${counted}`);
  }
  const trace = agent.lines.find(({ text }) => /^\s+at .+:\d+:\d+|ERR_UNHANDLED|Uncaught/.test(text));
  if (trace !== undefined) violations.push(`${agent.label} printed a stack trace: ${trace.text}`);
}

/** What counts as good is a dump that the command takes for whole, and that can be loaded. */
async function checkLoads({ storage }: World, { backup }: CatalogueEntry, violations: string[]): Promise<void> {
  const context = createContext({ env: {} });
  const file = join(temporaryDirectory(), backup.name);
  await pipeline(storage.getStream(backup.key, { signal: context.signal }), createWriteStream(file));
  const { code, err } = await runCommand(NODE, [DIST_MAIN, "verify", file]);
  if (code !== 0) violations.push(`${backup.name} counts as good; decant verify ends with ${code}: ${err}`);
  const target = newSqliteTarget();
  try {
    await load({ target: target.url, source: { file } }, context);
  } catch (error) {
    violations.push(`${backup.name} counts as good and cannot be loaded: ${String(error)}`);
  }
  await rm(file);
  await rm(target.path, { force: true });
}
