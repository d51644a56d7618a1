import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseLease } from "../../src/agent/lease-value.ts";
import { parseBackupKey } from "../../src/operations/backups/backup-name.ts";
import { BACKUP_LEASE_XATTR } from "../../src/volume/backup-xattrs.ts";
import { type BucketVolume, bucketVolume, withStore } from "../support/backup-volume.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";

/** Agents whose lease is in a key-value store: what it is in other databases is in test/fault/agent-shared.test.ts. */

const PERIOD_S = 4;
const SHORT_PERIODS = { SKIP_BACKUP_META_CHECK: "true" };

const etcd = await requireEtcd();
const tikv = await requireTikvCluster();

const STORES: readonly (readonly [name: string, server: object | undefined, newUrl: () => string])[] = [
  ["etcd", etcd, () => etcd!.url(`/agents-${process.pid}-${Date.now()}`)],
  ["TiKV", tikv, () => tikv!.url(`agents-${Date.now()}`)],
];

/** Times of the backups, seconds, ascending. One that is being written has another name. */
function times(volume: BucketVolume): number[] {
  const backups = volume.names("meta").map((name) => parseBackupKey(`meta/${name}`));
  return backups.filter((backup) => backup !== undefined).map(({ time }) => time.getTime() / 1000);
}

function isBackingUp(url: string): Promise<boolean> {
  return withStore(url, async (store) => {
    const values = await store.readRootXattrs([BACKUP_LEASE_XATTR], new AbortController().signal);
    const lease = values.get(BACKUP_LEASE_XATTR);
    return lease !== undefined && parseLease(lease)?.work.state === "backing-up";
  });
}

describe.each(STORES)("two agents of a volume in %s", (_, server, newUrl) => {
  test.skipIf(server === undefined)(
    "make one backup per period together, and one of them goes on when the other is killed",
    async () => {
      const url = newUrl();
      const volume = await bucketVolume(undefined, url);
      const args = ["agent", "--backup-meta", `${PERIOD_S}s`, "--lease", "3s", url];
      const agents = [startDecant(args, SHORT_PERIODS), startDecant(args, SHORT_PERIODS)];
      const until = async (count: number): Promise<void> => {
        while (times(volume).length < count) await sleep(50);
      };
      await until(2);
      // One that was killed before it has read its backup back would have that made again, soon.
      while (await isBackingUp(url)) await sleep(50);
      agents[0]!.kill("SIGKILL");
      await until(3);
      agents[1]!.kill("SIGTERM");
      const [killed, ended] = await Promise.all(agents.map((agent) => agent.ended));
      expect([killed!.signalName, ended!.code]).toEqual(["SIGKILL", 0]);
      const seconds = times(volume);
      const gaps = seconds.slice(1).map((second, i) => second - seconds[i]!);
      // Names have whole seconds.
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(PERIOD_S - 1);
      expect(`${killed!.err}${ended!.err}`).not.toContain("failed");
      expect(volume.names("decant/manifests").length).toBe(seconds.length);
    },
  );
});
