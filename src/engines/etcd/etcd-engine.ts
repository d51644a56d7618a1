import type { Engine } from "../engine.ts";
import { KvMetadataStore } from "../kv/kv-metadata-store.ts";
import { parseEtcdAddress } from "./etcd-address.ts";
import { EtcdStore } from "./etcd-store.ts";

/** etcd 3.4 or newer, one server or a cluster (docs/spec/kv.md, docs/spec/kv-stores.md §1). */
export const etcdEngine: Engine = {
  name: "etcd",

  async open(address, options) {
    const store = new EtcdStore(parseEtcdAddress(address));
    try {
      await store.check(options.signal);
    } catch (error) {
      await store.close();
      throw error;
    }
    return new KvMetadataStore(store);
  },
};
