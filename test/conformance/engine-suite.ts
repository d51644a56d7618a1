import { describe, expect, test } from "vitest";
import { ConflictError, isAbortError, NotFoundError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, MetadataStore, NewVolume, SettingChange } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import { packBatch, type RecordKind, type RecordStream } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import {
  attribute,
  comparable,
  INODE_PAST_DOUBLE,
  INODE_PAST_SIGNED,
  ODD_NAMES,
  type RecordSet,
  SAMPLE_SETTING,
  sampleRecords,
  toBatches,
} from "./engine-records.ts";

/** What the suite needs to know of an engine. Every address is one that the engine's `open` takes. */
export interface EngineHarness {
  /** An empty database of its own for one test. */
  emptyAddress(): Promise<string>;
  /** Everything in a database, in a form in which equal means equal. */
  fingerprint(address: string): Promise<unknown>;
  /** Puts something into a database that is no part of a volume. */
  occupy(address: string): Promise<void>;
  /** An engine that creates a database with the first write has none to be read before. */
  readonly createsDatabase: boolean;
  /** Whether a snapshot is one instant. */
  readonly pointInTime: boolean;
  /** Kinds that are stored, but not returned where the rest of what they belong to is missing. */
  readonly omits?: readonly RecordKind[];
  /** Names of tests that fail and should not: the list may only shrink. */
  readonly knownFailures?: readonly string[];
}

/**
 * The contract of src/engines/engine.ts as tests, the same for every engine. `harness` is undefined where the engine's
 * server had to be skipped.
 */
export function describeEngine(name: string, harness: EngineHarness | undefined): void {
  describe.skipIf(harness === undefined)(`${name}: an engine`, () => {
    const fresh = async (): Promise<Bench> => new Bench(harness!, await harness!.emptyAddress());
    const it = (title: string, run: () => Promise<void>): void => {
      if (harness?.knownFailures?.includes(title)) test.fails(title, run);
      else test(title, run);
    };
    describe("finds what a target holds", () => targetCases(it, fresh));
    describe("creates and changes volumes", () => volumeCases(it, fresh));
    describe("loads a volume", () => loaderCases(it, fresh));
    describe("gives back what was loaded", () => roundTripCases(it, fresh));
    describe("reads a part of a volume", () => selectionCases(it, fresh));
    describe("stops when it is told to", () => abortCases(it, fresh));
  });
}

type It = (title: string, run: () => Promise<void>) => void;

const never = new AbortController().signal;
const NEW_VOLUME: NewVolume = {
  setting: SAMPLE_SETTING,
  root: encodeAttribute(newDirectoryAttribute(0o777, 1_700_000_000n)),
  trashRoot: encodeAttribute(newDirectoryAttribute(0o555, 1_700_000_000n)),
};

/** One database and the shortest ways to use it. */
class Bench {
  readonly harness: EngineHarness;
  readonly address: string;

  constructor(harness: EngineHarness, address: string) {
    this.harness = harness;
    this.address = address;
  }

  open(signal: AbortSignal = never): Promise<MetadataStore> {
    return openStore(this.address, { logger: silentLogger, signal, env: {}, create: true });
  }

  fingerprint(): Promise<unknown> {
    return this.harness.fingerprint(this.address);
  }

  async loader(options: { signal?: AbortSignal; sliceRefs?: "complete" | "exceptions" } = {}): Promise<Loader> {
    const { signal = never, sliceRefs = "complete" } = options;
    return (await this.open(signal)).openLoader({ signal, logger: silentLogger, sliceRefs });
  }

  async load(set: RecordSet, sliceRefs: "complete" | "exceptions" = "complete", perBatch = 7): Promise<void> {
    const loader = await this.loader({ sliceRefs });
    for (const batch of toBatches(set, perBatch)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
  }

  async read(kinds: ReadonlySet<RecordKind> = ENGINE_KINDS, root?: bigint): Promise<Record<string, string[]>> {
    const snapshot = await (await this.open()).openSnapshot({ signal: never, logger: silentLogger });
    try {
      const selection = root === undefined ? { kinds } : { kinds, root };
      return comparable(await collectRecords(snapshot.records(selection)));
    } finally {
      await snapshot.close();
    }
  }

  /** What is read of a set that was loaded. */
  expected(set: RecordSet): Record<string, string[]> {
    const omits: readonly string[] = this.harness.omits ?? [];
    return Object.fromEntries(Object.entries(comparable(set)).filter(([kind]) => !omits.includes(kind)));
  }

  /** The stored setting as another client sees it; also where the database does not exist yet. */
  async storedSetting(): Promise<string | undefined> {
    try {
      return (await (await this.open()).readSetting(never))?.toString();
    } catch (error) {
      if (error instanceof NotFoundError && this.harness.createsDatabase) return undefined;
      throw error;
    }
  }
}

type Fresh = () => Promise<Bench>;

function targetCases(it: It, fresh: Fresh): void {
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
    await bench.load(sampleRecords());
    const before = await bench.fingerprint();
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "volume", setting: SAMPLE_SETTING });
    await expect(bench.loader()).rejects.toThrow(ConflictError);
    expect(await bench.fingerprint()).toEqual(before);
  });
}

