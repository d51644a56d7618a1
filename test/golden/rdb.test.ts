import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { config } from "../../src/operations/config.ts";
import { createContext } from "../../src/operations/context.ts";
import { diff } from "../../src/operations/diff.ts";
import { load } from "../../src/operations/load.ts";
import { migrate } from "../../src/operations/migrate.ts";
import type { DumpReport } from "../../src/operations/report.ts";
import { sessionStatus, status } from "../../src/operations/status.ts";
import type { Finding } from "../../src/volume/findings.ts";
import { rdbAux, rdbDatabase, rdbEntry, rdbFile, rdbString } from "../support/rdb-builder.ts";
import { type RdbEra, rdbEntriesOf } from "../support/rdb-volume.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { type DumpOptions, dumpVolume, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { expectSameBytes } from "./compare-bytes.ts";

const redis = (await requireRedisServer()) ? await startRedis() : undefined;
afterAll(() => redis?.stop());

const GOLDEN = "golden/engines/golden.redis.jsonl";
const FIXTURES = [
  GOLDEN,
  "golden/native/awkward.redis.jsonl",
  "golden/changelog/chlogredis.redis.jsonl",
  "legacy/ancient.redis.jsonl",
];
const KEEP = { keepSecretKey: true };
const FORMS: readonly DumpOptions[] = [KEEP, { ...KEEP, format: "binary" }, { skipTrash: true }];
/** Of a volume with a trash, whose root's times the new one takes over; else it has those of the dump. */
const FORMS_WITH_TRASH: readonly DumpOptions[] = [...FORMS, { skipTrash: true, format: "binary" }];

const context = createContext({ env: {} });

/** Has the server write its databases into a file of the test. */
async function save(): Promise<string> {
  const client = redis!.client();
  await client.call("SAVE");
  client.disconnect();
  const file = join(temporaryDirectory(), "saved.rdb");
  copyFileSync(join(redis!.directory, "dump.rdb"), file);
  return file;
}

async function restored(source: string, db: number, ...configuration: string[]): Promise<string> {
  const client = redis!.client();
  await client.flushall();
  for (let i = 0; i < configuration.length; i += 2) {
    await client.call("CONFIG", "SET", configuration[i]!, configuration[i + 1]!);
  }
  client.disconnect();
  await restoreRedisJsonl(redis!.url(db), fixture(source));
  return save();
}

/** Keys come in another order, and so do the findings. */
function byText(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => (`${a.kind} ${a.text}` < `${b.kind} ${b.text}` ? -1 : 1));
}

async function expectSameDumps(url: string, rdb: string, forms: readonly DumpOptions[] = FORMS): Promise<DumpReport> {
  let last: DumpReport | undefined;
  for (const options of forms) {
    const server = await dumpVolume(url, options);
    const file = await dumpVolume(rdb, options);
    expectSameBytes(file.bytes, server.bytes);
    expect(byText(file.report.findings)).toEqual(byText(server.report.findings));
    expect(file.report.counts).toEqual(server.report.counts);
    last = file.report;
  }
  return last!;
}

