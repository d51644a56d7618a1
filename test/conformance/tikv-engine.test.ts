import { readTikvLines, tikvStoreAt } from "../support/tikv-keys.ts";
import { requireTikvCluster } from "../support/tikv-server.ts";
import { never } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

const server = await requireTikvCluster({ stores: 2 });
let count = 0;

describeEngine(
  "tikv",
  server && {
    createsDatabase: false,
    pointInTime: true,
    limits: { maxNumber: 4294967295, maxSlices: Number.POSITIVE_INFINITY, byteNames: true, noEmptyValues: true },
    emptyAddress: async () => {
      const prefix = `conformance-${count++}`;
      for (const key of ["A", "A\x02", "D", "K"]) await server.split(Buffer.from(`${prefix}\xfd${key}`, "latin1"));
      return server.url(prefix);
    },
    fingerprint: readTikvLines,
    changeLog: async (address) => {
      const lines = await readTikvLines(address, { start: Buffer.from("XLOG"), end: Buffer.from("XLOH") });
      const byId = lines.sort((a, b) => (a.slice(10) < b.slice(10) ? -1 : 1));
      return byId.map((line) => Buffer.from(line.split(" ")[1]!, "hex").toString());
    },
    occupy: async (address) => {
      const store = await tikvStoreAt(address);
      const changes = [{ key: Buffer.from("something else"), value: Buffer.from("1") }];
      await store.transact({ conditions: [], changes }, never);
      await store.close();
    },
  },
);
