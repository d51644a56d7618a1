import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseLease } from "../../src/agent/lease-value.ts";
import { parseBackupKey } from "../../src/operations/backups/backup-name.ts";
import { BACKUP_LEASE_XATTR } from "../../src/volume/backup-xattrs.ts";
import { type BucketVolume, bucketVolume, withStore } from "../support/backup-volume.ts";
import { mountingClient, whileMounted } from "../support/mount.ts";
import { startRedis } from "../support/redis-server.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { newSqliteTarget } from "../support/run-operations.ts";
import { startDecant } from "../support/running-decant.ts";

const SHORT = { SKIP_BACKUP_META_CHECK: "true" };
const PERIOD_S = 10;

const MOUNT_OPTIONS = [
  "--no-usage-report",
  "--backup-meta",
  `${PERIOD_S}s`,
  "--metrics",
  "127.0.0.1:0",
  "--cache-dir",
  "memory",
];

const client = await mountingClient();
const hasRedis = await requireRedisServer("agents and a mount that share a Redis volume");

/** Times of the backups in the bucket, seconds, ascending. */
function times(volume: BucketVolume): number[] {
  // One that is being written has another name.
  const backups = volume.names("meta").map((name) => parseBackupKey(`meta/${name}`));
  return backups.filter((backup) => backup !== undefined).map(({ time }) => time.getTime() / 1000);
}

function gaps(seconds: readonly number[]): number[] {
  return seconds.slice(1).map((second, i) => second - seconds[i]!);
}

async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) await sleep(50);
}

/** Whether an agent is at a backup, as the lease says. */
function isBackingUp(url: string): Promise<boolean> {
  return withStore(url, async (store) => {
    const lease = (await store.readRootXattrs([BACKUP_LEASE_XATTR], new AbortController().signal)).get(
      BACKUP_LEASE_XATTR,
    );
    return lease !== undefined && parseLease(lease)?.work.state === "backing-up";
  });
}

/** Two agents and a client that backs up too. `kill`: one of the agents is killed on the way. */
async function share(url: string, { kill }: { kill: boolean }): Promise<{ volume: BucketVolume; logs: string[] }> {
  const volume = await bucketVolume(undefined, url);
  const args = ["agent", "--backup-meta", `${PERIOD_S}s`, "--lease", "3s", "--verbose", url];
  const agents = [startDecant(args, SHORT), startDecant(args, SHORT)];
  try {
    await whileMounted(
      client!,
      url,
      async () => {
        await until(() => times(volume).length >= 2);
        // One that was killed before it has read its backup back would have that made again, soon.
        while (kill && (await isBackingUp(url))) await sleep(50);
        if (kill) agents[0]!.kill("SIGKILL");
        await until(() => times(volume).length >= 4);
      },
      { options: MOUNT_OPTIONS, env: SHORT },
    );
  } finally {
    for (const agent of agents) agent.kill("SIGTERM");
  }
  const ends = await Promise.all(agents.map(({ ended }) => ended));
  return { volume, logs: ends.map(({ err }) => err) };
}

describe.skipIf(client === undefined)("two agents and a client that share a volume", () => {
  test("in SQLite make one backup per period, together", async () => {
    const { volume, logs } = await share(newSqliteTarget().url, { kill: false });
    // Names have whole seconds
    expect(Math.min(...gaps(times(volume)))).toBeGreaterThanOrEqual(PERIOD_S - 1);
    expect(logs.join("")).not.toContain("failed");
    const byAgents = logs.join("").split("backup metadata succeed").length - 1;
    expect(volume.names("decant/manifests").length).toBe(byAgents);
  });

  test("an agent of a longer period reads back what the client makes", async () => {
    const url = newSqliteTarget().url;
    const volume = await bucketVolume(undefined, url);
    const agent = startDecant(["agent", "--backup-meta", "60s", url], SHORT);
    try {
      await whileMounted(client!, url, () => until(() => volume.names("decant/checks").length >= 2), {
        options: MOUNT_OPTIONS,
        env: SHORT,
      });
    } finally {
      agent.kill("SIGTERM");
    }
    const { err } = await agent.ended;
    expect(err).toMatch(/backup dump-.*\.json\.gz of another client is verified/);
    expect(err).not.toContain("damaged");
    expect(volume.names("decant/manifests")).toEqual([]);
  });

  test.skipIf(!hasRedis)("in Redis go on when one of the agents is killed", async () => {
    const redis = await startRedis();
    try {
      const { volume, logs } = await share(redis.url(1), { kill: true });
      expect(Math.min(...gaps(times(volume)))).toBeGreaterThanOrEqual(PERIOD_S - 1);
      // A check comes every tenth of a period, and a dead one's lease ends after 3 s.
      expect(logs.join("")).not.toContain("failed");
    } finally {
      await redis.stop();
    }
  });
});
