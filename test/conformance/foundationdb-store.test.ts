import { parseFoundationdbAddress } from "../../src/engines/foundationdb/foundationdb-address.ts";
import { preparePackage } from "../../src/engines/foundationdb/foundationdb-package.ts";
import { FoundationdbStore } from "../../src/engines/foundationdb/foundationdb-store.ts";
import { StandInPackage } from "../support/foundationdb-stand-in.ts";
import { describeKvStore } from "./kv-store-suite.ts";

/** The one store without a real server: see test/support/foundationdb-stand-in.ts. */
const fdb = preparePackage(new StandInPackage());
let count = 0;

const open = (url: string): FoundationdbStore => new FoundationdbStore(fdb, parseFoundationdbAddress(url));

describeKvStore("FoundationDB (a stand-in)", {
  open: async () => open(`fdb:///stand-in/fdb.cluster?prefix=store-${count++}`),
  openAgain: async (store) => open(store.address),
});
