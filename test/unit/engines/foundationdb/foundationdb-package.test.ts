import { describe, expect, test } from "vitest";
import { MissingDependencyError } from "../../../../src/base/errors.ts";
import { missing, preparePackage } from "../../../../src/engines/foundationdb/foundationdb-package.ts";

const INSTALL = expect.stringMatching(/foundationdb-clients.*npm install foundationdb@2\.0\.1/);

describe("the optional package of FoundationDB", () => {
  // What the package 2.0.1 says on a Linux without the library, and on a system that it has no build for.
  test.each([
    [
      { code: "ERR_DLOPEN_FAILED", message: "libfdb_c.so: cannot open shared object file: No such file or directory" },
      "its client library cannot be loaded: libfdb_c.so: cannot open shared object file: No such file or directory",
    ],
    [
      { code: "ERR_MODULE_NOT_FOUND", message: "Cannot find package 'foundationdb' imported from /x/y.js" },
      "the package foundationdb is not installed",
    ],
    [
      { message: "No native build was found for platform=linux arch=arm64 runtime=node\n    loaded from: /x\n" },
      "the package foundationdb has no build for this system: No native build was found for platform=linux arch=arm64 runtime=node",
    ],
    [
      { code: "ERR_MODULE_NOT_FOUND", message: "Cannot find package 'fdb-tuple' imported from /x" },
      "the package foundationdb cannot be loaded: Cannot find package 'fdb-tuple' imported from /x",
    ],
  ])("is told apart from its library: %s", (thrown, problem) => {
    const error = missing(Object.assign(new Error(thrown.message), thrown));
    expect(error).toBeInstanceOf(MissingDependencyError);
    expect([error.message, error.hint]).toEqual([`Cannot use FoundationDB: ${problem}`, INSTALL]);
  });

  test("says so when its library is too old", () => {
    const old = {
      setAPIVersion: () => {
        throw Object.assign(new Error("API version not supported"), { code: 2203 });
      },
      open: () => {
        throw new Error("opened");
      },
    };
    expect(() => preparePackage(old)).toThrow(
      "The client library of FoundationDB cannot be used with API version 630: API version not supported",
    );
  });
});
