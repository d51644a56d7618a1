import { describe, expect, test } from "vitest";
import { UsageError } from "../../../../src/base/errors.ts";
import { parseEtcdAddress } from "../../../../src/engines/etcd/etcd-address.ts";
import { PrefixedKeys } from "../../../../src/engines/kv/prefixed-keys.ts";

describe("the address of a volume in etcd", () => {
  // docs/spec/kv.md §2
  test.each([
    ["etcd://h:2379/hc", "2f6863fd"],
    ["etcd://h:2379", "fd"],
    ["etcd://h:2379/", "2ffd"],
    ["etcd://h:2379/a/b", "2f612f62fd"],
    ["etcd://h:2379/a%20b?cacert=/x", "2f612062fd"],
    ["etcd://h:2379/%ff%00", "2fff00fd"],
    ["etcd://h:2379/é", "2fc3a9fd"],
  ])("%s: its keys begin with %s", (url, prefix) => {
    expect(parseEtcdAddress(url).prefix.toString("hex")).toBe(prefix);
  });

  test("a volume ends before the next prefix", () => {
    const keys = new PrefixedKeys(parseEtcdAddress("etcd://h/a").prefix);
    expect(keys.end.toString("hex")).toBe("2f61fe");
    const range = keys.range({ start: Buffer.from("A"), end: Buffer.alloc(0) });
    expect([range.start.toString("hex"), range.end.toString("hex")]).toEqual(["2f61fd41", "2f61fe"]);
  });

  test("hosts keep their names, and get the port that is not given", () => {
    const { endpoints } = parseEtcdAddress("etcd://a,b:1,[::1],[fe80::1]:3/x");
    expect(endpoints).toEqual(["a:2379", "b:1", "[::1]:2379", "[fe80::1]:3"]);
    expect(parseEtcdAddress("etcd://http://a:1/x").endpoints).toEqual(["a:1"]);
  });

  test("user and password are unescaped, and never printed", () => {
    const address = parseEtcdAddress("etcd://us%40er:pa%2Fss%3Aw%40rd@a:1,b:2/x");
    expect(address).toMatchObject({ user: "us@er", password: "pa/ss:w@rd", endpoints: ["a:1", "b:2"] });
    expect(address.printable).toBe("etcd://us%40er:****@a:1,b:2/x");
    expect(parseEtcdAddress("etcd://a/x").user).toBeUndefined();
    expect(parseEtcdAddress("etcd://@a/x").user).toBeUndefined();
  });

  test("TLS is switched on by what needs it, and not by what leaves it out", () => {
    expect(parseEtcdAddress("etcd://a/x?insecure-skip-verify=1").tls).toBeUndefined();
    expect(parseEtcdAddress("etcd://a/x?server-name=b").tls).toMatchObject({ serverName: "b", verify: true });
    expect(parseEtcdAddress("etcd://a/x?cacert=/ca&insecure-skip-verify=false").tls).toEqual({
      ca: "/ca",
      cert: undefined,
      key: undefined,
      serverName: undefined,
      verify: false, // any value, as in the reference
    });
    expect(() => parseEtcdAddress("etcd://a/x?cert=/c")).toThrow("the parameter key is missing");
    expect(() => parseEtcdAddress("etcd://a/x?key=/c")).toThrow("the parameter cert is missing");
  });

  test.each([
    ["etcd:///x", '"" is no host:port'],
    ["etcd://a:b/x", '"a:b" is no host:port'],
    ["etcd://a:99999/x", '"a:99999" is no host:port'],
    ["etcd://user:secret@a,,b/x", '"" is no host:port'],
    ["etcd://a/%zz", "% must be followed by two hex digits"],
    ["etcd://us%er:secret@a/x", "a percent escape in the user name or password is none"],
  ])("%s is refused: %s", (url, problem) => {
    const attempt = (): unknown => parseEtcdAddress(url);
    expect(attempt).toThrow(UsageError);
    expect(attempt).toThrow(problem);
    expect(attempt).not.toThrow("secret");
  });
});
