import { join } from "node:path";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EngineError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore, SnapshotNote } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import type { FlatKind, RecordKind, RecordTypes } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { readReferenceDump } from "../support/reference-binary-dump.ts";
import { requireRedisServer } from "../support/require-server.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");
const signal = new AbortController().signal;
const isAvailable = await requireRedisServer();

type Records = Map<FlatKind, RecordTypes[FlatKind][]>;

describe.skipIf(!isAvailable)("a Redis snapshot", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis();
    client = server.client();
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  const open = (url = server.url()): Promise<MetadataStore> =>
    openStore(url, { logger: silentLogger, signal, env: {} });

  async function read(
    selection: { kinds?: ReadonlySet<RecordKind>; root?: bigint } = {},
  ): Promise<{ records: Records; notes: readonly SnapshotNote[] }> {
    const snapshot = await (await open()).openSnapshot({ signal, logger: silentLogger });
    try {
      const records = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS, ...selection }));
      return { records, notes: snapshot.notes };
    } finally {
      await snapshot.close();
    }
  }

  /** A golden volume with its own things next to those of other applications. */
  async function restore(name: string): Promise<void> {
    await restoreRedisJsonl(server.url(), join(FIXTURES, `${name}.redis.jsonl`));
  }

  test("of the golden volume has the records of the reference's binary dump", async () => {
    await restore("golden/engines/golden");
    const { records, notes } = await read();
    expect(notes).toEqual([]);
    const expected = readReferenceDump(join(FIXTURES, "golden/dumps/golden.keep.bin"));
    for (const kind of ENGINE_KINDS) {
      const wanted = expected.get(kind as FlatKind);
      // The reference unescapes this target while it dumps from Redis (docs/spec/binary-dump.md).
      const keep = (line: string): boolean => !(kind === "symlink" && /inode=(1210|1373) /.test(line));
      expect([kind, lines(records.get(kind as FlatKind)).filter(keep)]).toEqual([kind, lines(wanted).filter(keep)]);
    }
  });

  test("of a changed-log volume has the number of the last entry", async () => {
    await restore("golden/changelog/chlogredis");
    const { records } = await read({ kinds: new Set<RecordKind>(["counter"]) });
    expect(lines(records.get("counter"))).toContain("name=lastChangelog value=32");
  });

  test("takes volumes of 2021, whose attribute records are shorter", async () => {
    await restore("legacy/ancient");
    const { records, notes } = await read();
    expect(notes).toEqual([]);
    expect(records.get("node")).toHaveLength(8);
    expect(records.get("edge")).toHaveLength(8);
  });

  test("passes over keys of other applications and says so", async () => {
    await restore("golden/engines/golden");
    const before = await read();
    await client.mset("cart:1", "a", "i", "b", "ix1", "c", "i007", "d", "c5_x", "e", "dirty", "f");
    const after = await read();
    expect(after.notes).toEqual([{ text: "Keys of other applications were ignored", count: 6, loss: false }]);
    expect(linesByKind(after.records)).toEqual(linesByKind(before.records));
  });

  test("says what is damaged and reads all the rest", async () => {
    await restore("golden/engines/golden");
    const before = await read();
    await client.set("i100001", Buffer.alloc(62));
    await client.hset("d100002", { bad: "12345678", good: Buffer.from("010000000000000005", "hex") });
    await client.rpush("c100003_0", Buffer.alloc(24, 1), Buffer.alloc(23));
    await client.lpush("i100004", "list");
    await client.set("x100005", "string");
    await client.hset("s100006", "a", "hash");
    await client.hset("p100007", { x: "1", 5: "many", 6: "2" });
    await client.hset("dirQuota", { 77: "short", word: Buffer.alloc(16) });
    await client.zadd("delfiles", 5, "legacy", 7, "8:9");
    await client.hset("acl", "word", "rule");
    await client.hset("sliceRef", { k1: "1", k2_3: "x" });
    await client.mset("nextinode", "junk", "usedSpace", "1.5");
    const after = await read();
    const found = Object.fromEntries(after.notes.map((note) => [note.text, [note.count, note.loss]]));
    expect(found).toEqual({
      "Attribute records that are damaged were left out": [1, true],
      "Directory entries that are damaged were left out": [1, true],
      "Chunks with damaged slice records were taken as empty": [1, true],
      "Keys that hold a value of the wrong type were left out": [3, true],
      "Parent records that are damaged were left out": [2, true],
      "Quota limits that are damaged were taken as unlimited": [1, true],
      "Quotas whose key is no number were left out": [1, true],
      "Entries of delfiles in an old or damaged form were left out": [1, true],
      "ACL rules under a key that is no number were left out": [1, true],
      "Slice references that are damaged were left out": [1, true],
    });
    const added = linesByKind(after.records);
    const old = linesByKind(before.records);
    const more = (kind: string): string[] => added[kind]!.filter((line) => !old[kind]!.includes(line));
    expect(more("node")).toEqual([]);
    expect(more("edge")).toEqual(["inode=5 name=676f6f64 parent=100002 type=1"]);
    expect(more("chunk")).toEqual(["index=0 inode=100003 slices="]);
    expect(more("parent")).toEqual(["count=2 inode=100007 parent=6"]);
    expect(more("delFile")).toEqual(["expire=7 inode=8 length=9"]);
    expect(more("quota")).toEqual(["key=77 maxInodes=-1 maxSpace=-1 usedInodes=0 usedSpace=0"]);
    expect(more("counter")).toEqual(["name=nextInode value=1", "name=usedSpace value=0"]);
  });

  test("of incomplete directory statistics has those with a length, as the reference's binary dump has", async () => {
    await restore("golden/engines/golden");
    await client.del("dirDataLength", "dirUsedSpace", "dirUsedInodes");
    await client.hset("dirDataLength", { 1: "0", 2: "12", 3: "5", 4: "-7", 99: "5", word: "5" });
    await client.hset("dirUsedSpace", { 2: "4096", 77: "5" });
    await client.hset("dirUsedInodes", { 3: "9", 88: "6" });
    const { records, notes } = await read({ kinds: new Set<RecordKind>(["dirStat"]) });
    expect(lines(records.get("dirStat"))).toEqual([
      "dataLength=-7 inode=4 usedInodes=0 usedSpace=0",
      "dataLength=0 inode=1 usedInodes=0 usedSpace=0",
      "dataLength=12 inode=2 usedInodes=0 usedSpace=4096",
      "dataLength=5 inode=3 usedInodes=9 usedSpace=0",
      "dataLength=5 inode=99 usedInodes=0 usedSpace=0",
    ]);
    expect(notes).toEqual([
      { text: "Directory statistics under a key that is no number were left out", count: 1, loss: true },
    ]);
  });

  test("reads the same whole and from the root, but for what no entry reaches", async () => {
    await restore("golden/engines/golden");
    const kinds = new Set<RecordKind>(["node", "edge", "symlink", "xattr", "parent"]);
    const whole = linesByKind((await read({ kinds })).records);
    const tree = linesByKind((await read({ kinds, root: 1n })).records);
    const trash = linesByKind((await read({ kinds, root: 0x7fff_ffff_1000_0000n })).records);
    for (const kind of ["edge", "symlink", "xattr", "parent", "node"]) {
      const reached = new Set([...tree[kind]!, ...(trash[kind] ?? [])]);
      const missing = whole[kind]!.filter((line) => !reached.has(line));
      const sustained = kind === "node" ? 1 : 0;
      expect([kind, missing.length, reached.size]).toEqual([kind, sustained, whole[kind]!.length - sustained]);
    }
  });

  test("of a tree finds the chunks of a file that claims to be enormous", async () => {
    await client.flushdb();
    const directory = `0021ed${"00".repeat(60)}000000000000000100`;
    await client.set("setting", "{}");
    await client.set("i1", Buffer.from(directory, "hex"));
    const file = Buffer.alloc(72);
    file.writeUInt16BE(0x11a4, 1);
    file.writeUInt32BE(1, 47);
    file.writeBigUInt64BE((1n << 53n) + 1n, 51);
    file.writeBigUInt64BE(1n, 63);
    await client.set("i2", file);
    await client.hset("d1", "f", Buffer.from("010000000000000002", "hex"));
    for (const index of [0, 3, 70_000]) await client.rpush(`c2_${index}`, Buffer.alloc(24, index));
    await client.rpush("c3_0", Buffer.alloc(24));
    const { records } = await read({ kinds: new Set<RecordKind>(["chunk"]), root: 1n });
    expect(lines(records.get("chunk")).map((line) => line.split(" ")[0])).toEqual([
      "index=0",
      "index=3",
      "index=70000",
    ]);
  });

  test("has every entry of a large directory once, though it shrinks meanwhile", async () => {
    await client.flushdb();
    await client.set("setting", "{}");
    const value = Buffer.alloc(9, 0);
    const pipeline = client.pipeline();
    for (let i = 0; i < 60_000; i++) {
      const entry = Buffer.from(value);
      entry[0] = 1;
      entry.writeBigUInt64BE(BigInt(i + 2), 1);
      pipeline.hset("d1", `file-${i}`, entry);
    }
    await pipeline.exec();
    const snapshot = await (await open()).openSnapshot({ signal, logger: silentLogger, method: "none" });
    const names: string[] = [];
    let isFirst = true;
    for await (const batch of snapshot.records({ kinds: new Set<RecordKind>(["edge"]) })) {
      const records = await collectRecords(asStream([batch]));
      names.push(...lines(records.get("edge")));
      if (!isFirst) continue;
      isFirst = false;
      for (let i = 0; i < 59_000; i += 1000) {
        await client.hdel("d1", ...Array.from({ length: 1000 }, (_, j) => `file-${i + j}`));
      }
    }
    await snapshot.close();
    expect(new Set(names).size).toBe(names.length);
    const lasting = Array.from({ length: 1000 }, (_, i) => Buffer.from(`file-${59_000 + i}`).toString("hex"));
    for (const name of lasting) expect(names.some((line) => line.includes(` name=${name} `))).toBe(true);
  });

  test("ends with an error when the server dies or hangs, which names the first cause", async () => {
    const mortal = await startRedis();
    await restoreRedisJsonl(mortal.url(), join(FIXTURES, "golden/engines/golden.redis.jsonl"));
    const store = await open(`${mortal.url()}?read-timeout=1s`);
    const hanging = await store.openSnapshot({ signal, logger: silentLogger });
    process.kill(mortal.pid, "SIGSTOP");
    const started = Date.now();
    const timeout = await failure(() => collectRecords(hanging.records({ kinds: ENGINE_KINDS })));
    process.kill(mortal.pid, "SIGCONT");
    expect(timeout).toBeInstanceOf(EngineError);
    expect(timeout).toHaveProperty("message", expect.stringContaining("no answer within 1 s"));
    expect(Date.now() - started).toBeLessThan(5000);
    const dying = await store.openSnapshot({ signal, logger: silentLogger });
    await mortal.stop();
    const lost = await failure(() => collectRecords(dying.records({ kinds: ENGINE_KINDS })));
    expect(lost).toBeInstanceOf(EngineError);
    expect(lost).toHaveProperty("message", expect.stringMatching(/^Lost the connection to redis:/));
    await hanging.close();
    await dying.close();
  });
});

async function failure(work: () => Promise<unknown>): Promise<unknown> {
  return work().then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function* asStream<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

function linesByKind(records: Records): Record<string, string[]> {
  return Object.fromEntries([...records].map(([kind, list]) => [kind, lines(list)]));
}

/** Records as sorted text, members in order of their names, bytes in hex. */
function lines(records: readonly object[] | undefined): string[] {
  const text = (value: unknown): string => (Buffer.isBuffer(value) ? value.toString("hex") : String(value));
  return (records ?? [])
    .map((record) => {
      const members = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
      return members.map(([name, value]) => `${name}=${text(value)}`).join(" ");
    })
    .sort();
}
