import { describe, expect, test } from "vitest";
import { parseEtcdAddress } from "../../src/engines/etcd/etcd-address.ts";
import { EtcdStore } from "../../src/engines/etcd/etcd-store.ts";
import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { preparePackage } from "../../src/engines/foundationdb/foundationdb-package.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { inodeKey, numberKey, TAG_CHUNK, TAG_EDGE, TAG_NODE } from "../../src/engines/kv/kv-keys.ts";
import { KvMetadataStore } from "../../src/engines/kv/kv-metadata-store.ts";
import type { KvPair, KvStore } from "../../src/engines/kv/kv-store.ts";
import { badgerStore } from "../support/badger-directory.ts";
import { readPairs } from "../support/etcd-gateway.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { StandInPackage } from "../support/foundationdb-stand-in.ts";
import { fixture } from "../support/repository.ts";
import { missingRecords, salvageStore } from "../support/salvaged.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { requireTikv } from "../support/tikv-server.ts";
import { never } from "./engine-harness.ts";

const etcd = await requireEtcd();
const tikv = await requireTikv();
const PAIRS_PER_TRANSACTION = 100;

const STORES: [name: string, open: (() => Promise<KvStore>) | undefined][] = [
  ["etcd", etcd && (async () => new EtcdStore(parseEtcdAddress(etcd.url(`/salvage-${process.pid}`))))],
  ["TiKV", tikv && (() => tikvStoreAt(tikv.url(`decant-test-salvage-${process.pid}`)))],
  ["BadgerDB", async () => badgerStore(temporaryDirectory())],
  [
    "FoundationDB (a stand-in)",
    async () => {
      const address = parseFoundationdbAddress("fdb:///stand-in/fdb.cluster?prefix=salvage");
      return new FoundationdbStore(preparePackage(new StandInPackage()), address);
    },
  ],
];

async function put(store: KvStore, pairs: readonly KvPair[]): Promise<void> {
  for (let first = 0; first < pairs.length; first += PAIRS_PER_TRANSACTION) {
    await store.transact({ conditions: [], changes: pairs.slice(first, first + PAIRS_PER_TRANSACTION) }, never);
  }
}

describe("of a damaged volume, all is given that is not damaged, by", () => {
  for (const [name, open] of STORES) {
    test.skipIf(open === undefined)(name, async () => {
      const store = await open!();
      const volume = new KvMetadataStore(store);
      const pairs = readPairs(fixture("golden/engines/golden-json.etcd.jsonl"));
      await put(store, pairs);
      const whole = await salvageStore(volume);
      expect(whole.losses).toEqual([]);
      const keys = pairs.map(({ key }) => Buffer.from(key));
      const first = (tag: number): Buffer => keys.find((key) => key[0] === 0x41 && key[9] === tag)!;
      const [node, edge, chunk] = [first(TAG_NODE), first(TAG_EDGE), first(TAG_CHUNK)];
      const inodeOf = (key: Buffer): bigint => key.readBigUInt64LE(1);
      await put(store, [
        { key: node, value: Buffer.alloc(9) },
        { key: edge, value: Buffer.alloc(8) },
        { key: chunk, value: Buffer.alloc(25) },
        { key: inodeKey(7n, 0x5a), value: Buffer.alloc(1) },
        { key: Buffer.from("CnextInode"), value: Buffer.alloc(4) },
        { key: numberKey("QU", 4711n), value: Buffer.alloc(3) },
      ]);
      const found = await salvageStore(volume);
      expect(found.losses.map((loss) => loss.replace(/key \S+:/, "KEY:"))).toEqual(
        [
          "? 7: KEY: the key is of a form that no client writes",
          `chunk ${inodeOf(chunk)}: KEY: slice records of 24 bytes each have 25 in all, or their key a wrong length`,
          "counter: KEY: the counter has 4 bytes, not 8",
          `edge ${inodeOf(edge)}: KEY: an entry has a name of ${edge.length - 10} bytes and a value of 8, not 9`,
          `node ${inodeOf(node)}: KEY: an attribute record has 9 bytes, not 63 to 65535, or its key a wrong length`,
          "userQuota: KEY: the value has 3 bytes, not 32",
        ].sort(),
      );
      expect(missingRecords(found, whole)).toEqual({});
      const missing = Object.entries(missingRecords(whole, found)).map(([kind, lines]) => [kind, lines.length]);
      expect(Object.fromEntries(missing)).toEqual({ node: 1, edge: 1, chunk: 1, counter: 1 });
      await store.deleteRange({ start: Buffer.alloc(0), end: Buffer.alloc(0) }, { signal: never });
      await store.close();
    });
  }
});
