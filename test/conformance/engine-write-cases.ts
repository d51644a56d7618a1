import { expect } from "vitest";
import { ConflictError, NotFoundError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import { packBatch, type RecordKind } from "../../src/volume/records.ts";
import { change, type Fresh, type It, NEW_VOLUME, never } from "./engine-harness.ts";
import {
  attribute,
  comparable,
  INODE_PAST_DOUBLE,
  INODE_PAST_SIGNED,
  type RecordSet,
  SAMPLE_SETTING,
  toBatches,
} from "./engine-records.ts";

export function targetCases(it: It, fresh: Fresh): void {
  it("an empty database is ready for a load and holds no volume", async () => {
    const bench = await fresh();
    const store = await bench.open();
    expect(await store.inspectTarget(never)).toEqual({ state: "empty" });
    expect(await bench.storedSetting()).toBeUndefined();
    await expect(store.openSnapshot({ signal: never, logger: silentLogger })).rejects.toThrow(NotFoundError);
    await store.close();
  });

  it("opening and inspecting write nothing", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const store = await bench.open();
    await store.inspectTarget(never);
    await store.close();
    expect(await bench.fingerprint()).toEqual(before);
  });

  it("a database with something else in it is refused and stays as it was", async () => {
    const bench = await fresh();
    await bench.harness.occupy(bench.address);
    const before = await bench.fingerprint();
    const target = await (await bench.open()).inspectTarget(never);
    expect(target.state).toBe("occupied");
    expect(target).toHaveProperty("message", expect.stringContaining("not empty"));
    await expect(bench.loader()).rejects.toThrow(ConflictError);
    expect(await bench.fingerprint()).toEqual(before);
  });

  it("a volume is recognised by its setting and refused as a target", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
    const before = await bench.fingerprint();
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "volume", setting: SAMPLE_SETTING });
    await expect(bench.loader()).rejects.toThrow(ConflictError);
    expect(await bench.fingerprint()).toEqual(before);
  });
}

export function volumeCases(it: It, fresh: Fresh): void {
  it("a new volume has its setting, both roots and the first numbers", async () => {
    const bench = await fresh();
    const store = await bench.open();
    await store.createVolume(NEW_VOLUME, never);
    expect(await store.readSetting(never)).toEqual(SAMPLE_SETTING);
    const records = await bench.read(new Set<RecordKind>(["node", "edge", "counter"]));
    const counters = { usedSpace: 0, totalInodes: 0, nextChunk: 1, nextTrash: 0 };
    for (const [name, value] of Object.entries(counters)) {
      expect(records.counter).toContain(`name=${name} value=${value}`);
    }
    // Redis has no counters before the first mount, and none counts as 0: docs/spec/json-dump.md §4
    expect(records.counter).toContainEqual(expect.stringMatching(/^name=nextInode value=[12]$/));
    const nodes = [
      { inode: ROOT_INODE, attribute: NEW_VOLUME.root },
      { inode: TRASH_INODE, attribute: NEW_VOLUME.trashRoot! },
    ];
    expect({ node: records.node, edge: records.edge }).toEqual({ ...comparable({ node: nodes }), edge: undefined });
    expect(await store.listSessions(never)).toEqual([]);
    expect(await store.readUsage({ more: false, signal: never })).toMatchObject({ usedSpace: 0n, totalInodes: 0n });
  });

  it("a setting is changed, left alone, or kept when the change throws", async () => {
    const bench = await fresh();
    const store = await bench.open();
    await store.createVolume(NEW_VOLUME, never);
    const before = await bench.fingerprint();
    await store.updateSetting((stored) => {
      expect(stored).toEqual(SAMPLE_SETTING);
      return change(undefined);
    }, never);
    await expect(
      store.updateSetting(() => {
        throw new ConflictError("DECANT_E_TEST", "Refused");
      }, never),
    ).rejects.toThrow("Refused");
    expect(await bench.fingerprint()).toEqual(before);
    await store.updateSetting(() => change(Buffer.from('{"Name": "other"}')), never);
    expect(await store.readSetting(never)).toEqual(Buffer.from('{"Name": "other"}'));
  });

  it("no change of many writers at once is lost", async () => {
    const bench = await fresh();
    await (await bench.open()).createVolume({ ...NEW_VOLUME, setting: Buffer.from("0") }, never);
    const stores = await Promise.all(Array.from({ length: 4 }, () => bench.open()));
    const increment = (stored: Buffer | undefined) => change(Buffer.from(String(Number(stored?.toString()) + 1)));
    await Promise.all(
      stores.map(async (store) => {
        for (let i = 0; i < 5; i++) await store.updateSetting(increment, never);
      }),
    );
    expect(await bench.storedSetting()).toBe("20");
  });

  it("switching on statistics and quotas drops the old ones, and a missing trash root is stored", async () => {
    const bench = await fresh();
    const { node, ...others } = bench.sample();
    await bench.load({ ...others, node: node!.filter(({ inode }) => inode !== TRASH_INODE) });
    const trashRoot = NEW_VOLUME.trashRoot!;
    const changed = { ...change(SAMPLE_SETTING), dropDirStats: true, dropUserGroupQuotas: true, trashRoot };
    await (await bench.open()).updateSetting(() => changed, never);
    const records = await bench.read();
    expect([records.userQuota, records.groupQuota]).toEqual([undefined, undefined]);
    // Redis keeps the lengths, as the reference does: docs/spec/redis.md §3.2
    for (const line of records.dirStat ?? []) expect(line).toMatch(/ usedInodes=0 usedSpace=0$/);
    expect(records.quota).toEqual(comparable(bench.sample()).quota);
    expect(records.node).toContain(comparable({ node: [{ inode: TRASH_INODE, attribute: trashRoot }] }).node![0]);
  });

  it("a trash root that is there stays", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
    const changed = { ...change(SAMPLE_SETTING), trashRoot: NEW_VOLUME.root };
    await (await bench.open()).updateSetting(() => changed, never);
    expect(await bench.read()).toEqual(bench.expected(bench.sample()));
  });

  it("the usage of users and groups is replaced, their limits stay", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
    const usage = (key: bigint, usedSpace: bigint) => ({
      key,
      maxSpace: -1n,
      maxInodes: -1n,
      usedSpace,
      usedInodes: 7n,
    });
    const batches = [
      packBatch("userQuota", [usage(4294967295n, 12_288n), usage(5n, 4096n)]),
      packBatch("groupQuota", [usage(0n, 0n)]),
    ];
    await (await bench.open()).replaceUserGroupUsage(batches, never);
    const stored = (key: bigint, usedSpace: bigint) => ({ ...usage(key, usedSpace), maxSpace: 1n << 62n });
    const userQuotas = comparable({ userQuota: [stored(4294967295n, 12_288n), usage(5n, 4096n)] }).userQuota!;
    const limited = { ...usage(0n, 0n), maxSpace: 0n, maxInodes: 0n };
    const { userQuota, groupQuota } = await bench.read();
    expect(userQuota).toEqual(expect.arrayContaining(userQuotas));
    expect(groupQuota).toEqual(comparable({ groupQuota: [limited] }).groupQuota);
  });
}