function volumeCases(it: It, fresh: Fresh): void {
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
    const { node, ...others } = sampleRecords();
    await bench.load({ ...others, node: node!.filter(({ inode }) => inode !== TRASH_INODE) });
    const trashRoot = NEW_VOLUME.trashRoot!;
    const changed = { ...change(SAMPLE_SETTING), dropDirStats: true, dropUserGroupQuotas: true, trashRoot };
    await (await bench.open()).updateSetting(() => changed, never);
    const records = await bench.read();
    expect([records.userQuota, records.groupQuota]).toEqual([undefined, undefined]);
    // Redis keeps the lengths, as the reference does: docs/spec/redis.md §3.2
    for (const line of records.dirStat ?? []) expect(line).toMatch(/ usedInodes=0 usedSpace=0$/);
    expect(records.quota).toEqual(comparable(sampleRecords()).quota);
    expect(records.node).toContain(comparable({ node: [{ inode: TRASH_INODE, attribute: trashRoot }] }).node![0]);
  });

  it("a trash root that is there stays", async () => {
    const bench = await fresh();
    await bench.load(sampleRecords());
    const changed = { ...change(SAMPLE_SETTING), trashRoot: NEW_VOLUME.root };
    await (await bench.open()).updateSetting(() => changed, never);
    expect(await bench.read()).toEqual(bench.expected(sampleRecords()));
  });

  it("the usage of users and groups is replaced, their limits stay", async () => {
    const bench = await fresh();
    await bench.load(sampleRecords());
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

function change(setting: Buffer | undefined): SettingChange {
  return { setting, dropDirStats: false, dropUserGroupQuotas: false, trashRoot: undefined };
}

function loaderCases(it: It, fresh: Fresh): void {
  it("which is none before finish has returned", async () => {
    const bench = await fresh();
    const loader = await bench.loader();
    for (const batch of toBatches(sampleRecords())) {
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
    for (const batch of toBatches(sampleRecords(), 1000)) await loader.write(batch);
    await loader.abort();
    expect(await bench.fingerprint()).toEqual(before);
    expect(await (await bench.open()).inspectTarget(never)).toEqual({ state: "empty" });
    await bench.load(sampleRecords());
    expect(await bench.read()).toEqual(bench.expected(sampleRecords()));
  });

  it("and abort after finish leaves the volume alone", async () => {
    const bench = await fresh();
    const loader = await bench.loader();
    for (const batch of toBatches(sampleRecords(), 1000)) await loader.write(batch);
    await loader.finish(SAMPLE_SETTING);
    await loader.abort();
    expect(await bench.read()).toEqual(bench.expected(sampleRecords()));
  });

  it("and of two loads at once the second one fails and leaves the first one's volume alone", async () => {
    const bench = await fresh();
    const [first, second] = [await bench.loader(), await bench.loader()];
    const root = [...toBatches({ node: [{ inode: 1n, attribute: NEW_VOLUME.root }] })][0]!;
    await first.write(root);
    await second.write(root);
    await first.finish(SAMPLE_SETTING);
    await expect(second.finish(SAMPLE_SETTING)).rejects.toThrow(ConflictError);
    expect(await bench.storedSetting()).toBe(SAMPLE_SETTING.toString());
    expect((await bench.read()).node).toHaveLength(1);
  });

  it("in any order of kinds", async () => {
    const bench = await fresh();
    await bench.load(Object.fromEntries(Object.entries(sampleRecords()).reverse()) as RecordSet);
    expect(await bench.read()).toEqual(bench.expected(sampleRecords()));
  });

  it("and reads and replaces attributes on the way", async () => {
    const bench = await fresh();
    const { node, ...others } = sampleRecords();
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

function roundTripCases(it: It, fresh: Fresh): void {
  for (const perBatch of [1, 7, 100_000]) {
    it(`every record exactly once and byte for byte, in batches of ${perBatch}`, async () => {
      const bench = await fresh();
      await bench.load(sampleRecords(), "complete", perBatch);
      expect(await bench.read()).toEqual(bench.expected(sampleRecords()));
    });
  }

  it("references of slices that are told only where the count is not 1", async () => {
    const bench = await fresh();
    const set = sampleRecords();
    const exceptions = set.sliceRef!.filter(({ refs }) => refs !== 1n);
    expect(exceptions.length).toBeGreaterThan(0);
    await bench.load({ ...set, sliceRef: exceptions }, "exceptions");
    expect(await bench.read()).toEqual(bench.expected(set));
  });

  it("the root alone", async () => {
    const bench = await fresh();
    const root = { node: [{ inode: 1n, attribute: NEW_VOLUME.root }] };
    await bench.load(root);
    const { counter, ...others } = await bench.read();
    expect(others).toEqual(comparable(root));
    expect(counter?.length).toBeGreaterThanOrEqual(6);
  });

  it("more records than one batch or page holds", async () => {
    const bench = await fresh();
    const set = largeDirectory(30_000);
    await bench.load(set, "complete", 5000);
    const read = await bench.read(new Set<RecordKind>(["node", "edge", "chunk"]));
    expect(read).toEqual(comparable({ node: set.node!, edge: set.edge!, chunk: set.chunk! }));
  });

  it("and says whether it is of one instant, when it was, and what it could not read", async () => {
    const bench = await fresh();
    const started = Date.now();
    await bench.load(sampleRecords());
    const snapshot = await (await bench.open()).openSnapshot({ signal: never, logger: silentLogger });
    await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
    expect(snapshot.setting).toEqual(SAMPLE_SETTING);
    expect(snapshot.consistency.pointInTime).toBe(bench.harness.pointInTime);
    expect(snapshot.consistency.asOf.getTime()).toBeGreaterThanOrEqual(started - 1);
    expect(snapshot.consistency.asOf.getTime()).toBeLessThanOrEqual(Date.now() + 1);
    expect(snapshot.notes.filter((note) => note.loss)).toEqual([]);
    await snapshot.close();
  });
}

/** Files with a chunk each in one directory. */
function largeDirectory(count: number): RecordSet {
  const inodes = Array.from({ length: count }, (_, i) => BigInt(i + 2));
  const slices = (inode: bigint) => {
    const bytes = Buffer.alloc(24);
    bytes.writeBigUInt64BE(inode, 4);
    bytes.writeUInt32BE(1, 12);
    bytes.writeUInt32BE(1, 20);
    return bytes;
  };
  return {
    node: [
      { inode: 1n, attribute: NEW_VOLUME.root },
      ...inodes.map((inode) => ({ inode, attribute: attribute(FileType.regular, 1n, { length: 1n }) })),
    ],
    edge: inodes.map((inode) => ({ parent: 1n, inode, type: FileType.regular, name: Buffer.from(`file-${inode}`) })),
    chunk: inodes.map((inode) => ({ inode, index: 0, slices: slices(inode) })),
    sliceRef: inodes.map((id) => ({ id, size: 1, refs: 1n })),
  };
}

function selectionCases(it: It, fresh: Fresh): void {
  it("only the kinds that are asked for", async () => {
    const bench = await fresh();
    await bench.load(sampleRecords());
    const all = bench.expected(sampleRecords());
    for (const kind of ENGINE_KINDS) {
      expect([kind, await bench.read(new Set([kind]))]).toEqual([
        kind,
        all[kind] === undefined ? {} : { [kind]: all[kind] },
      ]);
    }
  });

  it("only what belongs to the inodes of one directory's tree", async () => {
    const bench = await fresh();
    const set = sampleRecords();
    await bench.load(set);
    const kinds = new Set<RecordKind>(["node", "edge", "chunk", "symlink", "xattr"]);
    const below = new Set([2n]);
    for (let size = 0; size !== below.size; ) {
      size = below.size;
      for (const edge of set.edge!) if (below.has(edge.parent)) below.add(edge.inode);
    }
    const ofTree = <T extends { inode: bigint }>(records: T[]) => records.filter(({ inode }) => below.has(inode));
    const expected = {
      node: ofTree(set.node!),
      edge: set.edge!.filter(({ parent }) => below.has(parent)),
      chunk: ofTree(set.chunk!),
      symlink: ofTree(set.symlink!),
      xattr: ofTree(set.xattr!),
    };
    expect(await bench.read(kinds, 2n)).toEqual(comparable(expected));
  });

  it("single entries and attributes, by the bytes of a name", async () => {
    const bench = await fresh();
    const set = sampleRecords();
    await bench.load(set);
    const snapshot = await (await bench.open()).openSnapshot({ signal: never, logger: silentLogger });
    for (const { parent, name, inode, type } of set.edge!) {
      expect([name, await snapshot.lookup(parent, name)]).toEqual([name, { inode, type }]);
    }
    expect(await snapshot.lookup(1n, ODD_NAMES[0]!)).toBeUndefined();
    expect(await snapshot.lookup(1n, Buffer.from("FILE"))).toBeUndefined();
    expect(await snapshot.lookup(12_345n, Buffer.from("file"))).toBeUndefined();
    for (const { inode, attribute: bytes } of set.node!) {
      expect([inode, await snapshot.readNode(inode)]).toEqual([inode, bytes]);
    }
    expect(await snapshot.readNode(12_345n)).toBeUndefined();
    await snapshot.close();
  });

  it("and can be left in the middle", async () => {
    const bench = await fresh();
    await bench.load(largeDirectory(20_000), "complete", 5000);
    const snapshot = await (await bench.open()).openSnapshot({ signal: never, logger: silentLogger });
    for await (const batch of snapshot.records({ kinds: ENGINE_KINDS })) {
      expect(batch.count).toBeGreaterThan(0);
      break;
    }
    await snapshot.close();
    await snapshot.close();
    expect((await bench.read(new Set<RecordKind>(["edge"]))).edge).toHaveLength(20_000);
  });
}

function abortCases(it: It, fresh: Fresh): void {
  it("before it begins", async () => {
    const bench = await fresh();
    await bench.load(sampleRecords());
    const before = await bench.fingerprint();
    const store = await bench.open();
    const aborted = AbortSignal.abort();
    const attempts = [
      () => store.readSetting(aborted),
      () => store.inspectTarget(aborted),
      () => store.openSnapshot({ signal: aborted, logger: silentLogger }),
      () => store.updateSetting(() => change(Buffer.from("{}")), aborted),
      () => store.listSessions(aborted),
      () => store.readUsage({ more: true, signal: aborted }),
    ];
    for (const attempt of attempts) expect(await failureOf(attempt)).toSatisfy(isAbortError);
    expect(await bench.fingerprint()).toEqual(before);
  });

  it("while it reads", async () => {
    const bench = await fresh();
    await bench.load(largeDirectory(20_000), "complete", 5000);
    const controller = new AbortController();
    const snapshot = await (await bench.open()).openSnapshot({ signal: controller.signal, logger: silentLogger });
    const kinds: ReadonlySet<RecordKind> = ENGINE_KINDS;
    expect(await failureOf(() => abortAfterFirst(snapshot.records({ kinds }), controller))).toSatisfy(isAbortError);
    await snapshot.close();
  });

  it("while it loads, and the target is as it was", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const controller = new AbortController();
    const loader = await bench.loader({ signal: controller.signal });
    const [first, ...rest] = toBatches(sampleRecords());
    await loader.write(first!);
    controller.abort();
    const writeRest = async () => {
      for (const batch of rest) await loader.write(batch);
      await loader.finish(SAMPLE_SETTING);
    };
    expect(await failureOf(writeRest)).toSatisfy(isAbortError);
    await loader.abort();
    expect(await bench.fingerprint()).toEqual(before);
  });

  it("before the end of a load, and no volume appears", async () => {
    const bench = await fresh();
    const before = await bench.fingerprint();
    const controller = new AbortController();
    const loader = await bench.loader({ signal: controller.signal });
    for (const batch of toBatches(sampleRecords(), 1000)) await loader.write(batch);
    controller.abort();
    expect(await failureOf(() => loader.finish(SAMPLE_SETTING))).toSatisfy(isAbortError);
    expect(await bench.fingerprint()).toEqual(before); // finish that throws cleans up itself
  });
}

async function abortAfterFirst(records: RecordStream, controller: AbortController): Promise<void> {
  for await (const _ of records) controller.abort();
}

/** What a call throws, also when it throws before it returns a promise. */
async function failureOf(attempt: () => Promise<unknown>): Promise<unknown> {
  try {
    await attempt();
  } catch (error) {
    return error;
  }
  return undefined;
}
