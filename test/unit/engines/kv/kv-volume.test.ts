import { describe, expect, test } from "vitest";
import { silentLogger } from "../../../../src/base/logger.ts";
import { KvMetadataStore } from "../../../../src/engines/kv/kv-metadata-store.ts";
import { valueLimits } from "../../../../src/engines/kv/value-limits.ts";
import { printableKey } from "../../../../src/engines/notes.ts";
import { UnsupportedRules } from "../../../../src/tree/unsupported-rules.ts";
import { packBatch } from "../../../../src/volume/records.ts";
import { NEW_VOLUME, never } from "../../../conformance/engine-harness.ts";
import { comparable, SAMPLE_SETTING, sampleRecords, toBatches } from "../../../conformance/engine-records.ts";
import { collectRecords, ENGINE_KINDS } from "../../../support/collect-records.ts";
import { MemoryKvStore } from "../../../support/memory-kv-store.ts";
import { salvageStore } from "../../../support/salvaged.ts";

async function read(store: MemoryKvStore) {
  const snapshot = await new KvMetadataStore(store).openSnapshot({ signal: never, logger: silentLogger });
  const records = comparable(await collectRecords(snapshot.records({ kinds: ENGINE_KINDS })));
  await snapshot.close();
  return { records, notes: snapshot.notes };
}

async function put(store: MemoryKvStore, key: string, value: string): Promise<void> {
  const change = { key: Buffer.from(key, "hex"), value: Buffer.from(value, "hex") };
  await store.transact({ conditions: [], changes: [change] }, never);
}

async function loaded(): Promise<MemoryKvStore> {
  const store = new MemoryKvStore();
  const options = { signal: never, logger: silentLogger, sliceRefs: "complete" } as const;
  const loader = await new KvMetadataStore(store).openLoader(options);
  for (const batch of toBatches(sampleRecords())) await loader.write(batch);
  await loader.finish(SAMPLE_SETTING);
  return store;
}

/** The store as one that has lost the values of these keys, or something of unknown keys; it says so twice. */
function losing(store: MemoryKvStore, ...keys: (Buffer | undefined)[]): MemoryKvStore {
  const damaged = new MemoryKvStore(store.address);
  damaged.openSnapshot = async (options) => {
    for (const key of [...keys, ...keys]) options.onLoss?.({ ...(key && { key }), message: "FILE is damaged" });
    return store.openSnapshot(options);
  };
  return damaged;
}

