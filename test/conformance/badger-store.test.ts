import { badgerStore, newBadgerTarget } from "../support/badger-directory.ts";
import { describeKvStore } from "./kv-store-suite.ts";

describeKvStore("BadgerDB", { open: async () => badgerStore(newBadgerTarget().directory) });
