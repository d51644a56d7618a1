import { describeKvStore } from "../../../conformance/kv-store-suite.ts";
import { MemoryKvStore } from "../../../support/memory-kv-store.ts";

describeKvStore("in memory", { open: async () => new MemoryKvStore(), openAgain: async (store) => store });