describe("a volume in a key-value store", () => {
  test("gives back every record that was loaded, whatever its bytes", async () => {
    const { records, notes } = await read(await loaded());
    expect(records).toEqual(comparable(sampleRecords()));
    expect(notes).toEqual([]);
  });

  // docs/spec/kv.md §3 to §5, samples with their bytes
  test.each([
    ["41020000000000000044 6431", "02 0000000000000005", "edge", "inode=5 name=0x6431 parent=2 type=2"],
    ["41 0300000000000000 50 0200000000000000", "0200000000000000", "parent", "count=2 inode=3 parent=2"],
    [
      "41 0500000000000000 43 00000001",
      "002c1d80 0000000000000004 00000005 00000000 00000005",
      "chunk",
      "index=1 inode=5 slices=0x002c1d80000000000000000400000005000000000000000" + "5",
    ],
    ["4b 0000000000001001 00000001", "0100000000000000", "sliceRef", "id=4097 refs=2 size=1"],
    ["4b 0000000000001001 00000001", "ffffffffffffffff", "sliceRef", "id=4097 refs=0 size=1"],
    [
      "55 0200000000000000",
      "00000000042c1d91 00000000042c5000 0000000000000004",
      "dirStat",
      "dataLength=70000017 inode=2 usedInodes=4 usedSpace=70012928",
    ],
    [
      "5144 0200000000000000",
      "0000000040000000 0000000000000064 00000000042c5000 0000000000000004",
      "quota",
      "key=2 maxInodes=100 maxSpace=1073741824 usedInodes=4 usedSpace=70012928",
    ],
    ["4402000000000000000000000000000010", "000000006b03da9e", "delFile", "expire=1795414686 inode=2 length=16"],
    ["5353 0000000000000001 0500000000000000", "01", "sustained", "inode=5 sid=1"],
  ])("%s has %s: %s %s", async (key, value, kind, text) => {
    const store = new MemoryKvStore();
    await new KvMetadataStore(store).createVolume(NEW_VOLUME, never);
    await put(store, key.replaceAll(" ", ""), value.replaceAll(" ", ""));
    const { records, notes } = await read(store);
    expect(records[kind]).toEqual([text]);
    expect(notes).toEqual([]);
  });

  test.each([
    ["an attribute that is too short", "41 0500000000000000 49", "00".repeat(62)],
    ["an entry of 8 bytes", "41 0100000000000000 44 61", "0000000000000005"],
    ["a chunk that is no list of slices", "41 0500000000000000 43 00000001", "00".repeat(23)],
    ["a chunk without its number", "41 0500000000000000 43", "00".repeat(24)],
    ["a parent of 4 bytes", "41 0500000000000000 50 0100000000000000", "00000001"],
    ["a quota of 31 bytes", "5144 0200000000000000", "00".repeat(31)],
    ["a reference of 4 bytes", "4b 0000000000001001 00000001", "00000001"],
    ["an ACL rule under a short key", "52 0001", "00".repeat(16)],
    ["a counter of 4 bytes", Buffer.from("CusedSpace").toString("hex"), "00000001"],
  ])("%s is a loss, and the rest is read", async (_, key, value) => {
    const store = new MemoryKvStore();
    await new KvMetadataStore(store).createVolume(NEW_VOLUME, never);
    const { records: before } = await read(store);
    await put(store, key.replaceAll(" ", ""), value);
    const { records, notes } = await read(store);
    expect(notes.map(({ count, loss }) => [count, loss])).toEqual([[1, true]]);
    expect(records.node).toEqual(before.node);
    expect(records.counter).toEqual(before.counter);
  });

  test.each([
    [
      "41 0500000000000000 49",
      "00".repeat(62),
      "node 5",
      "an attribute record has 62 bytes, not 63 to 65535, or its key a wrong length",
    ],
    [
      "41 0500000000000000 49 00",
      "00".repeat(72),
      "node 5",
      "an attribute record has 72 bytes, not 63 to 65535, or its key a wrong length",
    ],
    [
      "41 0100000000000000 44 61",
      "0000000000000005",
      "edge 1",
      "an entry has a name of 1 bytes and a value of 8, not 9",
    ],
    [
      "41 0500000000000000 43 00000001",
      "00".repeat(23),
      "chunk 5",
      "slice records of 24 bytes each have 23 in all, or their key a wrong length",
    ],
    [
      "41 0500000000000000 43",
      "00".repeat(24),
      "chunk 5",
      "slice records of 24 bytes each have 24 in all, or their key a wrong length",
    ],
    [
      "41 0500000000000000 50 0100000000000000",
      "00000001",
      "parent 5",
      "the count of a parent has 4 bytes, not 8, or its key a wrong length",
    ],
    ["41 0500000000000000 53 61", "61", "symlink 5", "the key is of a form that no client writes"],
    ["41 0500000000000000 5a", "00", "? 5", "the key is of a form that no client writes"],
    ["4141", "00", "?", "the key is of a form that no client writes"],
    ["5144 0200000000000000", "00".repeat(31), "quota 2", "the value has 31 bytes, not 32"],
    ["55 0200000000000000 00", "00".repeat(24), "dirStat", "the key has 10 bytes, not 9"],
    ["4b 0000000000001001 00000001", "00000001", "sliceRef", "the value has 4 bytes, not 8"],
    ["5353 0000000000000001", "01", "sustained", "the key has 10 bytes, not 18"],
    ["52 00000001", "0001", "acl", "rule 1 is damaged: Cannot decode an ACL rule: it is cut off after 2 bytes"],
    [Buffer.from("CnextTrash").toString("hex"), "00000001", "counter", "the counter has 4 bytes, not 8"],
  ])("where each loss is told, %s with %s is one of %s: %s", async (hex, value, place, what) => {
    const store = new MemoryKvStore();
    await new KvMetadataStore(store).createVolume(NEW_VOLUME, never);
    const { records: before } = await read(store);
    const key = hex.replaceAll(" ", "");
    await put(store, key, value);
    const { records, losses, noted } = await salvageStore(new KvMetadataStore(store));
    expect(losses).toEqual([`${place}: key ${printableKey(Buffer.from(key, "hex"))}: ${what}`]);
    expect(noted).toEqual([]);
    const counters = before.counter!.filter((line) => place !== "counter" || !line.startsWith("name=nextTrash"));
    expect(records).toEqual({ ...before, counter: counters.sort() });
  });

  test("what the store has lost is told once, with the inode that its key names", async () => {
    const store = await loaded();
    const lost = ["41 0500000000000000 43 00000001", "55 0200000000000000", "5144 0300000000000000", "4b00", "7a"];
    const damaged = losing(store, ...lost.map((hex) => Buffer.from(hex.replaceAll(" ", ""), "hex")), undefined);
    const { losses, records } = await salvageStore(new KvMetadataStore(damaged));
    expect(losses).toEqual([
      "?: FILE is damaged",
      "?: key z: FILE is damaged",
      "chunk 5: key A\\u0005\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000C\\u0000\\u0000\\u0000\\u0001: FILE is damaged",
      "dirStat 2: key U\\u0002\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000: FILE is damaged",
      "quota 3: key QD\\u0003\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000: FILE is damaged",
      "sliceRef: key K\\u0000: FILE is damaged",
    ]);
    expect(records.node).toEqual(comparable(sampleRecords()).node!.sort());
  });

  test("a setting that is lost is an error that says so, and one that never was is another one", async () => {
    const damaged = losing(new MemoryKvStore(), undefined);
    await expect(salvageStore(new KvMetadataStore(damaged))).rejects.toMatchObject({
      code: "DECANT_E_NO_SETTING",
      message: "The setting of the volume in memory://test cannot be read: FILE is damaged",
      hint: expect.stringContaining("Nothing can be saved without it"),
    });
    const garbage = new MemoryKvStore();
    await put(garbage, Buffer.from("setting").toString("hex"), "7b");
    await expect(salvageStore(new KvMetadataStore(garbage))).rejects.toMatchObject({ code: "DECANT_E_NO_SETTING" });
    await expect(salvageStore(new KvMetadataStore(new MemoryKvStore()))).rejects.toMatchObject({
      code: "DECANT_E_NO_VOLUME",
    });
  });

  test("keys of others are left out, and no loss", async () => {
    const store = await loaded();
    for (const key of ["4141", "41 0500000000000000 5a", "7a7a", "58"]) await put(store, key.replaceAll(" ", ""), "00");
    const { records, notes } = await read(store);
    expect(records).toEqual(comparable(sampleRecords()));
    expect(notes.filter(({ loss }) => loss)).toEqual([]);
  });

  test("the last number of a change log is a counter, when there is one", async () => {
    const store = new MemoryKvStore();
    const volume = new KvMetadataStore(store);
    const setting = JSON.stringify({ ...JSON.parse(SAMPLE_SETTING.toString()), ChangeLog: true });
    await volume.createVolume({ ...NEW_VOLUME, setting: Buffer.from(setting) }, never);
    expect((await read(store)).records.counter).not.toContainEqual(expect.stringContaining("lastChangelog"));
    const values = new Map([["a", Buffer.from("1")]]);
    for (const value of ["1", "2"]) {
      values.set("a", Buffer.from(value));
      await volume.swapRootXattrs({ expected: new Map(), values }, never);
    }
    expect((await read(store)).records.counter).toContain("name=lastChangelog value=2");
  });

  test("the usage of more users than one transaction takes is replaced", async () => {
    const store = await loaded();
    const usage = Array.from({ length: 350 }, (_, i) => ({
      key: BigInt(1000 + i),
      maxSpace: -1n,
      maxInodes: -1n,
      usedSpace: 4096n,
      usedInodes: BigInt(i),
    }));
    await new KvMetadataStore(store).replaceUserGroupUsage([packBatch("userQuota", usage)], never);
    const { records } = await read(store);
    const limited = sampleRecords().userQuota!.filter(({ maxSpace }) => maxSpace >= 0n);
    expect(records.userQuota).toEqual(comparable({ userQuota: [...usage, ...limited] }).userQuota);
    expect(records.groupQuota).toEqual(comparable(sampleRecords()).groupQuota);
  });
});

describe("what a key-value store has no room for", () => {
  const limits = { maxKeyBytes: undefined, maxTransactionPairs: undefined };

  test("nothing, where any value has room", () => {
    expect(valueLimits("a", { ...limits, maxValueBytes: undefined, emptyValues: true })).toBeUndefined();
  });

  test("empty attributes where a value must have a byte, and large values", () => {
    const rules = new UnsupportedRules(valueLimits("a", { ...limits, maxValueBytes: 1000, emptyValues: false })!);
    expect([rules.xattrValue(0), rules.xattrValue(1), rules.xattrValue(1000)]).toEqual([
      "it is empty",
      undefined,
      undefined,
    ]);
    expect(rules.xattrValue(1001)).toBe("it has 1001 bytes, 1000 are possible");
    const roomy = new UnsupportedRules(valueLimits("a", { ...limits, maxValueBytes: 1000, emptyValues: true })!);
    expect(roomy.xattrValue(0)).toBeUndefined();
  });
});
