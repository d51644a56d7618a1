import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { Progress } from "../../src/base/progress.ts";
import type { Consistency, SnapshotNote, SnapshotOptions } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { RedisGate } from "../support/redis-gate.ts";
import { attributeOf, contradictions, inodesOf } from "../support/redis-model.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { RedisWriters, type WriterOptions } from "../support/redis-writers.ts";
import { requireRedisServer } from "../support/require-server.ts";

const isAvailable = await requireRedisServer();
const never = new AbortController().signal;
const RESTING_NODES = 3000;

type Options = Partial<SnapshotOptions> & { readonly root?: bigint };

interface Picture {
  readonly records: Map<FlatKind, RecordTypes[FlatKind][]>;
  readonly consistency: Consistency;
  readonly notes: readonly SnapshotNote[];
}

async function read(url: string, { root, ...options }: Options = { method: "tracking" }): Promise<Picture> {
  const signal = options.signal ?? never;
  const store = await openStore(url, { logger: silentLogger, signal, env: {} });
  const snapshot = await store.openSnapshot({ logger: silentLogger, ...options, signal });
  try {
    const selection = { kinds: ENGINE_KINDS, ...(root === undefined ? {} : { root }) };
    const records = await collectRecords(snapshot.records(selection));
    return { records, consistency: snapshot.consistency, notes: snapshot.notes };
  } finally {
    await snapshot.close();
  }
}

function lengthsOf({ records }: Picture): Record<string, number> {
  const nodes = (records.get("node") ?? []) as RecordTypes["node"][];
  return Object.fromEntries(nodes.map(({ inode, attribute }) => [inode, Number(attribute.readBigUInt64BE(51))]));
}

function namesIn({ records }: Picture, parent: bigint): string[] {
  const edges = (records.get("edge") ?? []) as RecordTypes["edge"][];
  return edges.filter((edge) => edge.parent === parent).map((edge) => edge.name.toString());
}

