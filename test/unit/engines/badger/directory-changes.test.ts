import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FileError } from "../../../../src/base/errors.ts";
import { makeDirectory } from "../../../../src/engines/badger/directory-changes.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

test("makes a directory with those above it, and names the topmost that was not there", () => {
  const base = temporaryDirectory();
  expect(makeDirectory(join(base, "a/b/c"))).toBe(join(base, "a"));
  expect(existsSync(join(base, "a/b/c"))).toBe(true);
  expect(makeDirectory(join(base, "a/b/d"))).toBe(join(base, "a/b/d"));
  expect(makeDirectory(join(base, "a/b/d"))).toBeUndefined();
});

test("says so where a file is in the way, and where no directory can be made", () => {
  const file = join(temporaryDirectory(), "file");
  writeFileSync(file, "");
  for (const path of [file, join(file, "below"), "/proc/x", "/proc/x/y"]) {
    expect(() => makeDirectory(path)).toThrow(FileError);
  }
  expect(() => makeDirectory("/proc/x/y")).toThrow("Cannot make the directory /proc/x");
});
