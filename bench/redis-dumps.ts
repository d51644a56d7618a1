import { cpus, loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { EngineError } from "../src/base/errors.ts";
import { silentLogger } from "../src/base/logger.ts";
import type { Consistency, SnapshotMethod } from "../src/engines/engine.ts";
import { openStore } from "../src/engines/registry.ts";
import { collectRecords, ENGINE_KINDS } from "../test/support/collect-records.ts";
import { RedisGate } from "../test/support/redis-gate.ts";
import { attributeOf, contradictions } from "../test/support/redis-model.ts";
import { type RedisServer, startRedis } from "../test/support/redis-server.ts";
import { RedisWriters } from "../test/support/redis-writers.ts";

/**
 * Reads a small volume in Redis again and again, as dumps do, while writers keep invariants over many keys at every instant
 * (test/support/redis-model.ts), and counts the pictures that contradict them: `npm run redis-dumps`. Ends with 1 when one that was
 * called one point in time is wrong, and when those read key by key are all right, since nothing was tried then.
 */

const { values } = parseArgs({
  options: {
    tracking: { type: "string", default: "2200" },
    replica: { type: "string", default: "200" },
    none: { type: "string", default: "200" },
    nodes: { type: "string", default: "3000" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(`npm run redis-dumps -- [options]   dumps of a Redis that writers change: how many are of no instant

  --tracking N   dumps by tracking, a quarter of them against writers at full speed (2200)
  --replica N    dumps by a full resync (200)
  --none N       dumps key by key, of which some must be wrong (200)
  --nodes N      nodes that nobody changes, beside those of the writers (3000)`);
  process.exit(0);
}

interface Load {
  readonly text: string;
  readonly writers: number;
  readonly depth: number;
  readonly pauseMs: number;
  /** Of the dumps by tracking: those against fast writers take much longer. */
  readonly share: number;
  /** The server process is stopped for moments while it is read, so that much waits on every connection when it goes on. */
  readonly stopsServer?: boolean;
  /** Messages about changes come so much later than the values that they make old, on another connection. */
  readonly lateMs?: number;
}

const LATE_MS = 2;
const SLOW: Load = { text: "2 writers, 1 ms apart", writers: 2, depth: 1, pauseMs: 1, share: 5 / 16 };
const FAST: Load = { text: "2 writers, full speed", writers: 2, depth: 4, pauseMs: 0, share: 1 / 8 };
const LOADS: readonly Load[] = [
  SLOW,
  FAST,
  {
    ...{ text: `2 writers, 10 ms apart; messages ${LATE_MS} ms late`, writers: 2, depth: 1, pauseMs: 10 },
    ...{ share: 1 / 8, lateMs: LATE_MS },
  },
  { ...SLOW, text: `${SLOW.text}; server stopped at random`, stopsServer: true },
  { ...FAST, text: `${FAST.text}; server stopped at random`, stopsServer: true },
];
/** Longest stop of the server, and longest time between two. */
const STOP_MS = 12;
const BETWEEN_MS = 25;

interface Tally {
  readonly method: SnapshotMethod;
  readonly load: Load;
  exact: number;
  /** What contradicts itself, though it was called one point in time, or with `none` whatever it was called. */
  wrong: number;
  /** Honest failures: writers were too fast. */
  refused: number;
  seconds: number;
  transactions: number;
  readonly rounds: number[];
  readonly rereads: number[];
  readonly heldMs: number[];
}

async function fill(server: RedisServer): Promise<void> {
  const client = server.client();
  try {
    await client.flushall();
    const pipeline = client.pipeline().set("setting", "{}");
    for (let i = 0; i < Number(values.nodes); i++) pipeline.set(`i${900_000_000 + i}`, attributeOf(i));
    await pipeline.exec();
  } finally {
    client.disconnect();
  }
}

async function readOnce(tally: Tally, url: string): Promise<void> {
  const { signal } = new AbortController();
  const store = await openStore(url, { logger: silentLogger, signal, env: {} });
  let picture: { found: string[]; consistency: Consistency };
  try {
    const snapshot = await store.openSnapshot({ logger: silentLogger, signal, method: tally.method });
    try {
      const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
      picture = { found: contradictions(records, tally.load.writers), consistency: snapshot.consistency };
    } finally {
      await snapshot.close();
    }
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== "DECANT_E_REDIS_TRACKING") throw error;
    tally.refused++;
    return;
  } finally {
    await store.close();
  }
  const { found, consistency } = picture;
  if (found.length === 0) tally.exact++;
  else {
    tally.wrong++;
    if (tally.method !== "none") console.error(`WRONG (${tally.method}, ${tally.load.text}): ${found.join("; ")}`);
  }
  const { rounds = 0, rereadKeys = 0, heldMs = 0 } = consistency.tracking ?? {};
  tally.rounds.push(rounds);
  tally.rereads.push(rereadKeys);
  tally.heldMs.push(heldMs);
}

/** Stops and continues a process until `signal` fires. */
async function stopAtRandom(pid: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    process.kill(pid, "SIGSTOP");
    await sleep(Math.random() * STOP_MS);
    process.kill(pid, "SIGCONT");
    await sleep(Math.random() * BETWEEN_MS);
  }
}

async function run(server: RedisServer, method: SnapshotMethod, load: Load, dumps: number): Promise<Tally> {
  const tally: Tally = {
    method,
    load,
    ...{ exact: 0, wrong: 0, refused: 0, seconds: 0, transactions: 0 },
    ...{ rounds: [], rereads: [], heldMs: [] },
  };
  await fill(server);
  const writers = await RedisWriters.start(server.port, load.writers, load);
  const { lateMs } = load;
  const gate = lateMs === undefined ? undefined : await RedisGate.start(server.port, [], lateMs);
  const ending = new AbortController();
  const stopping = load.stopsServer === true ? stopAtRandom(server.pid, ending.signal) : Promise.resolve();
  const from = performance.now();
  try {
    for (let i = 0; i < dumps; i++) {
      await readOnce(tally, (gate ?? server).url());
      if (i % 100 === 99) console.error(`${method}, ${load.text}: ${i + 1} of ${dumps}, ${tally.wrong} wrong`);
    }
  } finally {
    tally.seconds = (performance.now() - from) / 1000;
    ending.abort();
    gate?.close();
    await stopping;
    tally.transactions = await writers.stop();
  }
  return tally;
}

/** `median / largest` */
function spread(numbers: readonly number[], digits = 0): string {
  if (numbers.length === 0) return "-";
  const sorted = [...numbers].sort((a, b) => a - b);
  return `${sorted[sorted.length >> 1]!.toFixed(digits)} / ${sorted.at(-1)!.toFixed(digits)}`;
}

function row(tally: Tally): string {
  const { method, load, exact, wrong, refused, seconds, transactions, rounds, rereads, heldMs } = tally;
  const isTracked = method === "tracking";
  const cells = [method, load.text, Math.round(transactions / seconds), exact + wrong + refused, exact, wrong, refused];
  const held = heldMs.filter((ms) => ms > 0);
  const details = isTracked ? [spread(rounds), spread(rereads), held.length, spread(held, 1)] : ["-", "-", "-", "-"];
  return `| ${[...cells, ...details, Math.round((1000 * seconds) / rounds.length)].join(" | ")} |`;
}

const server = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
const tallies: Tally[] = [];
try {
  for (const load of LOADS) {
    tallies.push(await run(server, "tracking", load, Math.ceil(Number(values.tracking) * load.share)));
  }
  for (const method of ["replica", "none"] as const) {
    tallies.push(await run(server, method, FAST, Number(values[method])));
  }
} finally {
  await server.stop();
}

console.log(`${cpus().length} cores for all, load average ${loadavg()[0]!.toFixed(1)}; median / largest\n`);
console.log(
  "| method | load | transactions/s | dumps | exact | wrong | refused | rounds | keys read again | held writers | held ms | ms per dump |",
);
console.log(`|${"---|".repeat(12)}`);
for (const tally of tallies) console.log(row(tally));
const isProven = tallies.every(({ method, wrong }) => (method === "none") === wrong > 0);
process.exitCode = isProven ? 0 : 1;
