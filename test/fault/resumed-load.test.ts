import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDecant } from "../support/decant.ts";
import { type DurableRedis, startDurableRedis } from "../support/durable-redis.ts";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { type EtcdServer, requireEtcdServer, startEtcd } from "../support/etcd-server.ts";
import { readRedisJsonl } from "../support/redis-fixture.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { startDecant } from "../support/running-decant.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { wideVolumeText } from "../support/wide-volume.ts";

/** An engine whose loads can be gone on with, and what the tests look at from outside. */
interface Target {
  readonly url: string;
  /** Everything that is stored. */
  contents(): Promise<unknown>;
  size(): Promise<number>;
  empty(): Promise<void>;
  /** Ends the server as a crash does, and starts it again with its data. */
  restart(): Promise<void>;
}

const directory = temporaryDirectory();
const dump = join(directory, "dump.json");
let text: Buffer;
beforeAll(async () => {
  text = Buffer.from(await wideVolumeText(20_000));
  writeFileSync(dump, text);
});
afterAll(() => rmSync(directory, { recursive: true }));

const EVERY = ["--checkpoint-every", "100K"];

function cases(target: () => Target): void {
  let expected: unknown;
  let most = 0;

  test("loads undisturbed", async () => {
    expect((await runDecant(["load", target().url, dump, ...EVERY])).code).toBe(0);
    expected = await target().contents();
    most = await target().size();
    await target().empty();
  });

  test("ends as an undisturbed load, wherever it was killed, and how often", async () => {
    for (const shares of [[0.1], [0.3, 0.6], [0.5], [0.7, 0.9], [0.95]]) {
      await target().empty();
      for (const share of shares) {
        const load = startDecant(["load", target().url, dump, ...EVERY, "--resume"]);
        load.input.end();
        let hasEnded = false;
        void load.ended.then(() => {
          hasEnded = true;
        });
        while (!hasEnded && (await target().size()) < most * share) await sleep(5);
        load.kill("SIGKILL");
        await load.ended;
      }
      const resumed = await runDecant(["load", target().url, dump, ...EVERY, "--resume", "--json"]);
      // what was killed too late has ended well
      if (resumed.code !== 5) expect([shares, resumed.code, resumed.err]).toEqual([shares, 0, expect.anything()]);
      expect(await target().contents()).toEqual(expected);
    }
  });

  test("takes the same dump also when it is compressed or comes through a pipe, and no other", async () => {
    await target().empty();
    const other = join(directory, "other.json");
    writeFileSync(other, text.toString("latin1").replace('"mode":420', '"mode":421'), "latin1");
    const first = startDecant(["load", target().url, dump, ...EVERY]);
    first.input.end();
    while ((await target().size()) < most * 0.6) await sleep(5);
    first.kill("SIGKILL");
    await first.ended;
    const cut = await runDecant(["status", target().url]);
    expect([cut.code, cut.err]).toEqual([
      4,
      expect.stringMatching(/a checkpoint after \d+ batches\) is running or was cut off/),
    ]);
    const refused = await runDecant(["load", target().url, other, ...EVERY, "--resume"]);
    expect([refused.code, refused.err]).toEqual([5, expect.stringContaining("and these differ")]);
    expect(refused.err).toContain("resume with the same dump, options and version");
    expect((await runDecant(["status", target().url])).err).toContain(`A load of ${dump} that began`);
    const compressed = join(directory, "dump.json.gz");
    writeFileSync(compressed, gzipSync(text, { level: 1 }));
    const stopped = startDecant(["load", target().url, compressed, ...EVERY, "--resume"]);
    stopped.input.end();
    while ((await target().size()) < most * 0.8) await sleep(5);
    stopped.kill("SIGTERM");
    const { code, err } = await stopped.ended;
    if (code !== 0) expect(err).toContain("was kept, and is no volume: the same command goes on with it");
    const last = startDecant(["load", target().url, ...EVERY, "--resume", "--max-memory", "64M"]);
    last.input.end(text);
    expect((await last.ended).code).toBe(code === 0 ? 5 : 0);
    expect(await target().contents()).toEqual(expected);
  });

  test("goes on when the server has crashed and is back", async () => {
    await target().empty();
    const first = startDecant(["load", target().url, dump, ...EVERY, "--resume"]);
    first.input.end();
    while ((await target().size()) < most * 0.5) await sleep(5);
    await target().restart();
    await first.ended;
    const resumed = await runDecant(["load", target().url, dump, ...EVERY, "--resume"]);
    if (resumed.code !== 5) expect([resumed.code, resumed.err]).toEqual([0, expect.anything()]);
    expect(await target().contents()).toEqual(expected);
  });
}

const hasRedis = await requireRedisServer();
describe.skipIf(!hasRedis)("a load into Redis that goes on", () => {
  let server: DurableRedis;
  let client: Redis;
  beforeAll(async () => {
    server = await startDurableRedis();
    client = new Redis(server.url(1));
    client.on("error", () => undefined); // the server is killed
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });
  cases(() => ({
    url: server.url(1),
    contents: () => readRedisJsonl(server.url(1)),
    size: () => client.dbsize(),
    empty: async () => void (await client.flushdb()),
    restart: async () => {
      await server.crash();
      await server.start();
    },
  }));
});

const hasEtcd = await requireEtcdServer();
describe.skipIf(!hasEtcd)("a load into etcd that goes on", () => {
  const path = "/resumed";
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd({ args: ["--unsafe-no-fsync=false"] });
  });
  afterAll(() => server.stop());
  cases(() => ({
    url: server.url(path),
    contents: () => server.gateway.readLines(path),
    size: () => server.gateway.count(path),
    empty: () => server.gateway.remove(volumePrefix(path)),
    restart: async () => {
      await server.crash();
      await server.start();
    },
  }));

  test("begins again where it was killed before it said anything of itself", async () => {
    await server.gateway.remove(volumePrefix(path));
    const key = Buffer.concat([volumePrefix(path), Buffer.from("decantLoading")]);
    await server.gateway.write([{ key, value: Buffer.from("0".repeat(32)) }]);
    const plain = await runDecant(["load", server.url(path), dump]);
    expect([plain.code, plain.err]).toEqual([5, expect.stringContaining("load again with --clean")]);
    expect((await runDecant(["load", server.url(path), dump, "--resume"])).code).toBe(0);
    expect(await server.gateway.count(path)).toBeGreaterThan(20_000);
  });
});
