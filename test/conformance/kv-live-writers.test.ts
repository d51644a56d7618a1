import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { parseEtcdAddress } from "../../src/engines/etcd/etcd-address.ts";
import { EtcdStore } from "../../src/engines/etcd/etcd-store.ts";
import { pairsOf } from "../../src/engines/kv/kv-page.ts";
import type { KvRange, KvStore } from "../../src/engines/kv/kv-store.ts";
import { badgerStore, newBadgerTarget } from "../support/badger-directory.ts";
import { volumePrefix } from "../support/etcd-gateway.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { tikvStoreAt } from "../support/tikv-keys.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";
import { never } from "./engine-harness.ts";

/** Snapshots while several writers change many keys in transactions that keep sums as they are. */

const ACCOUNTS = 3000;
const WRITERS = 3;
const SNAPSHOTS = 12;
/** Of BadgerDB, which is locked by a process of its own, and synchronized, for each change. */
const SLOW_SNAPSHOTS = 3;
/** Changes that come between two reads, so that each of them would be seen. */
const CHANGES_BETWEEN = 3;
const BALANCE = 1000;

const account = (i: number): Buffer => Buffer.from(`account ${String(i).padStart(5, "0")}`);
const writerKey = (i: number): Buffer => Buffer.from(`writer ${i}`);
const ALL: KvRange = { start: Buffer.alloc(0), end: Buffer.alloc(0) };
/** Before, between and behind the accounts. */
const BORDERS: readonly Buffer[] = [account(0), account(ACCOUNTS / 3), account((2 * ACCOUNTS) / 3), writerKey(0)];

/** An account: its balance and how often it was changed. A writer: 0, and how many changes it made. Large, so that it takes many pages. */
function encode(balance: number, changes: number): Buffer {
  const value = Buffer.alloc(300);
  value.writeInt32BE(balance);
  value.writeUInt32BE(changes, 4);
  return value;
}

const balanceOf = (value: Buffer): number => value.readInt32BE();
const changesOf = (value: Buffer): number => value.readUInt32BE(4);

/** What contradicts the rules of all writers, from the pairs that were read. */
class Sums {
  #balance = 0;
  #changed = 0;
  #made = 0;
  #count = 0;

  add(key: Buffer, value: Buffer): void {
    this.#count++;
    this.#balance += balanceOf(value);
    if (key.toString().startsWith("writer")) this.#made += changesOf(value);
    else this.#changed += changesOf(value);
  }

  /** Each change takes from one account what it gives to another. */
  contradictions(): object {
    const found = {
      missing: ACCOUNTS + WRITERS - this.#count,
      balance: this.#balance - ACCOUNTS * BALANCE,
      changes: this.#changed - 2 * this.#made,
    };
    return Object.fromEntries(Object.entries(found).filter(([, difference]) => difference !== 0));
  }
}

interface Store {
  readonly name: string;
  readonly snapshots: number;
  open(): Promise<KvStore>;
}

const etcd = await requireEtcd();
const tikv = await requireTikvCluster({ stores: 3 });

const STORES: readonly (Store | undefined)[] = [
  etcd && {
    name: "etcd",
    snapshots: SNAPSHOTS,
    async open() {
      const path = `/writers-${process.pid}`;
      await etcd.gateway.remove(volumePrefix(path));
      return new EtcdStore(parseEtcdAddress(etcd.url(path)));
    },
  },
  tikv && {
    name: "TiKV",
    snapshots: SNAPSHOTS,
    async open() {
      for (const key of BORDERS) await tikv.split(Buffer.concat([Buffer.from("writers\xfd", "latin1"), key]));
      return tikvStoreAt(tikv.url("writers"));
    },
  },
  { name: "BadgerDB", snapshots: SLOW_SNAPSHOTS, open: async () => badgerStore(newBadgerTarget().directory) },
];

async function fill(store: KvStore): Promise<void> {
  const pairs = [
    ...Array.from({ length: ACCOUNTS }, (_, i) => ({ key: account(i), value: encode(BALANCE, 0) })),
    ...Array.from({ length: WRITERS }, (_, i) => ({ key: writerKey(i), value: encode(0, 0) })),
  ];
  for (let first = 0; first < pairs.length; first += 100) {
    await store.transact({ conditions: [], changes: pairs.slice(first, first + 100) }, never);
  }
}

/** Changes pairs of accounts until it is stopped, one of them from each end so that no page has both. */
class Writer {
  made = 0;
  readonly #store: KvStore;
  readonly #own: Buffer;
  #isStopped = false;
  readonly #ended: Promise<void>;

  constructor(store: KvStore, number: number) {
    this.#store = store;
    this.#own = writerKey(number);
    this.#ended = this.#run();
    this.#ended.catch(() => undefined); // heard when it is stopped
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const low = Math.floor(Math.random() * (ACCOUNTS / 3));
      const high = ACCOUNTS - 1 - Math.floor(Math.random() * (ACCOUNTS / 3));
      const keys = [account(low), account(high), this.#own];
      const values = (await this.#store.get(keys, never)) as [Buffer, Buffer, Buffer];
      const [from, to, own] = values;
      const changes = [
        encode(balanceOf(from) - 7, changesOf(from) + 1),
        encode(balanceOf(to) + 7, changesOf(to) + 1),
        encode(0, changesOf(own) + 1),
      ].map((value, i) => ({ key: keys[i]!, value }));
      const conditions = keys.map((key, i) => ({ key, value: values[i]! }));
      if (await this.#store.transact({ conditions, changes }, never)) this.made++;
      await sleep(1); // others want the thread, and the lock of BadgerDB
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#ended;
  }
}

describe.each(STORES.filter((store) => store !== undefined))(
  "$name, changed by several writers all the time,",
  (found) => {
    test("has snapshots of one instant, and only those", async () => {
      const store = await found.open();
      await fill(store);
      const writers = Array.from({ length: WRITERS }, (_, i) => new Writer(store, i));
      const made = (): number => writers.reduce((sum, writer) => sum + writer.made, 0);
      const someChanges = async (): Promise<void> => {
        for (const enough = made() + CHANGES_BETWEEN; made() < enough; ) await sleep(1);
      };
      try {
        for (let i = 0; i < found.snapshots; i++) {
          const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
          const sums = new Sums();
          let pages = 0;
          for await (const page of snapshot.scan(ALL)) {
            for (const [key, value] of pairsOf(page)) sums.add(key, value);
            pages++;
            await someChanges();
          }
          await snapshot.close();
          expect(pages).toBeGreaterThan(2);
          expect([i, sums.contradictions()]).toEqual([i, {}]);
        }
        // What is read in several steps, as the reference does it, shows that changes would be seen.
        const torn = new Sums();
        for (const [at, start] of BORDERS.entries()) {
          const snapshot = await store.openSnapshot({ signal: never, logger: silentLogger });
          const end = BORDERS[at + 1] ?? Buffer.alloc(0);
          for await (const page of snapshot.scan({ start, end })) {
            for (const [key, value] of pairsOf(page)) torn.add(key, value);
          }
          await snapshot.close();
          await someChanges();
        }
        expect(torn.contradictions()).not.toEqual({});
      } finally {
        for (const writer of writers) await writer.stop();
        await store.close();
      }
    });
  },
);