describe.skipIf(!isAvailable)("a volume in Redis that changes while it is read", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
    client = server.client();
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });
  beforeEach(async () => {
    await client.flushall();
    await client.set("setting", "{}");
  });

  async function whileWritten(
    writing: WriterOptions & { writers: number; port?: number },
    work: (writers: number) => Promise<void>,
  ): Promise<void> {
    const writers = await RedisWriters.start(writing.port ?? server.port, writing.writers, writing);
    try {
      await work(writers.count);
    } finally {
      expect(await writers.stop()).toBeGreaterThan(0);
    }
  }

  /** A way to the server on which `change` comes behind all reading but that of the last transaction. */
  function gateBeforeLast(change: () => Promise<unknown>): Promise<RedisGate> {
    const nothing = async (): Promise<void> => undefined;
    const action = async (): Promise<void> => void (await change());
    return RedisGate.start(server.port, [
      { before: "SCAN", action: nothing },
      { before: "\r\nMULTI\r\n", action },
    ]);
  }

  /** What makes reading take longer than a transaction of a writer. */
  async function addRest(target: Redis = client, prefix = ""): Promise<void> {
    const pipeline = target.pipeline();
    for (let i = 0; i < RESTING_NODES; i++) pipeline.set(`${prefix}i${900_000_000 + i}`, attributeOf(i));
    await pipeline.exec();
  }

  test("is read as of one instant every time", async () => {
    await addRest();
    await whileWritten({ writers: 2, depth: 1, pauseMs: 1 }, async (writers) => {
      for (let i = 0; i < 200; i++) {
        const { records, consistency } = await read(server.url());
        expect([i, contradictions(records, writers)]).toEqual([i, []]);
        expect(consistency).toMatchObject({ pointInTime: true, tracking: { rounds: expect.any(Number) } });
      }
    });
  });

  test("is read as of one instant while writers do as much as the server can, where reading key by key is not", async () => {
    await addRest();
    await whileWritten({ writers: 2 }, async (writers) => {
      for (let i = 0; i < 10; i++) {
        const { records, consistency } = await read(server.url(), { method: "auto" });
        expect([i, contradictions(records, writers)]).toEqual([i, []]);
        expect(consistency.pointInTime).toBe(true);
      }
      let wrong = 0;
      for (let i = 0; i < 10; i++) {
        const { records, consistency } = await read(server.url(), { method: "none" });
        if (contradictions(records, writers).length > 0) wrong++;
        expect(consistency).toMatchObject({ pointInTime: false, asked: true });
      }
      expect(wrong).toBeGreaterThan(0);
    });
  });

  test("is proven although messages about changes come behind the values that they make old", async () => {
    await client.mset("i1", attributeOf(1), "i2", attributeOf(1));
    const writer = connect(server.port, "127.0.0.1").setNoDelay();
    await once(writer, "connect");
    const changes = ["i1", "i2"].map(
      (key) => `*3\r\n$3\r\nSET\r\n$2\r\n${key}\r\n$72\r\n${attributeOf(2).toString("latin1")}\r\n`,
    );
    let firstAnswer: Buffer = Buffer.alloc(0);
    const stops = [
      { before: "SCAN", action: () => client.set("i2", attributeOf(1)).then(() => undefined) },
      {
        // The server finds both in one turn of its loop, the writer's transaction first.
        before: "\r\nMULTI\r\n",
        action: async (sendNow: () => void) => {
          process.kill(server.pid, "SIGSTOP");
          writer.write(Buffer.from(`*1\r\n$5\r\nMULTI\r\n${changes.join("")}*1\r\n$4\r\nEXEC\r\n`, "latin1"));
          await sleep(20);
          sendNow();
          await sleep(20);
          process.kill(server.pid, "SIGCONT");
        },
      },
      {
        before: "\r\nMULTI\r\n",
        action: async (_: unknown, answers: Buffer) => {
          firstAnswer = answers;
        },
      },
    ];
    const gate = await RedisGate.start(server.port, stops, 30);
    try {
      const picture = await read(gate.url());
      // The transaction that read what had changed before, i2 alone, saw the writer's value already.
      expect(firstAnswer.includes(attributeOf(2))).toBe(true);
      expect(lengthsOf(picture)).toEqual({ 1: 2, 2: 2 });
      expect(picture.consistency.tracking).toMatchObject({ rounds: 2 });
    } finally {
      gate.close();
      writer.destroy();
    }
  });

  describe("in a large directory", () => {
    const ENTRIES = 60_000;

    async function addDirectory(): Promise<void> {
      const pipeline = client.pipeline();
      for (let i = 0; i < ENTRIES; i += 1000) {
        pipeline.hset(
          "d1",
          Object.fromEntries(Array.from({ length: 1000 }, (_, j) => [`old ${i + j}`, entryOf(i + j)])),
        );
      }
      await pipeline.exec();
    }

    test("gives the entries of one instant though its pages were read before and after a change", async () => {
      await addDirectory();
      const change = async (): Promise<void> => {
        await client.hdel("d1", ...Array.from({ length: 500 }, (_, i) => `old ${i * 100}`));
        await client.hset(
          "d1",
          Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`new ${i}`, entryOf(99_000 + i)])),
        );
      };
      const gate = await RedisGate.start(server.port, [
        { before: "SCAN", action: async () => undefined },
        { before: "HSCAN", action: async () => undefined },
        { before: "HSCAN", action: change },
      ]);
      try {
        const picture = await read(gate.url());
        expect(gate.isPassed).toBe(true);
        expect(namesIn(picture, 1n).sort()).toEqual((await client.hkeys("d1")).sort());
        expect(picture.consistency.tracking).toMatchObject({ rereadKeys: 1, heldMs: 0 });
      } finally {
        gate.close();
      }
    });

    /** Changes the directory and a node together for as long as `work` takes. */
    async function whileChanged(work: () => Promise<void>): Promise<void> {
      const other = server.client();
      let isEnding = false;
      const changes = (async () => {
        for (let i = 1_000_000; !isEnding; i++) {
          await other.multi().hset("d1", "count", entryOf(i)).set("i2", attributeOf(i)).exec();
        }
      })();
      try {
        await work();
      } finally {
        isEnding = true;
        await changes;
        other.disconnect();
      }
    }

    const countOf = ({ records }: Picture): number => {
      const edges = records.get("edge") as RecordTypes["edge"][];
      return Number(edges.find(({ name }) => name.toString() === "count")?.inode);
    };

    test("that changes all the time is read while writers are held", async () => {
      await addDirectory();
      await whileChanged(async () => {
        const gate = await RedisGate.start(server.port);
        const picture = await read(gate.url(), { method: "tracking", maxPauseMs: 2000 });
        gate.close();
        expect(countOf(picture)).toBe(lengthsOf(picture)[2]);
        expect(picture.consistency.tracking!.heldMs).toBeGreaterThan(0);
        expect(picture.consistency.method).toMatch(/writers were held for [0-9.]+ ms/);
        expect(gate.commands).toContain("PAUSE\r\n$4\r\n2000\r\n$5\r\nWRITE");
        expect(gate.commands).toContain("UNPAUSE");
      });
    });

    test.each<[string, Options, string[], RegExp]>([
      ["must not be held", { maxPauseMs: 0 }, ["+@all", "-psync"], /of very many members.*they must not be held/],
      [
        "cannot be held",
        {},
        ["+@all", "-client|pause", "-psync"],
        /the server does not let them be held.*client\|pause/,
      ],
    ])(
      "that changes all the time is not read as of one instant where writers %s",
      async (_, options, rules, reason) => {
        await addDirectory();
        await client.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "&*", ...rules);
        await whileChanged(async () => {
          const gate = await RedisGate.start(server.port);
          const url = gate.url().replace("//", "//some:pw@");
          const refused = await failure(() => read(url, { ...options, method: "tracking" }));
          expect(refused).toMatchObject({ code: "DECANT_E_REDIS_TRACKING", message: expect.stringMatching(reason) });
          const picture = await read(url, { ...options, method: "auto" });
          gate.close();
          expect(picture.consistency).toMatchObject({ pointInTime: false, method: expect.stringMatching(reason) });
          expect(namesIn(picture, 1n)).toHaveLength(ENTRIES + 1);
          if (options.maxPauseMs === 0) expect(gate.commands).not.toContain("PAUSE");
        });
      },
    );

    test("that changes all the time is taken as of a fork where writers must not be held", async () => {
      await addDirectory();
      await whileChanged(async () => {
        const picture = await read(server.url(), { method: "auto", maxPauseMs: 0 });
        expect(picture.consistency.method).toMatch(/as of the fork .*they must not be held/);
        expect(picture.consistency.pointInTime).toBe(true);
        expect(countOf(picture)).toBe(lengthsOf(picture)[2]);
      });
    });

    test("lets writers go when whoever holds them dies", async () => {
      await addDirectory();
      await whileChanged(async () => {
        const dying = new AbortController();
        const gate = await RedisGate.start(server.port, [
          {
            before: "PAUSE",
            action: async (sendNow) => {
              sendNow();
              await sleep(10);
              dying.abort();
            },
          },
        ]);
        await failure(() => read(gate.url(), { method: "tracking", maxPauseMs: 400, signal: dying.signal }));
        gate.close();
        expect(gate.isPassed).toBe(true);
        expect(gate.commands).not.toContain("UNPAUSE");
        expect(await client.set("i3", attributeOf(3))).toBe("OK");
      });
    });
  });

  test.each([
    ["CLIENT TRACKING", "-client|tracking"],
    ["WATCH", "-watch"],
    ["MULTI", "-multi"],
    ["INFO", "-info"],
  ])("is read key by key, and not taken for one instant, where the user may not call %s", async (command, rule) => {
    await client.set("i1", attributeOf(7));
    await client.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "&*", "+@all", "-psync", rule);
    const url = server.url().replace("//", "//some:pw@");
    const reason = expect.stringContaining(command);
    const refused = await failure(() => read(url, { method: "tracking" }));
    expect(refused).toMatchObject({ code: "DECANT_E_REDIS_TRACKING", message: reason });
    const picture = await read(url, { method: "auto" });
    expect(lengthsOf(picture)).toEqual({ 1: 7 });
    expect(picture.consistency).toMatchObject({ pointInTime: false, method: reason });
    expect(picture.consistency.asked).toBeUndefined();
  });

  test("is taken as of a fork where the user may not call CLIENT TRACKING, and nobody asked for another way", async () => {
    await client.set("i1", attributeOf(7));
    await client.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "&*", "+@all", "-client|tracking");
    const picture = await read(server.url().replace("//", "//some:pw@"), { method: "auto" });
    expect(lengthsOf(picture)).toEqual({ 1: 7 });
    expect(picture.consistency).toMatchObject({
      pointInTime: true,
      method: expect.stringMatching(
        /as of the fork of the server \(changes could not be tracked: .*not permit CLIENT TRACKING/,
      ),
    });
  });

  test("needs neither the server's clock nor the right to hold writers", async () => {
    await client.set("i1", attributeOf(7));
    await client.call("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "&*", "+@all", "-time", "-client|pause");
    const before = Date.now();
    const { consistency } = await read(server.url().replace("//", "//some:pw@"));
    expect(consistency.pointInTime).toBe(true);
    expect(consistency.asOf.getTime()).toBeGreaterThanOrEqual(before);
  });

  test.each([
    ["HELLO", "HELLO"],
    ["CLIENT", "CLIENT TRACKING"],
  ])("is read key by key where %s has another name, as it may be for older servers too", async (command, named) => {
    const renamed = await startRedis({
      args: ["--rename-command", command, "SECRET", "--rename-command", "PSYNC", "OTHER"],
    });
    const other = connect(renamed.port, "127.0.0.1");
    other.write("SET setting {}\r\n");
    await once(other, "data");
    other.destroy();
    const { consistency } = await read(renamed.url(), { method: "auto" });
    expect(consistency).toMatchObject({ pointInTime: false, method: expect.stringContaining(`not permit ${named}`) });
    await renamed.stop();
  });

  test("that is removed meanwhile is an error", async () => {
    await client.set("i1", attributeOf(7));
    for (const method of ["tracking", "auto"] as const) {
      await client.set("setting", "{}");
      const gate = await gateBeforeLast(() => client.flushdb());
      const error = await failure(() => read(gate.url(), { method }));
      gate.close();
      expect(error).toMatchObject({ code: "DECANT_E_REDIS_CHANGED" });
    }
  });

  test("is read once more when another database of the server is emptied, of which the message does not name it", async () => {
    await client.set("i1", attributeOf(7));
    const other = server.client(1);
    const gate = await gateBeforeLast(() => other.flushdb());
    const picture = await read(gate.url());
    gate.close();
    other.disconnect();
    expect(lengthsOf(picture)).toEqual({ 1: 7 });
    expect(picture.consistency.pointInTime).toBe(true);
    expect(gate.commands.split("HELLO").length - 1).toBe(2);
  });

  test("is read once more when its database changes places with another one, of which no message tells", async () => {
    await client.set("i1", attributeOf(7));
    const other = server.client(1);
    await other.mset("setting", "{}", "i1", attributeOf(8), "i2", attributeOf(9));
    const gate = await gateBeforeLast(() => client.call("SWAPDB", "0", "1"));
    const picture = await read(gate.url());
    gate.close();
    other.disconnect();
    expect(lengthsOf(picture)).toEqual({ 1: 8, 2: 9 });
  });

  test("whose setting is changed meanwhile is an error", async () => {
    const gate = await gateBeforeLast(() => client.set("setting", '{"Name":"x"}'));
    const error = await failure(() => read(gate.url()));
    gate.close();
    expect(error).toMatchObject({ code: "DECANT_E_REDIS_CHANGED" });
  });

  test("waits for the end of a script that holds the server up", async () => {
    await client.set("i1", attributeOf(7));
    await client.config("SET", "busy-reply-threshold", "1");
    const script = "local from = redis.call('TIME') while redis.call('TIME')[1] - from[1] < 2 do end";
    const other = server.client();
    let busy: Promise<unknown> = Promise.resolve();
    const gate = await RedisGate.start(server.port, [
      {
        before: "SCAN",
        action: async () => undefined,
      },
      {
        before: "\r\nEXEC\r\n",
        action: async (sendNow) => {
          sendNow();
          busy = other.call("EVAL", script, "0").catch(() => undefined);
          await sleep(50);
        },
      },
    ]);
    const { consistency } = await read(gate.url());
    gate.close();
    await busy;
    other.disconnect();
    expect(consistency.pointInTime).toBe(true);
  });

  test("counts damage once, though the damaged key is read twice", async () => {
    await client.set("i1", Buffer.alloc(62));
    const gate = await gateBeforeLast(() => client.set("i1", Buffer.alloc(62)));
    const { notes } = await read(gate.url());
    gate.close();
    expect(notes).toEqual([{ text: "Attribute records that are damaged were left out", count: 1, loss: true }]);
  });

  test("shows how all is read, and how what was changed is read again", async () => {
    await client.mset("i1", attributeOf(1), "i2", attributeOf(2));
    const progress = new Progress();
    const gate = await gateBeforeLast(() => client.set("i2", attributeOf(3)));
    await read(gate.url(), { method: "tracking", progress });
    gate.close();
    // two nodes, and six counters
    const seen = progress.phases.map(({ name, records, endedAt }) => [name, records, endedAt !== undefined]);
    expect(seen).toEqual([
      ["Reading all values while changes are tracked", 8, true],
      ["Reading again what was changed", 1, true],
    ]);
  });

  test("has no more the keys that were deleted meanwhile, and has those that came", async () => {
    await client.mset("i1", attributeOf(1), "i2", attributeOf(2), "s3", "target");
    await client.hset("x2", "name", "value");
    await client.rpush("c2_1", Buffer.alloc(24));
    const gate = await gateBeforeLast(async () => {
      await client.del("i2", "x2", "c2_1", "s3");
      await client.mset("i4", attributeOf(4), "s5", "other");
    });
    const picture = await read(gate.url());
    gate.close();
    expect(lengthsOf(picture)).toEqual({ 1: 1, 4: 4 });
    const counts = (["xattr", "chunk", "symlink"] as const).map((kind) => picture.records.get(kind)?.length ?? 0);
    expect(counts).toEqual([0, 0, 1]);
  });

  test("is read in part, a directory and what is below it, as of one instant", async () => {
    await addRest();
    let entries = 0;
    await whileWritten({ writers: 2, depth: 1, pauseMs: 2 }, async (writers) => {
      for (let i = 0; i < 40; i++) {
        const writer = (i % writers) + 1;
        const { records, consistency } = await read(server.url(), { root: BigInt(inodesOf(writer).directory) });
        expect(consistency.pointInTime).toBe(true);
        const inodes = (kind: "node" | "xattr"): bigint[] =>
          ((records.get(kind) ?? []) as { inode: bigint }[]).map((r) => r.inode);
        // there may be none yet
        const named = ((records.get("edge") ?? []) as RecordTypes["edge"][]).map(({ inode }) => inode);
        expect(inodes("node").sort()).toEqual(named.sort());
        expect(inodes("xattr").sort()).toEqual(named);
        entries += named.length;
      }
    });
    expect(entries).toBeGreaterThan(100);
  });

  test("in a cluster, behind Sentinel and on a replica is read as of one instant", async () => {
    const cluster = await startRedis({ mode: "cluster", nodes: 1 });
    const sentinel = await startRedis({ mode: "sentinel" });
    const replica = await startRedis({
      args: ["--replicaof", "127.0.0.1", String(server.port), "--repl-diskless-sync-delay", "0"],
    });
    const cases = [
      { url: cluster.url(3), port: cluster.port, prefix: "{3}", via: cluster },
      { url: sentinel.url(), port: sentinel.port, prefix: "", via: sentinel },
      { url: replica.url(), port: server.port, prefix: "", via: replica },
    ];
    for (const { url, port, prefix, via } of cases) {
      const writable = via === replica ? client : via.client();
      await writable.set(`${prefix}setting`, "{}");
      await addRest(writable, prefix);
      await whileWritten({ writers: 1, depth: 1, pauseMs: 2, port, prefix }, async (writers) => {
        if (via === replica) await waitForReplica(replica);
        for (let i = 0; i < 10; i++) {
          const { records, consistency } = await read(url);
          expect([url, i, contradictions(records, writers)]).toEqual([url, i, []]);
          expect(consistency.pointInTime).toBe(true);
        }
      });
      if (via !== replica) writable.disconnect();
    }
    await Promise.all([cluster.stop(), sentinel.stop(), replica.stop()]);
  });
});

/** Returns when the replica has a volume with the first state of the model. */
async function waitForReplica(replica: RedisServer): Promise<void> {
  const client = replica.client();
  while ((await client.exists("setting", `i${inodesOf(1).sequence}`)) < 2) await sleep(20);
  client.disconnect();
}

function entryOf(inode: number): Buffer {
  const entry = Buffer.alloc(9, 1);
  entry.writeBigUInt64BE(BigInt(inode), 1);
  return entry;
}

async function failure(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing failed");
}
