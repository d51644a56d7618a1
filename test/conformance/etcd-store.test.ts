import { parseEtcdAddress } from "../../src/engines/etcd/etcd-address.ts";
import { EtcdStore } from "../../src/engines/etcd/etcd-store.ts";
import { requireEtcd } from "../support/etcd-server.ts";
import { describeKvStore } from "./kv-store-suite.ts";

const server = await requireEtcd();
let count = 0;

describeKvStore(
  "etcd",
  server && {
    open: async () => {
      const path = `/store-${process.pid}-${count++}`;
      const store = new EtcdStore(parseEtcdAddress(server.url(path)));
      await store.deleteRange(
        { start: Buffer.alloc(0), end: Buffer.alloc(0) },
        { signal: new AbortController().signal },
      );
      return store;
    },
    openAgain: async (store) => new EtcdStore(parseEtcdAddress(store.address)),
  },
);
