import { silentLogger } from "../../src/base/logger.ts";
import { parseTikvAddress } from "../../src/engines/tikv/tikv-address.ts";
import { TikvStore } from "../../src/engines/tikv/tikv-store.ts";
import { requireTikv } from "../support/tikv-server.ts";
import { never } from "./engine-harness.ts";
import { describeKvStore } from "./kv-store-suite.ts";

let count = 0;

const openUrl = (url: string): Promise<TikvStore> =>
  TikvStore.open(parseTikvAddress(url), { signal: never, logger: silentLogger, env: {} });

const one = await requireTikv();
describeKvStore(
  "TiKV",
  one && {
    open: () => openUrl(one.url(`store-${count++}`)),
    openAgain: (store) => openUrl(store.address),
  },
);

/** The same over three stores, and with regions that end in the middle of what the suite writes, each led by another store. */
const many = await requireTikv({ stores: 3, drivers: 2 });
describeKvStore(
  "TiKV in many regions",
  many && {
    open: async () => {
      const prefix = `store-${count++}`;
      const keys = ["", "A", "A\x80", "B", "BBx", "key 1", "key 5", "key 9", "z"];
      for (const [i, key] of keys.entries()) {
        const whole = Buffer.concat([Buffer.from(prefix), Buffer.of(0xfd), Buffer.from(key, "latin1")]);
        await many.split(whole);
        await many.moveLeader(whole, i % 3);
      }
      return openUrl(many.url(prefix));
    },
    openAgain: (store) => openUrl(store.address),
  },
);
