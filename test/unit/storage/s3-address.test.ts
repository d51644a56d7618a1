import { describe, expect, test } from "vitest";
import { parseS3Address, type S3Type } from "../../../src/storage/s3/s3-address.ts";

type Case = readonly [
  type: S3Type,
  bucket: string,
  endpoint: string | undefined,
  name: string,
  region: string,
  shown: string,
];

// What the reference asked of its proxy for these addresses (docs/spec/object-storage.md §4).
const CASES: readonly Case[] = [
  ["s3", "https://bk.s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "bk", "eu-west-1", "bk"],
  ["s3", "https://s3.eu-west-1.amazonaws.com/bk", "https://s3.eu-west-1.amazonaws.com", "bk", "eu-west-1", "bk"],
  ["s3", "https://bk.s3-eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "bk", "eu-west-1", "bk"],
  ["s3", "bk.s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "bk", "eu-west-1", "bk"],
  ["s3", "https://bk.s3.amazonaws.com", "https://s3.us-east-1.amazonaws.com", "bk", "us-east-1", "bk"],
  [
    "s3",
    "https://bu.cket.s3.eu-west-1.amazonaws.com",
    "https://s3.eu-west-1.amazonaws.com",
    "bu.cket",
    "eu-west-1",
    "bu.cket",
  ],
  [
    "s3",
    "https://bk.s3.dualstack.eu-west-1.amazonaws.com",
    "https://s3.eu-west-1.amazonaws.com",
    "bk",
    "eu-west-1",
    "bk",
  ],
  [
    "s3",
    "https://bk.s3.cn-north-1.amazonaws.com.cn",
    "https://s3.cn-north-1.amazonaws.com.cn",
    "bk",
    "cn-north-1",
    "bk",
  ],
  [
    "s3",
    "https://bk.vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com",
    "https://vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com",
    "bk",
    "eu-west-1",
    "vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com/bk",
  ],
  ["s3", "bk", undefined, "bk", "us-east-1", "bk"],
  ["s3", "https://bk", undefined, "bk", "us-east-1", "bk"],
  ["s3", "http://bk.example.org", "http://example.org", "bk", "us-east-1", "example.org/bk"],
  ["s3", "http://example.org/bk", "http://example.org", "bk", "us-east-1", "example.org/bk"],
  ["s3", "bk.example.org", "http://example.org", "bk", "us-east-1", "example.org/bk"],
  ["s3", "http://example.org:9000/bk/sub/dir", "http://example.org:9000", "bk", "us-east-1", "example.org:9000/bk"],
  ["s3", "http://10.1.2.3:9000/bk/x", "http://10.1.2.3:9000", "bk", "us-east-1", "10.1.2.3:9000/bk"],
  ["minio", "http://example.org:9000/bk?region=rr-1", "http://example.org:9000", "bk", "rr-1", "example.org:9000/bk"],
  ["minio", "example.org:9000/bk/sub", "http://example.org:9000", "bk", "us-east-1", "example.org:9000/bk"],
  ["wasabi", "https://bk.s3.eu-west-1.wasabisys.com", "https://s3.eu-west-1.wasabisys.com", "bk", "eu-west-1", "bk"],
  ["scw", "https://bk.s3.fr-par.scw.cloud", "https://s3.fr-par.scw.cloud", "bk", "fr-par", "bk"],
  ["space", "https://bk.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com", "bk", "nyc3", "bk"],
  ["eos", "https://bk.eos-wuxi-1.cmecloud.cn", "https://eos-wuxi-1.cmecloud.cn", "bk", "us-east-1", "bk"],
  ["oos", "https://bk.oos-cn.ctyunapi.cn", "https://oos-cn.ctyunapi.cn", "bk", "cn", "bk"],
];

describe("the address of a bucket", () => {
  test.each(CASES)("%s %s", (type, bucket, endpoint, name, region, shown) => {
    expect(parseS3Address(type, bucket, {})).toMatchObject({ endpoint, bucket: name, region, shown });
  });

  test("keeps the bucket in the path of servers that are not the provider's own", () => {
    const isPathStyle = (type: S3Type, bucket: string) => parseS3Address(type, bucket, {}).isPathStyle;
    expect(isPathStyle("s3", "http://bk.example.org")).toBe(true);
    expect(isPathStyle("minio", "http://example.org/bk")).toBe(true);
    expect(isPathStyle("oos", "https://bk.oos-cn.ctyunapi.cn")).toBe(true);
    expect(isPathStyle("s3", "https://s3.eu-west-1.amazonaws.com/bk")).toBe(false);
    expect(isPathStyle("s3", "bk")).toBe(false);
    expect(isPathStyle("wasabi", "https://bk.s3.eu-west-1.wasabisys.com")).toBe(false);
  });

  test("takes its region from the environment where it names none", () => {
    const region = (type: S3Type, bucket: string, env: Record<string, string>) =>
      parseS3Address(type, bucket, env).region;
    const both = { AWS_REGION: "first-1", AWS_DEFAULT_REGION: "second-1", MINIO_REGION: "third-1" };
    expect(region("s3", "http://example.org/bk", both)).toBe("first-1");
    expect(region("s3", "bk", { AWS_DEFAULT_REGION: "second-1" })).toBe("second-1");
    expect(region("s3", "https://bk.s3.eu-west-1.amazonaws.com", both)).toBe("eu-west-1");
    expect(region("minio", "http://example.org/bk", both)).toBe("third-1");
    expect(region("minio", "http://example.org/bk?region=rr-1", both)).toBe("rr-1");
    expect(region("minio", "http://example.org/bk", { AWS_REGION: "first-1" })).toBe("us-east-1");
  });

  test("carries parameters", () => {
    const { parameters, bucket, shown } = parseS3Address(
      "s3",
      "https://example.org/bk?tls-insecure-skip-verify=true&ca-certs=/a&ssl-cert=/b&ssl-key=/c&disable-checksum=true",
      {},
    );
    expect({ bucket, shown }).toEqual({ bucket: "bk", shown: "example.org/bk" });
    expect(parameters).toEqual({
      insecureTls: true,
      caFile: "/a",
      certificateFile: "/b",
      keyFile: "/c",
      noChecksum: true,
    });
    const none = parseS3Address("s3", "https://example.org/bk?tls-insecure-skip-verify=false", {}).parameters;
    expect(none.insecureTls).toBe(false);
  });

  test.each<[S3Type, string]>([
    ["minio", "http://example.org:9000"],
    ["minio", "http://example.org:9000/"],
    ["s3", "http://10.1.2.3:9000"],
    ["s3", "http://[::1]:9000"],
    ["s3", "https://s3.eu-west-1.amazonaws.com"],
    ["wasabi", "https://localhost"],
  ])("%s %s names no bucket", (type, bucket) => {
    expect(() => parseS3Address(type, bucket, {})).toThrow(`The address ${bucket} names no bucket`);
  });

  test.each(["ftp://example.org/bk", "", "http://", "http://user name@/bk"])("%j is not understood", (bucket) => {
    expect(() => parseS3Address("s3", bucket, {})).toThrow("Cannot understand the bucket");
  });
});
