import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DecantError, isAbortError, UsageError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { runDecant } from "../support/decant.ts";
import { type EtcdServer, requireEtcdServer, startEtcd } from "../support/etcd-server.ts";
import { freePort } from "../support/guarded-process.ts";
import { TLS_DIRECTORY } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { failureOf, NEW_VOLUME, never } from "./engine-harness.ts";

const isAvailable = await requireEtcdServer();
const SECRET = "pa/ss@w:o'rd%";
const GOLDEN = fixture("golden/dumps/golden.keep.json");

function open(url: string, signal: AbortSignal = never): Promise<MetadataStore> {
  return openStore(url, { logger: silentLogger, signal, env: {} });
}

async function failure(attempt: () => Promise<unknown>): Promise<DecantError> {
  const error = await failureOf(attempt);
  expect(error).toBeInstanceOf(DecantError);
  for (const text of [String(error), (error as DecantError).hint ?? ""]) expect(text).not.toContain("ss@w");
  return error as DecantError;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe.skipIf(!isAvailable)("connecting to etcd", () => {
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd();
  });
  afterAll(() => server.stop());

  test("takes the next server where one does not answer", async () => {
    const dead = await freePort();
    const url = `etcd://127.0.0.1:${dead},127.0.0.1:${server.port}/failover`;
    await loadVolumeFile(url, GOLDEN);
    expect((await dumpVolume(url)).bytes).toEqual((await dumpVolume(server.url("/failover"))).bytes);
  });

  test("says that no server answers, and where", async () => {
    const url = `etcd://user:${encodeURIComponent(SECRET)}@127.0.0.1:${await freePort()}/x`;
    const error = await failure(() => open(url));
    expect(error).toMatchObject({ code: "DECANT_E_ETCD_UNAVAILABLE", retryable: true });
    expect(error.message).toMatch(/^Meta etcd:\/\/user:\*\*\*\*@127\.0\.0\.1:\d+\/x is not available: .*ECONNREFUSED/);
    const run = await runDecant(["status", url]);
    expect(run.code).toBe(7);
    expect(run.err).not.toContain("ss%40w");
  });

  test("stops soon when it is told to, also where a server takes connections and says nothing", async () => {
    const silent = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const controller = new AbortController();
    const attempt = failureOf(() => open(`etcd://127.0.0.1:${port}/x`, controller.signal));
    controller.abort();
    expect(await attempt).toSatisfy(isAbortError);
    silent.close();
  });

  test("volumes with similar prefixes do not mix", async () => {
    const paths = ["", "/", "/a", "/ab", "/a/b"];
    for (const path of paths) {
      const store = await open(server.url(path));
      expect([path, await store.inspectTarget(never)]).toEqual([path, { state: "empty" }]);
      const setting = Buffer.from(`{"Name": "volume ${path}"}`);
      await store.createVolume({ ...NEW_VOLUME, setting }, never);
      await store.close();
    }
    for (const path of paths) {
      const store = await open(server.url(path));
      expect((await store.readSetting(never))!.toString()).toBe(`{"Name": "volume ${path}"}`);
      await store.close();
    }
  });

  test("a dump whose revision is compacted away meanwhile fails, says why, and is no dump", async () => {
    const store = await open(server.url("/failover"));
    const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
    const answer = await server.gateway.call("/v3/kv/put", { key: base64("later"), value: base64("1") });
    const { revision } = (answer as { header: { revision: string } }).header;
    await server.gateway.call("/v3/kv/compaction", { revision });
    const error = await failure(async () => {
      for await (const _ of snapshot.records({ kinds: new Set(["node"]) })) expect.unreachable();
    });
    expect(error).toMatchObject({ code: "DECANT_E_ETCD_COMPACTED", retryable: true });
    expect(error.hint).toContain("--auto-compaction-retention");
    await snapshot.close();
    await store.close();
  });
});

describe.skipIf(!isAvailable)("etcd with accounts", () => {
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd({ args: ["--auth-token-ttl=2"] });
    const call = (path: string, body: object): Promise<object> => server.gateway.call(`/v3/auth/${path}`, body);
    await call("user/add", { name: "root", password: "root" });
    await call("user/grant", { user: "root", role: "root" });
    await call("user/add", { name: "tester", password: SECRET });
    await call("role/add", { name: "volume" });
    const perm = { permType: "READWRITE", key: base64("/own"), range_end: base64("/owo") };
    await call("role/grant", { name: "volume", perm });
    await call("user/grant", { user: "tester", role: "volume" });
    await call("enable", {});
  });
  afterAll(() => server.stop());

  const url = (path: string, user = `tester:${encodeURIComponent(SECRET)}`): string =>
    `etcd://${user}@127.0.0.1:${server.port}${path}`;

  test("loads and dumps with what a role allows for its prefix", async () => {
    await loadVolumeFile(url("/own"), GOLDEN);
    await expect(dumpVolume(url("/own"))).resolves.toMatchObject({ report: { counts: { directory: 69 } } });
  });

  test("goes on when its token has expired", async () => {
    const store = await open(url("/own"));
    const before = await store.readSetting(never);
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(await store.readSetting(never)).toEqual(before);
    await store.close();
  });

  test("says what is wrong with an account", async () => {
    expect(await failure(() => open(url("/own", "tester:wrong")))).toMatchObject({ code: "DECANT_E_ETCD_AUTH" });
    expect(await failure(() => open(`etcd://127.0.0.1:${server.port}/own`))).toMatchObject({
      code: "DECANT_E_ETCD_AUTH",
    });
    const other = await failure(() => open(url("/other")));
    expect(other).toMatchObject({ code: "DECANT_E_ETCD_PERMISSION" });
    expect(other.message).toContain("etcd://tester:****@127.0.0.1:");
  });
});

