import { isIP } from "node:net";
import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

/** Types whose servers speak the protocol of S3, and are spoken to with it by the reference (docs/spec/object-storage.md §4). */
export const S3_TYPES = ["s3", "minio", "wasabi", "scw", "space", "eos", "oos"] as const;
export type S3Type = (typeof S3_TYPES)[number];

/** Where a bucket is. */
export interface S3Address {
  readonly bucket: string;
  /** `https://host:port`; undefined = the endpoint of AWS for the region, which the server may correct. */
  readonly endpoint: string | undefined;
  readonly region: string;
  /** The bucket stands in the path, not in the host's name, if the user does not want it otherwise. */
  readonly isPathStyle: boolean;
  /** Host and bucket, as the reference shows them: `127.0.0.1:9000/bk`, or the bucket alone where the type tells the host. */
  readonly shown: string;
  readonly parameters: S3Parameters;
}

/** Query parameters of the bucket URL. */
export interface S3Parameters {
  readonly insecureTls: boolean;
  readonly caFile: string | undefined;
  readonly certificateFile: string | undefined;
  readonly keyFile: string | undefined;
  /** Neither write nor check `x-amz-meta-crc32c`. */
  readonly noChecksum: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Understands the bucket of a setting as the reference does (docs/spec/object-storage.md §4): of `s3` and `minio` the first part
 * of the path is the bucket, if there is one, else the first label of the host. Throws `UsageError` for what names no bucket.
 */
export function parseS3Address(type: S3Type, bucket: string, env: Environment): S3Address {
  const url = parseBucketUrl(type, bucket);
  const parameters = takeParameters(url);
  const given = { bucket, scheme: url.protocol, path: url.pathname.split("/").find((part) => part !== "") };
  if (type === "s3") return s3Address(url, given, parameters, env);
  if (type === "minio") {
    if (given.path === undefined) throw noBucket(bucket, "http://host:port/bucket");
    const region = url.searchParams.get("region") || env.MINIO_REGION || "us-east-1";
    return hosted(url, given.path, url.host, region, parameters);
  }
  const name = firstLabel(url, bucket);
  const host = url.host.slice(name.length + 1);
  const isPathStyle = type === "eos" || type === "oos";
  return { ...hosted(url, name, host, regionOf(type, host), parameters), shown: name, isPathStyle };
}

interface Given {
  readonly bucket: string;
  readonly scheme: string;
  readonly path: string | undefined;
}

function s3Address(url: URL, given: Given, parameters: S3Parameters, env: Environment): S3Address {
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || "us-east-1";
  const aws = /^(?:(?<name>.+)\.)?s3[.-](?:dualstack\.)?(?:(?<region>[a-z0-9-]+)\.)?amazonaws\.com(?<cn>\.cn)?$/.exec(
    url.hostname,
  )?.groups;
  if (aws !== undefined) {
    const bucket = aws.name ?? given.path;
    if (bucket === undefined) throw noBucket(given.bucket, "https://bucket.s3.region.amazonaws.com");
    const awsRegion = aws.region ?? (aws.cn === undefined ? "us-east-1" : "cn-north-1");
    const endpoint = `${given.scheme}//s3.${awsRegion}.amazonaws.com${aws.cn ?? ""}`;
    return { bucket, endpoint, region: awsRegion, isPathStyle: false, shown: bucket, parameters };
  }
  if (given.path === undefined && /^[^.[]+$/.test(url.hostname)) {
    const bucket = url.hostname;
    return { bucket, endpoint: undefined, region, isPathStyle: false, shown: bucket, parameters };
  }
  const name = given.path ?? firstLabel(url, given.bucket);
  const host = given.path === undefined ? url.host.slice(name.length + 1) : url.host;
  const ofHost = /\.([a-z]{2}-[a-z-]+-\d)\.vpce\.amazonaws\.com/.exec(host)?.[1];
  return hosted(url, name, host, ofHost ?? region, parameters);
}

function hosted(url: URL, bucket: string, host: string, region: string, parameters: S3Parameters): S3Address {
  const shown = `${host}/${bucket}`;
  return { bucket, endpoint: `${url.protocol}//${host}`, region, isPathStyle: true, shown, parameters };
}

/** `s3.<region>.wasabisys.com`, `s3.<region>.scw.cloud`, `<region>.digitaloceanspaces.com`, `oos-<region>.ctyunapi.cn`. */
function regionOf(type: S3Type, host: string): string {
  const labels = host.split(".");
  if (type === "wasabi" || type === "scw") return labels.length > 3 ? labels[1]! : "us-east-1";
  if (type === "space") return labels[0]!;
  if (type === "oos") return labels[0]!.replace(/^oos-/, "");
  return "us-east-1";
}

/** Without a scheme: http for what looks like a host of somebody's own, as in the reference. */
function parseBucketUrl(type: S3Type, bucket: string): URL {
  const isHost = type === "minio" || (/^[^/?]*\./.test(bucket) && !/^[^/?]*\.amazonaws\.com(?:[/?]|$)/.test(bucket));
  const text = bucket.includes("://") ? bucket : `${isHost ? "http" : "https"}://${bucket}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.hostname === "") {
    throw new UsageError(
      "DECANT_E_BUCKET",
      `Cannot understand the bucket ${redactUrl(bucket)} of storage type ${type}`,
      {
        hint: "It must be a URL with http or https, like https://bucket.s3.region.amazonaws.com or http://host:port/bucket",
      },
    );
  }
  return url;
}

function firstLabel(url: URL, bucket: string): string {
  const label = url.hostname.slice(0, url.hostname.indexOf("."));
  if (isIP(url.hostname) !== 0 || url.hostname.startsWith("[") || !url.hostname.includes(".")) {
    throw noBucket(bucket, `${url.protocol}//${url.host}/bucket`);
  }
  return label;
}

function noBucket(bucket: string, example: string): UsageError {
  return new UsageError("DECANT_E_BUCKET", `The address ${redactUrl(bucket)} names no bucket`, {
    hint: `Give it like ${example}`,
  });
}

function takeParameters(url: URL): S3Parameters {
  const text = (name: string) => url.searchParams.get(name) || undefined;
  const flag = (name: string) => ["1", "t", "true"].includes((text(name) ?? "").toLowerCase());
  return {
    insecureTls: flag("tls-insecure-skip-verify"),
    caFile: text("ca-certs"),
    certificateFile: text("ssl-cert"),
    keyFile: text("ssl-key"),
    noChecksum: flag("disable-checksum"),
  };
}
