import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { parseFoundationdbAddress } from "../../../../src/engines/foundationdb/foundationdb-address.ts";

describe("the address of a volume in FoundationDB", () => {
  // docs/spec/kv.md §2
  test.each([
    ["fdb:///etc/fdb.cluster?prefix=jfs", "/etc/fdb.cluster", "6a6673fd"],
    ["fdb:///etc/fdb.cluster", "/etc/fdb.cluster", "fd"],
    ["fdb:///etc/fdb.cluster?prefix=", "/etc/fdb.cluster", "fd"],
    ["fdb:///etc/fdb.cluster?x=1&prefix=a&prefix=b", "/etc/fdb.cluster", "61fd"],
    ["fdb:///a%20b/%C3%A9?prefix=a%2Fb+c%ff", "/a b/é", "612f622063fffd"],
    ["fdb:///é?prefix=é#x", "/é", "c3a9fd"],
    ["fdb://?prefix=a", undefined, "61fd"],
    ["fdb://", undefined, "fd"],
  ])("%s: cluster file %s, its keys begin with %s", (url, file, prefix) => {
    const address = parseFoundationdbAddress(url);
    expect([address.clusterFile, address.prefix.toString("hex")]).toEqual([file, prefix]);
  });

  test.each([
    ["fdb://etc/fdb.cluster", '"etc" stands where no host can be'],
    ["fdb://user:secret@host/x", '"user:****@host" stands where no host can be'],
    ["fdb:///%zz", "% must be followed by two hex digits"],
    ["fdb:///x?prefix=%z", "% must be followed by two hex digits"],
    ["fdb:///%ff", "the name of the cluster file is no UTF-8"],
    ["fdb:///a%00b", "must have at most 1023 bytes, and none of them 0"],
    [`fdb:///${"é".repeat(600)}`, "must have at most 1023 bytes"], // the package would cut it off
    [`fdb:///x?prefix=${"a".repeat(9000)}`, "the prefix must have at most 8999 bytes, and has 9000"],
  ])("%s is refused: %s", (url, problem) => {
    const attempt = (): unknown => parseFoundationdbAddress(url);
    expect(attempt).toThrow(UsageError);
    expect(attempt).toThrow(problem);
    expect(attempt).not.toThrow("secret");
  });
});
