import { expect } from "vitest";
import { isAbortError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { FileType } from "../../src/volume/file-type.ts";
import type { RecordKind, RecordStream } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { change, type Fresh, failureOf, type It, NEW_VOLUME, never } from "./engine-harness.ts";
import { attribute, comparable, ODD_NAMES, type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";

export function roundTripCases(it: It, fresh: Fresh): void {
  for (const perBatch of [1, 7, 100_000]) {
    it(`every record exactly once and byte for byte, in batches of ${perBatch}`, async () => {
      const bench = await fresh();
      await bench.load(bench.sample(), "complete", perBatch);
      expect(await bench.read()).toEqual(bench.expected(bench.sample()));
    });
  }

  it("references of slices that are told only where the count is not 1", async () => {
    const bench = await fresh();
    const set = bench.sample();
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
    await bench.load(bench.sample());
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

export function selectionCases(it: It, fresh: Fresh): void {
  it("only the kinds that are asked for", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
    const all = bench.expected(bench.sample());
    for (const kind of ENGINE_KINDS) {
      expect([kind, await bench.read(new Set([kind]))]).toEqual([
        kind,
        all[kind] === undefined ? {} : { [kind]: all[kind] },
      ]);
    }
  });

  it("only what belongs to the inodes of one directory's tree", async () => {
    const bench = await fresh();
    const set = bench.sample();
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
    const set = bench.sample();
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

export function abortCases(it: It, fresh: Fresh): void {
  it("before it begins", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
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
    const [first, ...rest] = toBatches(bench.sample());
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
    for (const batch of toBatches(bench.sample(), 1000)) await loader.write(batch);
    controller.abort();
    expect(await failureOf(() => loader.finish(SAMPLE_SETTING))).toSatisfy(isAbortError);
    await loader.abort();
    expect(await bench.fingerprint()).toEqual(before);
  });
}

async function abortAfterFirst(records: RecordStream, controller: AbortController): Promise<void> {
  for await (const _ of records) controller.abort();
}
