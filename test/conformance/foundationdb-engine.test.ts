import { vi } from "vitest";
import { foundationdbStoreAt, newFoundationdbUrl, readFoundationdbLines } from "../support/foundationdb-keys.ts";
import { never } from "./engine-harness.ts";
import { describeEngine } from "./engine-suite.ts";

/**
 * The one engine without a real database: FoundationDB and its client library can be had from no registry. The package is replaced by one
 * in memory (test/support/foundationdb-stand-in.ts), everything above it is what users run.
 */
vi.mock("../../src/engines/foundationdb/foundationdb-package.ts", async (original) => {
  const real = await original<typeof import("../../src/engines/foundationdb/foundationdb-package.ts")>();
  const { standIn } = await import("../support/foundationdb-stand-in.ts");
  return { ...real, loadFoundationdb: async () => real.preparePackage(standIn) };
});

describeEngine("foundationdb (a stand-in)", {
  createsDatabase: false,
  tellsTime: false,
  pointInTime: true,
  // 4166 slices are 99,984 bytes of the 100,000 that a value may have
  limits: { maxNumber: 4294967295, maxSlices: 4166, byteNames: true },
  emptyAddress: async () => newFoundationdbUrl(),
  fingerprint: readFoundationdbLines,
  changeLog: async (address) => {
    const lines = await readFoundationdbLines(address, { start: Buffer.from("XLOG"), end: Buffer.from("XLOH") });
    return lines.map((line) => Buffer.from(line.split(" ")[1]!, "hex").toString());
  },
  occupy: async (address) => {
    const changes = [{ key: Buffer.from("something else"), value: Buffer.from("1") }];
    await foundationdbStoreAt(address).transact({ conditions: [], changes }, never);
  },
});
