import { readFile } from "node:fs/promises";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { UsageError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import type { S3Address, S3Parameters, S3Type } from "./s3-address.ts";

/** How long a server may be silent, and how often it is asked. Tests make them shorter. */
export interface S3Timing {
  /** To open a connection. */
  readonly connectTimeoutMs: number;
  /** Nothing is sent or received any more. */
  readonly idleTimeoutMs: number;
  /** Tries of one request, the first included; the client waits longer after each, 20 s at most. */
  readonly maxAttempts: number;
  /** The first pause before reading goes on where it was cut off, doubled each time. */
  readonly resumePauseMs: number;
}

export const S3_TIMING: S3Timing = {
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  maxAttempts: 5,
  resumePauseMs: 500,
};

/** Connections at a time: more are of no use for one stream. */
const MAX_SOCKETS = 8;

export interface S3Credentials {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A client for one bucket. Throws `UsageError` for half a pair of keys, `FileError` for certificates that cannot be read. */
export async function createS3Client(
  type: S3Type,
  address: S3Address,
  keys: S3Credentials,
  { env, timing }: { readonly env: Environment; readonly timing: S3Timing },
): Promise<S3Client> {
  // Proxies are taken from the environment, as the reference does. An older Node.js passes the option over.
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS, proxyEnv: env };
  return new S3Client({
    region: address.region,
    ...(address.endpoint === undefined ? { followRegionRedirects: true } : { endpoint: address.endpoint }),
    // The client itself leaves a bucket in the path whose name cannot be a part of a host's name.
    forcePathStyle: address.isPathStyle && !isVirtualHostStyle(env),
    ...access(type, keys, env),
    maxAttempts: timing.maxAttempts,
    retryMode: "standard",
    // Not all servers know the checksums that this client sends of its own accord; the signature covers what is written.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: timing.connectTimeoutMs,
      socketTimeout: timing.idleTimeoutMs,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent({ ...agent, ...(await tlsOptions(address.parameters)) }),
    },
  });
}

/** The user wants the bucket as a part of the host's name, whatever the type of the storage. */
function isVirtualHostStyle(env: Environment): boolean {
  return !["", "0", "false"].includes((env.JFS_S3_VHOST_STYLE ?? "").toLowerCase());
}

/** Variables with the keys of a type, where it has some of its own. */
const KEY_VARIABLES: Readonly<Partial<Record<S3Type, readonly [access: string, secret: string]>>> = {
  minio: ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"],
  scw: ["SCW_ACCESS_KEY", "SCW_SECRET_KEY"],
  eos: ["EOS_ACCESS_KEY", "EOS_SECRET_KEY"],
};

/** The keys of the setting, else those of the environment, else whatever the client's chain finds (files, roles of a machine). */
function access(type: S3Type, keys: S3Credentials, env: Environment): Partial<S3ClientConfig> {
  if (keys.accessKey === "anonymous") {
    return {
      credentials: { accessKeyId: "anonymous", secretAccessKey: "" },
      signer: { sign: async (request) => request },
    };
  }
  const variables = KEY_VARIABLES[type] ?? ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
  const isGiven = keys.accessKey !== "" || keys.secretKey !== "";
  const accessKeyId = isGiven ? keys.accessKey : (env[variables[0]] ?? "");
  const secretAccessKey = isGiven ? keys.secretKey : (env[variables[1]] ?? "");
  if (accessKeyId === "" && secretAccessKey === "") return {};
  if (accessKeyId === "" || secretAccessKey === "") {
    const missing = accessKeyId === "" ? "access key" : "secret key";
    throw new UsageError("DECANT_E_STORAGE_KEYS", `The ${missing} of the object storage is missing`, {
      hint: isGiven
        ? "The volume's setting has one of the two: `config --access-key ... --secret-key ...` puts both in"
        : `Set both ${variables[0]} and ${variables[1]}`,
    });
  }
  const token =
    keys.sessionToken || (isGiven || KEY_VARIABLES[type] !== undefined ? "" : (env.AWS_SESSION_TOKEN ?? ""));
  return { credentials: { accessKeyId, secretAccessKey, ...(token === "" ? {} : { sessionToken: token }) } };
}

async function tlsOptions(parameters: S3Parameters): Promise<Record<string, unknown>> {
  const read = (path: string) =>
    readFile(path).catch((error: unknown) => {
      throw fileError("read", path, error);
    });
  const { caFile, certificateFile, keyFile } = parameters;
  if ((certificateFile === undefined) !== (keyFile === undefined)) {
    throw new UsageError("DECANT_E_BUCKET", "ssl-cert and ssl-key of the bucket are only of use together");
  }
  return {
    ...(parameters.insecureTls ? { rejectUnauthorized: false } : {}),
    ...(caFile === undefined ? {} : { ca: await read(caFile) }),
    ...(certificateFile === undefined || keyFile === undefined
      ? {}
      : { cert: await read(certificateFile), key: await read(keyFile) }),
  };
}
