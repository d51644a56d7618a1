import { expect } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { Loader, MetadataStore } from "../../src/engines/engine.ts";
import { createContext } from "../../src/operations/context.ts";
import { LoadDigest } from "../../src/operations/load-digest.ts";
import { kindText, type Verification, verifyTarget } from "../../src/operations/verify-target.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { packBatch, type RecordBatch, type RecordTypes, unpackBatch } from "../../src/volume/records.ts";
import { type Bench, type Fresh, failureOf, type It, never } from "./engine-harness.ts";
import { attribute, type RecordSet, SAMPLE_SETTING, toBatches } from "./engine-records.ts";

const LARGEST = (1n << 64n) - 1n;

type Kind = Exclude<keyof RecordTypes, "setting" | "changeLog">;
/** Makes other records of those that the digest has seen. */
type Tamper = (set: RecordSet) => RecordSet;

const context = createContext({ env: {}, logger: silentLogger });

/** The sample, with records that engines store in another form than they were given, and the largest numbers. */
function oddSample(bench: Bench): RecordSet {
  const set = bench.sample();
  const old = attribute(FileType.regular, 1n).subarray(0, 63);
  return {
    ...set,
    node: [
      ...set.node!,
      { inode: 200n, attribute: Buffer.from(old) },
      { inode: 201n, attribute: Buffer.from(attribute(FileType.regular, 1n).subarray(0, 71)) },
      { inode: 202n, attribute: attribute(FileType.regular, 1n, { atime: -5n, atimensec: 123_456_789 }) },
      { inode: 203n, attribute: attribute(FileType.regular, 1n, { mtime: -5n, mtimensec: 4_294_967_000 }) },
      { inode: 204n, attribute: attribute(FileType.regular, 1n, { ctime: 1n << 40n, ctimensec: 999_999_999 }) },
      { inode: 205n, attribute: attribute(FileType.directory, 1n, { defaultAclId: 7, tier: 255 }) },
      { inode: 206n, attribute: attribute(FileType.regular, 1n, { parent: LARGEST, length: LARGEST }) },
      { inode: LARGEST, attribute: attribute(FileType.symlink, 1n, { length: 3n }) },
    ],
    edge: [...set.edge!, { parent: LARGEST, inode: LARGEST, type: 3, name: Buffer.from("largest") }],
    symlink: [...set.symlink!, { inode: LARGEST, target: Buffer.from("abc") }],
    xattr: [...set.xattr!, { inode: LARGEST, name: Buffer.from("user.x"), value: Buffer.from([0]) }],
    sustained: [...set.sustained!, { sid: LARGEST, inode: LARGEST }],
    delFile: [...set.delFile!, { inode: LARGEST, length: LARGEST, expire: (1n << 62n) + 12_345n }],
    dirStat: [...set.dirStat!, { inode: LARGEST, dataLength: -1n, usedSpace: 1n << 62n, usedInodes: -(1n << 62n) }],
  };
}

interface Loaded {
  readonly store: MetadataStore;
  readonly digest: LoadDigest;
}

/** Loads a set so that the target gets other records than the digest. */
async function load(bench: Bench, set: RecordSet, tamper: Tamper = (same) => same): Promise<Loaded> {
  const store = await bench.open();
  const digest = new LoadDigest(store.recordForm);
  const sliceRefs = "complete";
  const loader = digest.watch(
    tampered(await store.openLoader({ signal: never, logger: silentLogger, sliceRefs }), tamper),
  );
  for (const batch of toBatches(set, 10_000)) await loader.write(batch);
  await loader.finish(SAMPLE_SETTING);
  return { store, digest };
}

