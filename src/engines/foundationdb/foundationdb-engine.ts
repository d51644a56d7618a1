import type { Engine } from "../engine.ts";
import { KvMetadataStore } from "../kv/kv-metadata-store.ts";
import { parseFoundationdbAddress } from "./foundationdb-address.ts";
import { loadFoundationdb } from "./foundationdb-package.ts";
import { FoundationdbStore } from "./foundationdb-store.ts";

/** FoundationDB with API version 630 or newer, by an optional package (docs/spec/kv.md, docs/spec/kv-stores.md §4). */
export const foundationdbEngine: Engine = {
  name: "FoundationDB",

  async open(address, options) {
    const parsed = parseFoundationdbAddress(address);
    const store = new FoundationdbStore(await loadFoundationdb(), parsed);
    try {
      await store.check(options.signal);
    } catch (error) {
      await store.close();
      throw error;
    }
    return new KvMetadataStore(store);
  },
};