export function loaderCases(it: It, fresh: Fresh): void {
  it("which is none before finish has returned", async () => {
    const bench = await fresh();
    const loader = await bench.loader();
    for (const batch of toBatches(bench.sample(), 100)) {
      await loader.write(batch);
      expect(await bench.storedSetting()).toBeUndefined();
    }
    await loader.finish(SAMPLE_SETTING);
    expect(await bench.storedSetting()).toBe(SAMPLE_SETTING.toString());
  });

  it("and after abort the target is as it was", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const loader = await bench.loader();
    for (const batch of toBatches(bench.sample(), 1000)) await loader.write(batch);
    await loader.abort();
    expect(await bench.fingerprint()).toEqual(before);
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "empty" });
    await bench.load(bench.sample());
    expect(await bench.read()).toEqual(bench.expected(bench.sample()));
  });

  it("and abort after finish leaves the volume alone", async () => {
    const bench = await fresh();
    const loader = await bench.loader();
    for (const batch of toBatches(bench.sample(), 1000)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
    await loader.abort();
    expect(await bench.read()).toEqual(bench.expected(bench.sample()));
  });

  it("and of two loads at once the second one fails and leaves the first one's volume alone", async () => {
    const bench = await fresh();
    const root = [...toBatches({ node: [{ inode: 1n, attribute: NEW_VOLUME.root }] })][0]!;
    const first = await bench.loader();
    const loadSecond = async (): Promise<() => Promise<void>> => {
      const second = await bench.loader(); // an engine may refuse already here
      await second.write(root);
      return () => second.finish(SAMPLE_SETTING);
    };
    const finishSecond = await loadSecond().catch((error: unknown) => () => Promise.reject(error));
    await first.write(root);
    await first.finish(SAMPLE_SETTING);
    await expect(finishSecond()).rejects.toThrow(ConflictError);
    expect(await bench.storedSetting()).toBe(SAMPLE_SETTING.toString());
    expect((await bench.read()).node).toHaveLength(1);
  });

  it("in any order of kinds", async () => {
    const bench = await fresh();
    await bench.load(Object.fromEntries(Object.entries(bench.sample()).reverse()) as RecordSet);
    expect(await bench.read()).toEqual(bench.expected(bench.sample()));
  });

  it("and reads and replaces attributes on the way", async () => {
    const bench = await fresh();
    const { node, ...others } = bench.sample();
    const loader = await bench.loader();
    for (const batch of toBatches({ node: node! })) await loader.write(batch);
    const asked = [3n, 999n, INODE_PAST_SIGNED, INODE_PAST_DOUBLE, TRASH_INODE];
    const expected = asked.map((inode) => node!.find((record) => record.inode === inode)?.attribute);
    expect(await loader.readNodes(asked)).toEqual(expected);
    const replaced = { inode: INODE_PAST_SIGNED, attribute: attribute(FileType.regular, 2n, { nlink: 9, tier: 2 }) };
    await loader.replaceNodes(packBatch("node", [replaced]));
    expect(await loader.readNodes([INODE_PAST_SIGNED])).toEqual([replaced.attribute]);
    for (const batch of toBatches(others)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
    const nodes = node!.map((record) => (record.inode === replaced.inode ? replaced : record));
    expect((await bench.read()).node).toEqual(comparable({ node: nodes }).node);
  });
}