describe.skipIf(redis === undefined)(
  "a dump of an RDB file has the bytes of a dump of the server that wrote it",
  () => {
    const small = [
      "hash-max-listpack-entries",
      "512",
      "zset-max-listpack-entries",
      "128",
      "list-max-listpack-size",
      "-2",
    ];
    const large = ["hash-max-listpack-entries", "0", "zset-max-listpack-entries", "0", "list-max-listpack-size", "2"];
    for (const source of FIXTURES) {
      test(`${source}, in the forms of small values`, async () => {
        const file = await restored(source, 3, ...small, "set-max-intset-entries", "512", "rdbcompression", "yes");
        const forms = source.startsWith("legacy") ? FORMS : FORMS_WITH_TRASH;
        const { consistency } = await expectSameDumps(redis!.url(3), `rdb://${file}?db=3`, forms);
        expect(consistency.pointInTime).toBe(true);
        expect(Math.abs(Date.now() - Date.parse(consistency.asOf))).toBeLessThan(3_600_000);
      });

      test(`${source}, in the forms of large values, without compression and checksum of the server`, async () => {
        const file = await restored(source, 0, ...large, "set-max-intset-entries", "0", "rdbcompression", "no");
        await expectSameDumps(redis!.url(), `rdb://${file}`);
      });
    }

    test("a directory, and what waits for deletion, of many thousands", async () => {
      await restored(GOLDEN, 0, ...small);
      const client = redis!.client();
      const attribute = (await client.getBuffer("i5"))!;
      const pipeline = client.pipeline();
      for (let i = 0; i < 30_000; i++) {
        const inode = 1_000_000 + i;
        const entry = Buffer.alloc(9, 1);
        entry.writeBigUInt64BE(BigInt(inode), 1);
        pipeline.hset("d1", `many ${i}`, entry);
        pipeline.set(`i${inode}`, attribute);
        pipeline.zadd("delfiles", 1_700_000_000 - (i % 700), `${2_000_000 + i}:${i}`);
        pipeline.hset("sliceRef", `k${3_000_000 + i}_4096`, String(i % 3));
        pipeline.hset("dirDataLength", String(inode), String(i));
        if (i % 2 === 0) pipeline.hset("dirUsedInodes", String(inode), String(-i));
        pipeline.hset("dirUsedSpace", String(inode + 1), "4096");
      }
      await pipeline.exec();
      const delFiles = (await client.zrange("delfiles", "0", "-1")).map((member) => member.split(":")[0]);
      client.disconnect();
      const rdb = `rdb://${await save()}`;
      await expectSameDumps(redis!.url(), rdb, [{ ...KEEP, format: "binary" }]);
      // beyond ten thousand the server is asked page by page, whose order is any; the file is put into that of the reference
      const { bytes } = await dumpVolume(rdb, KEEP);
      const dumped = JSON.parse(bytes.toString()) as { DelFiles: { inode: number }[] };
      expect(dumped.DelFiles.map(({ inode }) => String(inode))).toEqual(delFiles);
    });

    test.each(["/docs", "/docs/a", "/links/two"])("the directory %s alone", async (subdir) => {
      const file = await restored(GOLDEN, 0);
      await expectSameDumps(redis!.url(), `rdb://${file}`, [{ subdir }, { subdir, format: "binary" }]);
    });

    test("damage is found like in the server", async () => {
      await restored(GOLDEN, 0);
      const client = redis!.client();
      await client.set("i5", "short");
      await client.hset("d1", "bad entry", "x");
      await client.rpush("c17_0", "no slice");
      await client.rpush("p5000", "a list");
      await client.hset("dirDataLength", "no number", "1");
      await client.hset("dirQuota", "2", "short");
      await client.zadd("delfiles", 1, "bad");
      await client.hset("acl", "x", "rule");
      await client.hset("sliceRef", "bad", "3");
      await client.sadd("session77", "12", "x");
      await client.set("another application", "1");
      client.disconnect();
      const report = await expectSameDumps(redis!.url(), `rdb://${await save()}`, [
        KEEP,
        { ...KEEP, format: "binary" },
      ]);
      expect(report.findings.length).toBeGreaterThan(6);
    });

    test("of several databases in one file each is told apart, and a wrong one is named", async () => {
      await restored(GOLDEN, 0);
      await restoreRedisJsonl(redis!.url(5), fixture("golden/native/awkward.redis.jsonl"));
      const client = redis!.client(2);
      await client.xadd("stream", "*", "field", "value");
      await client.xgroup("CREATE", "stream", "group", "0");
      await client.xreadgroup("GROUP", "group", "consumer", "STREAMS", "stream", ">");
      await client.set("large", "z".repeat(3_000_000));
      await client.call(
        "FUNCTION",
        "LOAD",
        "REPLACE",
        "#!lua name=l\nredis.register_function('f', function() return 1 end)",
      );
      await client.set("i1", "expires", "EX", "1000");
      client.disconnect();
      const file = await save();
      await expectSameDumps(redis!.url(0), `rdb://${file}`);
      await expectSameDumps(redis!.url(5), `rdb://${file}?db=5`);
      await expect(dumpVolume(`rdb://${file}?db=2`)).rejects.toThrow(/Database 2 in .*saved.rdb holds no volume/);
    });
  },
);

