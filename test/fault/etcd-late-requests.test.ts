import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { parseEtcdAddress } from "../../src/engines/etcd/etcd-address.ts";
import { EtcdStore } from "../../src/engines/etcd/etcd-store.ts";
import { PageBuilder } from "../../src/engines/kv/kv-page.ts";
import type { KvBulkWriter } from "../../src/engines/kv/kv-store.ts";
import { loadGuard } from "../../src/engines/kv/load-guard.ts";
import { LateProxy } from "../support/etcd-late-proxy.ts";
import { type EtcdServer, requireEtcdServer, startEtcd } from "../support/etcd-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const isAvailable = await requireEtcdServer();
const never = new AbortController().signal;
const KEY = Buffer.from("Akey");

describe.skipIf(!isAvailable)("a request of a load into etcd that was taken for lost", () => {
  let server: EtcdServer;
  beforeAll(async () => {
    server = await startEtcd();
  });
  afterAll(() => server.stop());

  /** Writes by the proxy first; when a request is lost there, directly. */
  async function withProxy(
    path: string,
    text: string,
    run: (store: EtcdStore, proxy: LateProxy) => Promise<void>,
  ): Promise<void> {
    const proxy = await LateProxy.start(server.port, text);
    const store = new EtcdStore(parseEtcdAddress(`etcd://127.0.0.1:${proxy.port},127.0.0.1:${server.port}${path}`));
    try {
      await run(store, proxy);
    } finally {
      await store.close();
      proxy.close();
    }
  }

  async function openBulk(store: EtcdStore): Promise<KvBulkWriter> {
    const guard = loadGuard(store.address);
    const options = { signal: never, logger: silentLogger, maxBytes: 1, tmpDir: temporaryDirectory(), guard };
    return (await store.openBulkWriter(options))!;
  }

  async function put(bulk: KvBulkWriter, value: string): Promise<void> {
    const pages = new PageBuilder(1024);
    pages.put(KEY, Buffer.from(value));
    await bulk.write(pages.take()!);
  }

  /** The server has got what was kept, and has done or refused it. */
  async function comesLate(proxy: LateProxy): Promise<void> {
    const applied = async (): Promise<number> => {
      const status = await server.gateway.call("/v3/maintenance/status", {});
      return Number((status as { raftAppliedIndex: string }).raftAppliedIndex);
    };
    const before = await applied();
    proxy.release();
    while ((await applied()) === before) await sleep(20);
  }

  test("does not replace what was written after it, when it comes late", async () => {
    await withProxy("/late", "first value", async (store, proxy) => {
      const bulk = await openBulk(store);
      await put(bulk, "first value");
      expect(String((await bulk.get([KEY]))[0])).toBe("first value");
      expect(proxy.keepsRequest).toBe(true);
      await put(bulk, "second value");
      expect(String((await bulk.get([KEY]))[0])).toBe("second value");
      await comesLate(proxy);
      expect(String((await bulk.get([KEY]))[0])).toBe("second value");
      await bulk.finish([{ key: Buffer.from("setting"), value: Buffer.from("{}") }]);
      const lines = ["Akey second value", "setting {}"].map((line) => {
        return line.replace(/^(\S+) (.*)$/, (_, key, value) =>
          [key, value].map((text) => Buffer.from(text).toString("hex")).join(" "),
        );
      });
      expect(await server.gateway.readLines("/late")).toEqual(lines);
    });
  });

  test("adds nothing to a range that was emptied again, when it comes late", async () => {
    await withProxy("/aborted", "first value", async (store, proxy) => {
      const bulk = await openBulk(store);
      await put(bulk, "first value");
      expect(String((await bulk.get([KEY]))[0])).toBe("first value");
      await bulk.abort();
      await comesLate(proxy);
      expect(await server.gateway.readLines("/aborted")).toEqual([]);
    });
  });

  test("begins or ends the load once, whichever of its attempts is done", async () => {
    await withProxy("/begun", "decantLoading", async (store, proxy) => {
      const bulk = await openBulk(store);
      expect(proxy.keepsRequest).toBe(true);
      await put(bulk, "value");
      await comesLate(proxy);
      await bulk.finish([{ key: Buffer.from("setting"), value: Buffer.from("{}") }]);
      expect((await store.get([KEY], never)).map(String)).toEqual(["value"]);
    });
    await withProxy("/ended", '{"Name"', async (store, proxy) => {
      const bulk = await openBulk(store);
      await put(bulk, "value");
      await bulk.finish([{ key: Buffer.from("setting"), value: Buffer.from('{"Name": "a"}') }]);
      expect(proxy.keepsRequest).toBe(true);
      const lines = await server.gateway.readLines("/ended");
      await comesLate(proxy);
      expect(await server.gateway.readLines("/ended")).toEqual(lines);
      expect(lines.length).toBe(2);
    });
  });
});
