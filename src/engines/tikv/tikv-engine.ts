import type { Engine } from "../engine.ts";
import { KvMetadataStore } from "../kv/kv-metadata-store.ts";
import { parseTikvAddress } from "./tikv-address.ts";
import { TikvStore } from "./tikv-store.ts";

/** TiKV 4.0 or newer with API version 1 (docs/spec/kv.md, docs/spec/kv-stores.md §2). */
export const tikvEngine: Engine = {
  name: "TiKV",

  async open(address, options) {
    return new KvMetadataStore(await TikvStore.open(parseTikvAddress(address), options));
  },
};
