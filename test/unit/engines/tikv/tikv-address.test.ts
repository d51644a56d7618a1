import { describe, expect, test } from "vitest";
import { parseTikvAddress } from "../../../../src/engines/tikv/tikv-address.ts";

describe("the address of TiKV", () => {
  test.each([
    ["tikv://h:2379/hc", ["h:2379"], "6863fd"],
    ["tikv://h", ["h:2379"], "fd"],
    ["tikv://h:1/", ["h:1"], "fd"],
    ["tikv://a:1,b,c:3/x/y", ["a:1", "b:2379", "c:3"], "782f79fd"],
    ["tikv://h///x/", ["h:2379"], "782ffd"],
    ["tikv://h/a%20%ff?gc-interval=0#ignored", ["h:2379"], "6120fffd"],
    ["tikv://[::1]:20,10.0.0.1/ä", ["[::1]:20", "10.0.0.1:2379"], "c3a4fd"],
  ])("%s names placement drivers and a prefix", (url, endpoints, prefix) => {
    const address = parseTikvAddress(url);
    expect([address.endpoints, address.prefix.toString("hex"), address.tls]).toEqual([endpoints, prefix, undefined]);
    expect(address.printable).toBe(url);
  });

  test("certificates are taken when there is an authority, and unknown parameters are passed over", () => {
    const tls = (query: string) => parseTikvAddress(`tikv://h/p?${query}`).tls;
    expect(tls("ca=/a&cert=/c&key=/k&verify-cn=x,%20y&whatever=1")).toEqual({
      ...{ ca: "/a", cert: "/c", key: "/k" },
      commonNames: ["x", "y"],
    });
    expect(tls("ca=/a")).toEqual({ ca: "/a", cert: undefined, key: undefined, commonNames: [] });
    expect(tls("verify-cn=x")).toBeUndefined();
    expect(() => tls("cert=/c&key=/k")).toThrow("the parameter ca is missing");
    expect(() => tls("ca=/a&cert=/c")).toThrow("the parameter key is missing");
    expect(() => tls("ca=/a&key=/c")).toThrow("the parameter cert is missing");
  });

  test.each(["tikv://", "tikv://,h/x", "tikv:///x", "tikv://h:0/x", "tikv://h:66000/x", "tikv://h:/x", "tikv://u@h/x"])(
    "%s is refused",
    (url) => {
      expect(() => parseTikvAddress(url)).toThrow(/^Invalid address .* is no host:port$/);
    },
  );

  test("a password that somebody put there is not shown", () => {
    const show = (): unknown => parseTikvAddress("tikv://user:secret@h:1/x");
    expect(show).toThrow(/Invalid address tikv:\/\/user:\*\*\*\*@h:1\/x/);
    expect(show).not.toThrow(/secret/);
  });

  test("a prefix with half an escape is refused", () => {
    expect(() => parseTikvAddress("tikv://h/100%")).toThrow("% must be followed by two hex digits");
  });
});
