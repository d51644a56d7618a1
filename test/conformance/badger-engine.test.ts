import { BADGER, badgerStore, newBadgerTarget, readBadgerLines } from "../support/badger-directory.ts";
import { never } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

const directoryOf = (address: string): string => address.slice(BADGER.length);

describeEngine("badger", {
  createsDatabase: true,
  pointInTime: true,
  exactCheckpoints: true,
  holdsItsPlace: true,
  emptyAddress: async () => newBadgerTarget().url,
  fingerprint: (address) => readBadgerLines(directoryOf(address)),
  changeLog: async (address) => {
    const range = { start: Buffer.from("XLOG"), end: Buffer.from("XLOH") };
    const lines = await readBadgerLines(directoryOf(address), range);
    return lines.map((line) => Buffer.from(line.split(" ")[1]!, "hex").toString());
  },
  occupy: async (address) => {
    const changes = [{ key: Buffer.from("something else"), value: Buffer.from("1") }];
    await badgerStore(directoryOf(address)).transact({ conditions: [], changes }, never);
  },
});