/** Hands on what is made of each batch. */
function tampered(loader: Loader, tamper: Tamper): Loader {
  const write = (batch: RecordBatch): Promise<void> => {
    const kind = batch.kind as Kind;
    const records = [...unpackBatch(kind, batch)];
    const set = tamper({ [kind]: records } as RecordSet);
    return loader.write(packBatch(kind, set[kind] as never));
  };
  return new Proxy(loader, {
    get: (target, name) => {
      if (name === "write") return write;
      const member = Reflect.get(target, name, target) as unknown;
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

async function verify({ store, digest }: Loaded): Promise<Verification> {
  try {
    return await verifyTarget(store, digest, context);
  } finally {
    await store.close();
  }
}

/** What a verification says that must fail. */
async function differences(loaded: Loaded): Promise<readonly string[]> {
  const error = await failureOf(() => verify(loaded));
  expect(error).toBeInstanceOf(DataError);
  const { code, details, message, hint } = error as DataError;
  expect(code).toBe("DECANT_E_VERIFY_FAILED");
  expect(message).toContain(loaded.store.address);
  expect(message).toContain(details[0]);
  expect(hint).toContain("must not be used");
  return details;
}

/** All kinds of which an engine stores records. */
function storedKinds({ store }: Loaded, set: RecordSet): Kind[] {
  return (Object.keys(set) as Kind[]).filter((kind) => !store.recordForm.computed.has(kind)).sort();
}

/** For each kind another record with one thing changed. */
const CHANGES: { [K in Kind]: (record: RecordTypes[K]) => RecordTypes[K] } = {
  counter: (r) => ({ ...r, value: r.value + 1n }),
  node: (r) => ({ ...r, attribute: flipped(r.attribute, 50) }), // the lowest byte of the link count
  edge: (r) => ({ ...r, type: r.type ^ 1 }),
  chunk: (r) => ({ ...r, slices: flipped(r.slices, r.slices.length - 1) }),
  symlink: (r) => ({ ...r, target: flipped(r.target, 0) }),
  xattr: (r) => ({ ...r, value: flipped(r.value, 0) }),
  parent: (r) => ({ ...r, count: r.count + 1n }),
  sliceRef: (r) => ({ ...r, refs: r.refs + 1n }),
  acl: (r) => ({ ...r, rule: flipped(r.rule, 1) }),
  sustained: (r) => ({ ...r, inode: r.inode ^ 1n }),
  delFile: (r) => ({ ...r, length: r.length ^ 1n }),
  dirStat: (r) => ({ ...r, usedInodes: r.usedInodes + 1n }),
  quota: (r) => ({ ...r, maxInodes: r.maxInodes + 1n }),
  userQuota: (r) => ({ ...r, usedSpace: r.usedSpace + 1n }),
  groupQuota: (r) => ({ ...r, maxSpace: r.maxSpace + 1n }),
};

/** For each kind the same record as another one of its kind. */
const COPIES: { [K in Kind]: (record: RecordTypes[K]) => RecordTypes[K] } = {
  counter: (r) => ({ ...r, name: r.name }),
  node: (r) => ({ ...r, inode: 9999n }),
  edge: (r) => ({ ...r, name: Buffer.from("a copy") }),
  chunk: (r) => ({ ...r, index: r.index + 77 }),
  symlink: (r) => ({ ...r, inode: 9999n }),
  xattr: (r) => ({ ...r, name: Buffer.from("user.copy") }),
  parent: (r) => ({ ...r, parent: 9999n }),
  sliceRef: (r) => ({ ...r, id: 9_999_999n }),
  acl: (r) => ({ ...r, id: 99 }),
  sustained: (r) => ({ ...r, inode: 9999n }),
  delFile: (r) => ({ ...r, inode: 9999n }),
  dirStat: (r) => ({ ...r, inode: 9999n }),
  quota: (r) => ({ ...r, key: 9999n }),
  userQuota: (r) => ({ ...r, key: 9999n }),
  groupQuota: (r) => ({ ...r, key: 9999n }),
};

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at]! ^= 1;
  return changed;
}

/** The last record of a kind whose loss shows: one reference of a slice is what every slice has. */
function lastOf<K extends Kind>(kind: K, records: RecordTypes[K][]): number {
  if (kind !== "sliceRef") return records.length - 1;
  return (records as RecordTypes["sliceRef"][]).findLastIndex(({ refs }) => refs > 1n);
}

/** Does something to one record of every kind. */
function onOneOfEach(
  act: <K extends Kind>(kind: K, records: RecordTypes[K][], at: number) => RecordTypes[K][],
): Tamper {
  return (set) => {
    const made = Object.entries(set).map(([kind, records]) => {
      const at = lastOf(kind as Kind, records as never);
      return [kind, at < 0 ? records : act(kind as Kind, records as never, at)];
    });
    return Object.fromEntries(made) as RecordSet;
  };
}

const changeOne = onOneOfEach((kind, records, at) =>
  records.map((record, i) => (i === at ? CHANGES[kind](record) : record)),
);
const removeOne = onOneOfEach((_, records, at) => records.filter((_record, i) => i !== at));
const addOne = onOneOfEach((kind, records, at) =>
  kind === "counter" ? records : [...records, COPIES[kind](records[at]!)],
);

export function verifyCases(it: It, fresh: Fresh): void {
  it("finds every record of every kind as it was written, odd and large ones too", async () => {
    const bench = await fresh();
    const set = oddSample(bench);
    const loaded = await load(bench, set);
    const { verified, records, kinds, notCompared } = await verify(loaded);
    expect(verified).toBe(true);
    const expected = storedKinds(loaded, set).map((kind) => {
      const all = set[kind] as object[];
      const single = (set.sliceRef ?? []).filter(({ refs }) => refs === 1n).length;
      return [kind, kind === "sliceRef" ? all.length - single : all.length];
    });
    const found = Object.entries(kinds).map(([kind, digest]) => [kind, digest.records]);
    expect(found.sort()).toEqual(expected);
    expect(records).toBe(expected.reduce((sum, [, count]) => sum + (count as number), 0));
    expect(notCompared.find(({ kind }) => kind === "sliceRef")?.records).toBeGreaterThan(1000);
    for (const { reason } of notCompared) expect(reason).not.toBe("");
  });

  it("finds an empty volume, whose counters are 0", async () => {
    const bench = await fresh();
    const loaded = await load(bench, {
      node: [{ inode: 1n, attribute: attribute(FileType.directory, 1n) }],
      counter: [
        { name: "nextInode", value: 2n },
        { name: "nextChunk", value: 1n },
        { name: "usedSpace", value: 0n },
      ],
    });
    expect((await verify(loaded)).records).toBe(3);
  });

  for (const [what, tamper] of [
    ["a changed byte", changeOne],
    ["a record that is missing", removeOne],
    ["a record that nobody wrote", addOne],
  ] as const) {
    it(`tells ${what} of each kind`, async () => {
      const bench = await fresh();
      const set = bench.sample();
      const loaded = await load(bench, set, tamper);
      const told = await differences(loaded);
      for (const kind of storedKinds(loaded, set)) {
        if (kind === "counter" && tamper === addOne) continue; // an engine has one value for a name
        expect(told.filter((line) => line.startsWith(`${kindText(kind)}: `))).toHaveLength(1);
      }
    });
  }

  it("tells two records that have exchanged a part", async () => {
    const bench = await fresh();
    const loaded = await load(bench, bench.sample(), (set) => {
      if (set.edge === undefined) return set;
      const [a, b, ...rest] = set.edge as [RecordTypes["edge"], RecordTypes["edge"], ...RecordTypes["edge"][]];
      return { edge: [{ ...a, inode: b.inode }, { ...b, inode: a.inode }, ...rest] };
    });
    const edges = bench.sample().edge!.length;
    expect(await differences(loaded)).toContain(`directory entries: ${edges} written, ${edges} found, not the same`);
  });

  it("knows a record that was replaced while the volume was written", async () => {
    const bench = await fresh();
    const store = await bench.open();
    const digest = new LoadDigest(store.recordForm);
    const loader = digest.watch(await store.openLoader({ signal: never, logger: silentLogger, sliceRefs: "complete" }));
    const set = oddSample(bench);
    for (const batch of toBatches(set)) await loader.write(batch);
    const replaced = [200n, 202n, 3n].map((inode) => ({
      inode,
      attribute: attribute(FileType.regular, 0n, { nlink: 9, mtime: -7n, mtimensec: 1 }),
    }));
    await loader.replaceNodes(packBatch("node", replaced));
    await loader.finish(SAMPLE_SETTING);
    expect((await verify({ store, digest })).kinds.node?.records).toBe(set.node!.length);
  });
}
