import { expect } from "vitest";
import { NotFoundError } from "../../src/base/errors.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { BACKUP_LEASE_XATTR, LAST_BACKUP_XATTR } from "../../src/volume/backup-xattrs.ts";
import type { RecordKind } from "../../src/volume/records.ts";
import { change, type Fresh, type It, NEW_VOLUME, never } from "./engine-harness.ts";
import { comparable } from "./engine-records.ts";

type Values = Readonly<Record<string, string | Buffer | undefined>>;

function toMap(values: Values): Map<string, Buffer | undefined> {
  return new Map(
    Object.entries(values).map(([name, value]) => [name, typeof value === "string" ? Buffer.from(value) : value]),
  );
}

function swap(store: MetadataStore, expected: Values, values: Values): Promise<boolean> {
  return store.swapRootXattrs({ expected: toMap(expected), values: toMap(values) }, never);
}

const XATTRS: ReadonlySet<RecordKind> = new Set<RecordKind>(["xattr"]);

/** The root's attributes by compare and set. `fresh` gives a database without a volume. */
export function xattrCases(it: It, fresh: Fresh): void {
  async function volume(): Promise<{ bench: Awaited<ReturnType<Fresh>>; store: MetadataStore }> {
    const bench = await fresh();
    const store = await bench.open();
    await store.createVolume(NEW_VOLUME, never);
    return { bench, store };
  }

  it("they are stored, replaced and removed when they are what was expected", async () => {
    const { bench, store } = await volume();
    const names = ["lastBackup", "a", "b"];
    expect(await store.readRootXattrs(names, never)).toEqual(new Map());
    expect(await swap(store, { lastBackup: undefined }, { lastBackup: "1", a: Buffer.of(0, 255, 39, 92) })).toBe(true);
    expect(await store.readRootXattrs(names, never)).toEqual(toMap({ lastBackup: "1", a: Buffer.of(0, 255, 39, 92) }));
    expect(await store.readRootXattrs(["a"], never)).toEqual(toMap({ a: Buffer.of(0, 255, 39, 92) }));
    const least = bench.harness.limits?.noEmptyValues === true ? "0" : "";
    const next = { lastBackup: "2", a: undefined, b: least };
    expect(await swap(store, { lastBackup: "1", a: Buffer.of(0, 255, 39, 92), b: undefined }, next)).toBe(true);
    expect(await store.readRootXattrs(names, never)).toEqual(toMap({ lastBackup: "2", b: least }));
    const stored = (name: string, value: string) => ({ inode: 1n, name: Buffer.from(name), value: Buffer.from(value) });
    expect(await bench.read(XATTRS)).toEqual(comparable({ xattr: [stored("b", least), stored("lastBackup", "2")] }));
    expect(await swap(store, { b: least }, { b: undefined, lastBackup: undefined })).toBe(true);
    expect(await bench.read(XATTRS)).toEqual({});
  });

  it("nothing changes when one of them is something else", async () => {
    const { bench, store } = await volume();
    await swap(store, {}, { lastBackup: "1", a: "x" });
    const before = await bench.fingerprint();
    expect(await swap(store, { lastBackup: "2" }, { lastBackup: "3" })).toBe(false);
    expect(await swap(store, { lastBackup: undefined }, { lastBackup: "3" })).toBe(false);
    expect(await swap(store, { lastBackup: "1", b: "" }, { lastBackup: "3" })).toBe(false);
    expect(await swap(store, { lastBackup: "1", a: undefined }, { lastBackup: "3", c: "c" })).toBe(false);
    expect(await swap(store, { lastBackup: "1 " }, { lastBackup: undefined })).toBe(false);
    expect(await bench.fingerprint()).toEqual(before);
    const attributes = await bench.read(XATTRS);
    expect(await swap(store, { lastBackup: "1", a: "x", b: undefined }, {})).toBe(true);
    expect(await swap(store, { b: undefined }, { lastBackup: "1", b: undefined })).toBe(true);
    expect(await bench.read(XATTRS)).toEqual(attributes);
  });

  it("attributes of other inodes stay, and so does all else", async () => {
    const bench = await fresh();
    await bench.load(bench.sample());
    const before = await bench.read();
    const store = await bench.open();
    expect(await swap(store, { lastBackup: undefined }, { lastBackup: "1", [BACKUP_LEASE_XATTR]: "x" })).toBe(true);
    expect(await swap(store, { lastBackup: "1" }, { lastBackup: undefined, [BACKUP_LEASE_XATTR]: undefined })).toBe(
      true,
    );
    expect(await bench.read()).toEqual(before);
  });

  it("without a volume there are none", async () => {
    const bench = await fresh();
    const store = await bench.open();
    await expect(store.readRootXattrs(["lastBackup"], never)).rejects.toThrow(NotFoundError);
    await expect(swap(store, {}, { lastBackup: "1" })).rejects.toThrow(NotFoundError);
    expect(await bench.storedSetting()).toBeUndefined();
  });

  it("of many who swap at once exactly one wins, round after round", async () => {
    const { bench } = await volume();
    const stores = await Promise.all(Array.from({ length: 6 }, () => bench.open()));
    for (let round = 0; round < 12; round++) {
      const before = round === 0 ? undefined : `${round - 1}`;
      // Half of them also want what nobody stores to be absent: a row that is missing has to be guarded, too.
      const answers = await Promise.all(
        stores.map((store, i) => {
          const values = { lastBackup: `${round}`, [`winner-${round}`]: `${i}` };
          return swap(store, { lastBackup: before, ...(i % 2 === 0 ? { nothing: undefined } : {}) }, values);
        }),
      );
      const winners = answers.flatMap((answer, i) => (answer ? [`${i}`] : []));
      expect(winners).toHaveLength(1);
      const stored = await stores[0]!.readRootXattrs(["lastBackup", `winner-${round}`, "nothing"], never);
      expect(stored).toEqual(toMap({ lastBackup: `${round}`, [`winner-${round}`]: winners[0]! }));
    }
  });

  it("no increment of many at once is lost", async () => {
    const { bench } = await volume();
    let refused = 0;
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const store = await bench.open();
        for (let done = 0; done < 8; ) {
          const value = (await store.readRootXattrs(["count"], never)).get("count")?.toString();
          if (await swap(store, { count: value }, { count: `${Number(value ?? 0) + 1}` })) done++;
          else refused++;
        }
      }),
    );
    const stored = await (await bench.open()).readRootXattrs(["count"], never);
    expect(stored).toEqual(toMap({ count: "40" }));
    expect(refused).toBeGreaterThan(0); // they did meet
  });

  it("a volume with a change log has what is changed in it, but not the lease", async () => {
    const { bench, store } = await volume();
    const setting = JSON.stringify({ ...JSON.parse(NEW_VOLUME.setting.toString()), ChangeLog: true });
    await store.updateSetting(() => change(Buffer.from(setting)), never);
    const values = { [LAST_BACKUP_XATTR]: "2026-11-27T04:27:40Z", b: 'ä,"%', [BACKUP_LEASE_XATTR]: "{}" };
    await swap(store, {}, values);
    await swap(store, {}, { b: undefined });
    await swap(store, { b: "" }, { b: "refused" });
    if (bench.harness.hasChangeLog === false) {
      expect(await bench.harness.changeLog(bench.address)).toEqual([]);
      expect((await bench.read()).counter).not.toContainEqual(expect.stringContaining("lastChangelog"));
      return;
    }
    const log = (await bench.harness.changeLog(bench.address)).map((line) => line.replace(/^\d+\.\d{9}\|/, ""));
    expect(log).toEqual([
      expect.stringMatching(/^SETXATTR\(1,lastBackup,2026-11-27T04:27:40Z,0\)\|\(0,\d+\)$/),
      expect.stringMatching(/^SETXATTR\(1,b,%C3%A4%2C%22%25,0\)\|\(0,\d+\)$/),
      expect.stringMatching(/^REMOVEXATTR\(1,b\)\|\(0,\d+\)$/),
    ]);
  });

  it("a server tells its time", async () => {
    const { bench, store } = await volume();
    const time = await store.serverTime(never);
    const { createsDatabase, tellsTime = !createsDatabase } = bench.harness;
    expect(time !== undefined).toBe(tellsTime);
    // It is this machine, so it says the same; a day's difference would be a wrong zone.
    if (time !== undefined) expect(Math.abs(time.getTime() - Date.now())).toBeLessThan(60_000);
  });
}
