import { readFileSync, writeFileSync } from "node:fs";
import type { ServerOptions } from "node:https";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { DecantError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { ObjectStorage } from "../../src/storage/object-storage.ts";
import type { S3Type } from "../../src/storage/s3/s3-address.ts";
import { openS3Storage } from "../../src/storage/s3/s3-storage.ts";
import type { Setting } from "../../src/volume/setting.ts";
import { errorOf } from "../support/broken-connection.ts";
import { REPOSITORY } from "../support/repository.ts";
import { S3Proxy } from "../support/s3-proxy.ts";
import { requireS3Server } from "../support/s3-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { PART_BYTES, randomPieces } from "./storage-suite.ts";

const SIGNAL: AbortSignal = new AbortController().signal;
const server = await requireS3Server();
const TIMING = { maxAttempts: 1 };

async function failureOf(work: Promise<unknown>): Promise<DecantError> {
  return (await errorOf(work)) as DecantError;
}

describe.skipIf(server === undefined)("what is sent to a server", () => {
  test("carries storage class and tag of tier 0, the checksum, and a signature over the content", async () => {
    const proxy = await S3Proxy.start(server!.port);
    const bucket = await server!.createBucket();
    const tier = { id: 0n, storageClass: "STANDARD_IA", tag: "team=a & b" };
    const parts = { sessionToken: "token", tiers: new Map([["0", tier]]), port: proxy.port };
    const storage = await openS3Storage("minio", server!.setting(bucket, parts), {
      env: {},
      logger: silentLogger,
      timing: TIMING,
    });
    // what the server makes of class, tag and token is its own business
    await errorOf(storage.put("meta/x", Buffer.from("123456789"), SIGNAL));
    expect(proxy.headers[0]).toMatchObject({
      "x-amz-storage-class": "STANDARD_IA",
      "x-amz-tagging": "team=a%20%26%20b",
      "x-amz-meta-crc32c": String(0xe3069283),
      "x-amz-security-token": "token",
      "content-length": "9",
      "x-amz-content-sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    });
    expect(proxy.headers[0]!.authorization).toContain("/us-east-1/s3/aws4_request");
    await errorOf(storage.putStream("meta/y", randomPieces(PART_BYTES + 1).pieces, { signal: SIGNAL }));
    const created = proxy.requests.findIndex((request) => request.startsWith("POST"));
    expect(proxy.headers[created]).toMatchObject({
      "x-amz-storage-class": "STANDARD_IA",
      "x-amz-tagging": "team=a%20%26%20b",
    });
    await storage.close();
    proxy.close();
  });

  test("has no checksum in its metadata when the bucket says so", async () => {
    const proxy = await S3Proxy.start(server!.port);
    const setting = server!.setting(await server!.createBucket(), { port: proxy.port });
    const plain = { ...setting, bucket: `${setting.bucket}?disable-checksum=true` };
    const storage = await openS3Storage("minio", plain, { env: {}, logger: silentLogger, timing: TIMING });
    await storage.put("x", Buffer.from("x"), SIGNAL);
    expect(proxy.headers[0]).not.toHaveProperty("x-amz-meta-crc32c");
    await storage.close();
    proxy.close();
  });
});

/** Through a proxy that speaks TLS, with these parameters of the bucket. */
async function withTls(
  parameters: Readonly<Record<string, string>>,
  work: (storage: ObjectStorage) => Promise<void>,
  options: ServerOptions = {},
): Promise<void> {
  const bucket = await server!.createBucket();
  const files = { cert: readFileSync(tlsFile("server.crt")), key: readFileSync(tlsFile("server.key")) };
  const proxy = await S3Proxy.start(server!.port, [], { ...files, ...options });
  const address = `https://localhost:${proxy.port}/${bucket}?${new URLSearchParams(parameters)}`;
  const setting = { ...server!.setting(bucket), bucket: address };
  const storage = await openS3Storage("minio", setting, { env: {}, logger: silentLogger, timing: TIMING });
  await work(storage).finally(async () => {
    await storage.close();
    proxy.close();
  });
}

const tlsFile = (name: string): string => join(REPOSITORY, "test", "support", "tls", name);

describe.skipIf(server === undefined)("a server that speaks TLS", () => {
  const isUsed = async (storage: ObjectStorage): Promise<void> => {
    await storage.put("x", Buffer.from("by TLS"), SIGNAL);
    expect((await storage.get("x", SIGNAL)).toString()).toBe("by TLS");
  };

  test("is trusted when the bucket names its authority", () => withTls({ "ca-certs": tlsFile("ca.crt") }, isUsed));

  test("is trusted blindly when the bucket says so", () => withTls({ "tls-insecure-skip-verify": "true" }, isUsed));

  test("is refused otherwise, with what to do", () =>
    withTls({}, async (storage) => {
      const error = await failureOf(storage.put("x", Buffer.from("x"), SIGNAL));
      expect(error).toMatchObject({ code: "DECANT_E_STORAGE_TLS", hint: expect.stringContaining("ca-certs") });
    }));

  test("may want a certificate of its client", async () => {
    const authority = { "ca-certs": tlsFile("ca.crt") };
    const own = { "ssl-cert": tlsFile("client.crt"), "ssl-key": tlsFile("client.key") };
    const options = { requestCert: true, rejectUnauthorized: true, ca: readFileSync(tlsFile("ca.crt")) };
    await withTls({ ...authority, ...own }, isUsed, options);
    const refused = async (storage: ObjectStorage): Promise<void> => {
      expect(await failureOf(storage.get("x", SIGNAL))).toMatchObject({ name: "StorageError" });
    };
    await withTls(authority, refused, options);
  });

  test("needs files that are there, and certificate and key together", async () => {
    await expect(withTls({ "ca-certs": "/none" }, isUsed)).rejects.toThrow(
      "Cannot read /none: no such file or directory",
    );
    await expect(withTls({ "ssl-cert": "/none" }, isUsed)).rejects.toThrow("only of use together");
  });
});

describe.skipIf(server === undefined)("the keys of a bucket", () => {
  /** What a server is shown of the keys. */
  async function shownFor(type: S3Type, parts: Partial<Setting>, env: Record<string, string>): Promise<unknown> {
    const proxy = await S3Proxy.start(server!.port);
    const setting = { ...server!.setting("bk"), accessKey: "", secretKey: "", ...parts };
    const variables = { ...env, http_proxy: `http://127.0.0.1:${proxy.port}` };
    try {
      const storage = await openS3Storage(type, setting, { env: variables, logger: silentLogger, timing: TIMING });
      await failureOf(storage.get("x", SIGNAL));
      await storage.close();
      const [headers] = proxy.headers;
      return [/Credential=([^/]+)/.exec(headers?.authorization ?? "")?.[1], headers?.["x-amz-security-token"]];
    } finally {
      proxy.close();
    }
  }

  const AWS = { AWS_ACCESS_KEY_ID: "aws", AWS_SECRET_ACCESS_KEY: "secret", AWS_SESSION_TOKEN: "aws-token" };
  const MINIO = { MINIO_ACCESS_KEY: "mini", MINIO_SECRET_KEY: "secret" };
  const OWN = { accessKey: "own", secretKey: "secret" };

  test("are those of the setting, then those of the environment", async () => {
    expect(await shownFor("s3", OWN, AWS)).toEqual(["own", undefined]);
    expect(await shownFor("s3", { ...OWN, sessionToken: "own-token" }, AWS)).toEqual(["own", "own-token"]);
    expect(await shownFor("s3", {}, AWS)).toEqual(["aws", "aws-token"]);
    expect(await shownFor("minio", {}, { ...AWS, ...MINIO })).toEqual(["mini", undefined]);
    expect(
      await shownFor(
        "scw",
        { bucket: "http://bk.s3.fr-par.scw.cloud" },
        { SCW_ACCESS_KEY: "scw", SCW_SECRET_KEY: "secret" },
      ),
    ).toEqual(["scw", undefined]);
  });

  test("are none for anonymous use: nothing is signed", async () => {
    expect(await shownFor("s3", { accessKey: "anonymous" }, AWS)).toEqual([undefined, undefined]);
  });

  test("are looked for in the files of the AWS tools when there are no others", async () => {
    const file = join(temporaryDirectory(), "credentials");
    writeFileSync(file, "[default]\naws_access_key_id = filed\naws_secret_access_key = secret\n");
    const before = process.env.AWS_SHARED_CREDENTIALS_FILE;
    process.env.AWS_SHARED_CREDENTIALS_FILE = file;
    try {
      expect(await shownFor("s3", {}, {})).toEqual(["filed", undefined]);
    } finally {
      if (before === undefined) delete process.env.AWS_SHARED_CREDENTIALS_FILE;
      else process.env.AWS_SHARED_CREDENTIALS_FILE = before;
    }
  });

  test("are refused when one of the two is missing", async () => {
    await expect(shownFor("s3", { accessKey: "own" }, AWS)).rejects.toThrow(
      "The secret key of the object storage is missing",
    );
    await expect(shownFor("minio", {}, { MINIO_SECRET_KEY: "x" })).rejects.toThrow("The access key of the object");
  });

  /** What a host is asked for, by way of a proxy. */
  async function askedFor(type: S3Type, bucket: string, variables: Record<string, string>): Promise<unknown> {
    const proxy = await S3Proxy.start(server!.port);
    const env = { http_proxy: `http://127.0.0.1:${proxy.port}`, ...variables };
    try {
      const storage = await openS3Storage(
        type,
        { ...server!.setting("bk"), bucket },
        { env, logger: silentLogger, timing: TIMING },
      );
      await failureOf(storage.get("x", SIGNAL));
      await storage.close();
      return proxy.requests[0];
    } finally {
      proxy.close();
    }
  }

  const STYLE = { JFS_S3_VHOST_STYLE: "1" };

  // What the reference asked for, but for the command (docs/spec/object-storage.md §4).
  test.each<[S3Type, string, Record<string, string>, string]>([
    ["s3", "http://bucket1.example.org", {}, "example.org/bucket1"],
    ["s3", "http://example.org:9000/bucket1", {}, "example.org:9000/bucket1"],
    ["s3", "http://bucket1.example.org", STYLE, "bucket1.example.org"],
    ["s3", "http://example.org:9000/bucket1", STYLE, "bucket1.example.org:9000"],
    ["minio", "http://example.org/bucket1", {}, "example.org/bucket1"],
    ["minio", "http://example.org/bucket1", STYLE, "bucket1.example.org"],
    ["s3", "http://s3.eu-west-1.amazonaws.com/bucket1", {}, "bucket1.s3.eu-west-1.amazonaws.com"],
    ["s3", "http://bk.s3.eu-west-1.amazonaws.com", {}, "s3.eu-west-1.amazonaws.com/bk"],
    ["wasabi", "http://bucket1.s3.eu-west-1.wasabisys.com", {}, "bucket1.s3.eu-west-1.wasabisys.com"],
    ["scw", "http://bucket1.s3.fr-par.scw.cloud", {}, "bucket1.s3.fr-par.scw.cloud"],
    ["space", "http://bucket1.nyc3.digitaloceanspaces.com", {}, "bucket1.nyc3.digitaloceanspaces.com"],
    ["eos", "http://bucket1.eos-wuxi-1.cmecloud.cn", {}, "eos-wuxi-1.cmecloud.cn/bucket1"],
    ["oos", "http://bucket1.oos-cn.ctyunapi.cn", {}, "oos-cn.ctyunapi.cn/bucket1"],
  ])("a bucket of %s at %s is asked for where the reference does it (%o)", async (type, bucket, env, place) => {
    expect(await askedFor(type, bucket, env)).toBe(`GET http://${place}/vol/x?x-id=GetObject`);
  });
});
