import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import type { RecordKind } from "../../src/volume/records.ts";
import { runDecant } from "../support/decant.ts";
import { type EtcdCluster, type EtcdMember, startEtcdCluster } from "../support/etcd-cluster.ts";
import { requireEtcdServer } from "../support/etcd-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

const isAvailable = await requireEtcdServer();
const FILES = 12_000;
const never = new AbortController().signal;
const KINDS: ReadonlySet<RecordKind> = new Set<RecordKind>(["node", "edge", "chunk"]);

describe.skipIf(!isAvailable)("a cluster of three etcd servers", () => {
  let cluster: EtcdCluster;
  let text: Buffer;
  /** The volume as one load without faults has stored it. */
  let lines: string[];
  beforeAll(async () => {
    cluster = await startEtcdCluster(3);
    text = await wideVolumeText(FILES);
    const load = startDecant(["load", cluster.url("/source")]);
    load.input.end(text);
    expect(await load.ended).toMatchObject({ code: 0 });
    lines = await cluster.members[0]!.gateway.readLines("/source");
    expect(lines.length).toBeGreaterThan(3 * FILES);
  });
  afterEach(() => cluster.repair());
  afterAll(() => cluster.stop());

  /** A load that has written something and waits for the rest of its input. */
  async function begunLoad(path: string, members: readonly EtcdMember[]): Promise<ReturnType<typeof startDecant>> {
    const load = startDecant(["load", cluster.url(path, members)]);
    load.input.write(text.subarray(0, text.length / 2));
    while ((await members[0]!.gateway.readLines(path)).length < 1000) await sleep(50);
    return load;
  }

  /** Inodes of a volume, `whileReading` called when the first of them have come. */
  async function readCounts(members: readonly EtcdMember[], whileReading: () => Promise<void>): Promise<object> {
    const store = await openStore(cluster.url("/source", members), { logger: silentLogger, signal: never, env: {} });
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    const counts: Record<string, number> = {};
    let isFirst = true;
    for await (const { kind, count } of snapshot.records({ kinds: KINDS })) {
      counts[kind] = (counts[kind] ?? 0) + count;
      if (isFirst) await whileReading();
      isFirst = false;
    }
    await snapshot.close();
    await store.close();
    return counts;
  }
  const directories = FILES / 1000;
  const whole = { node: FILES + directories + 2, edge: FILES + directories, chunk: FILES };

  test("is dumped and loaded to the end when its leader is killed meanwhile", async () => {
    const members = await cluster.byRole();
    const load = await begunLoad("/killed", members);
    await expect(readCounts(members, () => members[0]!.crash())).resolves.toEqual(whole);
    load.input.end(text.subarray(text.length / 2));
    const { code, err } = await load.ended;
    expect([code, err]).toEqual([0, expect.anything()]);
    expect(await members[1]!.gateway.readLines("/killed")).toEqual(lines);
  });

  test("is dumped and loaded to the end when the server that is asked stands still, and is as it was when that goes on", async () => {
    const members = await cluster.byRole();
    const load = await begunLoad("/paused", members);
    const halted = readCounts(members, () => members[0]!.pause());
    await expect(halted).resolves.toEqual(whole);
    load.input.end(text.subarray(text.length / 2));
    const { code, err } = await load.ended;
    expect([code, err]).toEqual([0, expect.anything()]);
    expect(await members[1]!.gateway.readLines("/paused")).toEqual(lines);
    await members[0]!.resume();
    expect(await members[0]!.gateway.readLines("/paused")).toEqual(lines);
  });

  test("that loses most of its members in a load makes it fail, and holds no volume afterwards", async () => {
    const members = await cluster.byRole();
    const load = await begunLoad("/lost", members);
    await Promise.all([members[0]!.crash(), members[1]!.crash()]);
    load.input.end(text.subarray(text.length / 2));
    const { code, err } = await load.ended;
    expect(code).toBe(7);
    expect(err).toMatch(/error: The etcd server at etcd:\S+ has no leader: .*etcdserver: no leader/);
    expect(err).toContain("It holds no volume, but it may not be empty");
    expect(err).not.toContain("    at ");

    await cluster.repair();
    const url = cluster.url("/lost");
    expect(await runDecant(["status", url])).toMatchObject({ code: 4 });
    const again = await runDecant(["load", url, "/dev/null"]);
    expect(again.code).toBe(5);
    expect(again.err).toContain("with --clean removes what it wrote");
    const clean = startDecant(["load", url, "--clean"]);
    clean.input.end(text);
    expect(await clean.ended).toMatchObject({ code: 0 });
    expect(await members[0]!.gateway.readLines("/lost")).toEqual(lines);
  });

  test("has members that take no requests, which is said, and passed over where there are others", async () => {
    const learner = await cluster.addLearner();
    const alone = await runDecant(["status", cluster.url("/source", [learner])]);
    expect(alone.code).toBe(7);
    expect(alone.err).toContain("is a learner, which takes no requests until it is promoted");
    expect(
      await runDecant(["status", cluster.url("/source", [learner, ...cluster.members.slice(0, 1)])]),
    ).toMatchObject({
      code: 0,
    });
  });
});