describe.skipIf(redis === undefined)("a volume in an RDB file", () => {
  test("of a cluster's node is found under its prefix", async () => {
    const cluster = await startRedis({ mode: "cluster", nodes: 1 });
    try {
      const client = cluster.client();
      for (const line of readFileSync(fixture("golden/changelog/chlogredis.redis.jsonl"), "utf8").split("\n")) {
        if (line === "") continue;
        const { key_b64, type, value } = JSON.parse(line) as { key_b64: string; type: string; value: string };
        const key = `{7}${Buffer.from(key_b64, "base64").toString("latin1")}`;
        if (type === "string") await client.set(key, Buffer.from(value, "base64"));
        if (type === "hash") {
          for (const [field, content] of value as unknown as [string, string][]) {
            await client.hset(key, Buffer.from(field, "base64"), Buffer.from(content, "base64"));
          }
        }
      }
      await client.call("SAVE");
      client.disconnect();
      await expectSameDumps(`${cluster.url(7)}`, `rdb://${join(cluster.directory, "dump.rdb")}?db=7`);
    } finally {
      await cluster.stop();
    }
  });

  test("can be compared, migrated and looked at like that of a server", async () => {
    const file = await restored(GOLDEN, 0);
    const rdb = `rdb://${file}`;
    const difference = await diff({ from: redis!.url(), to: rdb }, context, async () => undefined);
    expect(difference.equal).toBe(true);
    const target = newSqliteTarget();
    await migrate({ source: rdb, target: target.url }, context);
    const direct = newSqliteTarget();
    await migrate({ source: redis!.url(), target: direct.url }, context);
    expectSameBytes((await dumpVolume(target.url, KEEP)).bytes, (await dumpVolume(direct.url, KEEP)).bytes);
    for (const more of [false, true]) {
      expect(await status({ source: rdb, more }, context)).toEqual(
        await status({ source: redis!.url(), more }, context),
      );
    }
  });

  test("has sessions with what they hold", async () => {
    await restored(GOLDEN, 0);
    const client = redis!.client();
    await client.zadd("allSessions", 1_900_000_000, "31", 1_900_000_001, "32");
    await client.hset("sessionInfos", "31", '{"Version":"1.4.2","HostName":"vm","MountPoint":"/mnt","ProcessID":7}');
    await client.sadd("session31", "70", "9");
    await client.sadd("locked31", "lockf5", "lockp16");
    await client.hset("lockf5", "31_8F8F0CFA1940648B", "W", "32_01", "R");
    await client.hset("lockp16", "31_0A74373416215D30", Buffer.alloc(24, 1));
    client.disconnect();
    const rdb = `rdb://${await save()}`;
    const session = await sessionStatus({ source: rdb, sid: 31n }, context);
    expect(session).toEqual(await sessionStatus({ source: redis!.url(), sid: 31n }, context));
    expect(session.detail.sustained).toEqual([9n, 70n]);
    expect(session.detail.flocks).toHaveLength(1);
    expect(session.detail.plocks).toHaveLength(1);
  });

  test("is never written to", async () => {
    const file = await restored(GOLDEN, 0);
    const before = readFileSync(file);
    const rdb = `rdb://${file}`;
    const dump = { file: fixture("golden/dumps/golden.json") };
    const refused = expect.objectContaining({ code: "DECANT_E_READ_ONLY" });
    await expect(load({ target: rdb, source: dump }, context)).rejects.toEqual(refused);
    await expect(migrate({ source: redis!.url(), target: rdb }, context)).rejects.toEqual(refused);
    await expect(config({ target: rdb, flags: { inodes: 77n }, force: true }, context)).rejects.toEqual(refused);
    expectSameBytes(readFileSync(file), before);
  });

  test("that is damaged leaves no dump behind", async () => {
    const file = await restored(GOLDEN, 0);
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(file, bytes);
    await expect(dumpVolume(`rdb://${file}`)).rejects.toThrow(DataError);
    writeFileSync(file, bytes.subarray(0, -3));
    await expect(dumpVolume(`rdb://${file}`)).rejects.toThrow(DataError);
  });
});

describe.skipIf(redis === undefined)("a volume in a file of another version of Redis is the same", () => {
  const HEADS: readonly [era: RdbEra, head: string][] = [
    ["2.4", "REDIS0002"],
    ["3.0", "REDIS0006"],
    ["5.0", "REDIS0009"],
    ["7.2", "REDIS0011"],
    ["elements", "REDIS0012"],
    ["7.2", "VALKEY080"],
  ];
  for (const source of FIXTURES) {
    test.each(HEADS)(`${source} in the forms of %s (%s)`, async (era, head) => {
      await restored(source, 0);
      const path = join(temporaryDirectory(), "old.rdb");
      const entries = rdbEntriesOf(fixture(source), era);
      const other = [rdbDatabase(1), rdbEntry(0, "setting", rdbString("of another application"))];
      writeFileSync(path, rdbFile([rdbAux("redis-ver", era), rdbDatabase(0), ...entries, ...other], { head }));
      await expectSameDumps(redis!.url(), `rdb://${path}`, [KEEP, { ...KEEP, format: "binary" }]);
    });
  }
});
