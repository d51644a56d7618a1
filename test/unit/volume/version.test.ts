import { describe, expect, test } from "vitest";
import { EMPTY_SETTING } from "../../../src/volume/setting.ts";
import { checkClientVersion, compareVersions, parseVersion, raiseVersion } from "../../../src/volume/version.ts";

test("versions are ordered by numbers, then by pre-release as text, none being the highest", () => {
  const ordered = ["0.9", "1.1.0-A", "1.1.0-alpha", "1.1.0", "1.2-A", "1.2", "1.10.0", "2"];
  const shuffled = [...ordered].reverse();
  shuffled.sort((a, b) => compareVersions(parseVersion(a)!, parseVersion(b)!));
  expect(shuffled).toEqual(ordered);
  expect(compareVersions(parseVersion("1.4.2+2026-10-26.pypi")!, parseVersion("1.4.2")!)).toBe(0);
});

test.each(["", "abc", "1.x", "1.2.3.4", "v1.2", "1..2"])("'%s' is no version", (text) => {
  expect(parseVersion(text)).toBeUndefined();
});

test("a floor raises only what is lower", () => {
  expect(raiseVersion("1.1.0-A", "1.2.0-A")).toBe("1.2.0-A");
  expect(raiseVersion("1.4.0", "1.2.0-A")).toBe("1.4.0");
  expect(raiseVersion("", "1.2.0-A")).toBe("1.2.0-A");
});

describe("the version check", () => {
  test.each([
    [{ metaVersion: 2n }, "check version: incompatible metadata version: 2; please upgrade the client"],
    [{ minClientVersion: "9.0.0" }, "check version: allowed minimum version: 9.0.0; please upgrade the client"],
    [{ maxClientVersion: "1.3.0" }, "check version: allowed maximum version: 1.3.0; please use an older client"],
    [{ minClientVersion: "abc" }, "check version: invalid version string: abc"],
  ])("refuses %o", (change, message) => {
    expect(() => checkClientVersion({ ...EMPTY_SETTING, ...change })).toThrow(message);
  });

  test("lets usual volumes pass", () => {
    checkClientVersion({ ...EMPTY_SETTING, metaVersion: 1n, minClientVersion: "1.4.0-A", maxClientVersion: "1.4.2" });
  });
});