describe.skipIf(!isAvailable)("etcd with TLS", () => {
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd({ tls: "clients" });
  });
  afterAll(() => server.stop());

  const file = (name: string): string => join(TLS_DIRECTORY, name);
  const account = `cert=${file("client.crt")}&key=${file("client.key")}`;
  const url = (query: string, host = "127.0.0.1"): string => `etcd://${host}:${server.port}/tls?${query}`;

  test("shows the client's certificate and checks the server's", async () => {
    const good = url(`cacert=${file("ca.crt")}&${account}`);
    await loadVolumeFile(good, GOLDEN);
    const store = await open(good);
    expect((await store.serverTime(never))?.getTime()).toBeGreaterThan(0);
    await store.close();
    await (await open(url(`${account}&insecure-skip-verify=1`))).close();
    await (await open(url(`cacert=${file("ca.crt")}&${account}&server-name=localhost`))).close();
  });

  test("refuses what it cannot trust, and a server refuses clients that it does not know", async () => {
    const reasons: readonly (readonly [string, RegExp])[] = [
      [account, /: unable to verify the first certificate: it is not of the authority that cacert names$/],
      [`cacert=${file("ca.crt")}`, /TLS failed, .*: it wants a certificate of the client/],
      [`cacert=${file("ca.crt")}&${account}&server-name=other`, /is not available: Hostname\/IP does not match/],
      ["", /is not available: [^()]*$/], // without the time of day
    ];
    for (const [query, reason] of reasons) {
      const error = await failure(() => open(url(query)));
      expect([query, error.code]).toEqual([query, "DECANT_E_ETCD_UNAVAILABLE"]);
      expect(error.message).toMatch(reason);
    }
  });

  test.each([
    ["cacert=/nowhere.crt", "Cannot read the file /nowhere.crt (cacert): no such file or directory"],
    [`cacert=${file("README.md")}`, `There is no certificate in the file ${file("README.md")} (cacert)`],
    [`cert=${file("README.md")}&key=${file("client.key")}`, "Cannot use the certificates of the address: "],
    [`cert=${file("client.crt")}&key=${file("server.key")}`, "Cannot use the certificates of the address: "],
  ])("says what is wrong with files of its own: %s", async (query, message) => {
    const error = await failure(() => open(url(query)));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain(message);
  });
});

describe.skipIf(!isAvailable)("an etcd whose database is nearly full", () => {
  const QUOTA = 16 * 1024 * 1024;
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd({ args: [`--quota-backend-bytes=${QUOTA}`] });
  });
  afterAll(() => server.stop());

  test("is compared with the size of a JSON dump before anything is written", async () => {
    const dump = join(temporaryDirectory(), "padded.json");
    const load = async (size: number) => {
      writeFileSync(dump, Buffer.concat([readFileSync(GOLDEN), Buffer.alloc(size, " ")]));
      return runDecant(["load", server.url("/json"), dump]);
    };
    const refused = await load(160 * 1024 * 1024);
    expect(refused.err).toMatch(
      /has no room for this volume, which needs at least 20 MiB, probably 128 MiB: .* of a quota of 16 MiB/,
    );
    expect(refused.code).toBe(7);
    expect(await server.gateway.readLines("/json")).toEqual([]);
    const warned = await load(40 * 1024 * 1024);
    expect(warned.err).toContain("may have no room for this volume, which probably needs 32 MiB");
    expect(warned.code).toBe(0);
    rmSync(dirname(dump), { recursive: true });
  });

  test("is refused before anything is written, and takes no writes after its alarm, which is explained", async () => {
    let fillers = 0;
    const fill = (): Promise<void> =>
      server.gateway.write([{ key: Buffer.from(`filler${fillers++}`), value: Buffer.alloc(256 * 1024) }]);
    // What was written shows in the size when it is committed, some time later; defragmenting commits it.
    const size = async (): Promise<number> => {
      await server.gateway.call("/v3/maintenance/defragment", {});
      return Number(((await server.gateway.call("/v3/maintenance/status", {})) as { dbSize: string }).dbSize);
    };
    while ((await size()) <= QUOTA * 0.95) await fill();
    const nearly = await failure(() => loadVolumeFile(server.url("/x"), GOLDEN));
    expect(nearly).toMatchObject({ code: "DECANT_E_ETCD_FULL" });
    expect(nearly.hint).toContain("--quota-backend-bytes");
    const refusal = async (): Promise<unknown> => failureOf(fill);
    while ((await refusal()) === undefined) expect(fillers).toBeLessThan(100);
    const alarmed = await failure(() => loadVolumeFile(server.url("/x"), GOLDEN));
    expect(alarmed.message).toContain("has raised the alarm NOSPACE");
    const store = await open(server.url("/x"));
    const refused = await failure(() => store.createVolume(NEW_VOLUME, never));
    expect(refused).toMatchObject({ code: "DECANT_E_ETCD_FULL" });
    await store.close();
    expect(await server.gateway.readLines("/x")).toEqual([]);
  });
});
