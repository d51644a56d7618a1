import { readFileSync } from "node:fs";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import {
  ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { EngineError, errorText, fileReason, UsageError } from "../../base/errors.ts";
import { hostOf, sameBytes, tlsNameOptions, type UnaryCall, unaryCall } from "../grpc-call.ts";
import { grpcFailure } from "../grpc-failure.ts";
import type { TikvTlsFiles } from "./tikv-address.ts";

export type CallOptions = Pick<UnaryCall, "timeoutMs" | "signal" | "toTheEnd">;

/** A call that failed below the protocol: no connection, no answer in time, or a refusal of the server. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: status;
  /** The same call may succeed at another time or server. */
  readonly retryable: boolean;

  constructor(address: string, error: ServiceError, timeoutMs: number) {
    super(`${address}: ${callText(error, timeoutMs)}`, { cause: error });
    this.code = error.code;
    this.retryable = RETRYABLE.has(error.code);
  }

  /** The call is not known to this server. */
  get isUnimplemented(): boolean {
    return this.code === status.UNIMPLEMENTED;
  }

  /** No answer at all: nobody is there, or it takes too long. */
  get isSilence(): boolean {
    return this.code === status.UNAVAILABLE || this.code === status.DEADLINE_EXCEEDED;
  }

  /** An answer was larger than the server may send, or the server has too much to do. */
  get isTooLarge(): boolean {
    return this.code === status.RESOURCE_EXHAUSTED;
  }

  /** As what a command ends with. */
  asEngineError(): EngineError {
    return new EngineError("DECANT_E_TIKV_CALL", `TiKV refused a call: ${this.message}`, { cause: this });
  }
}

const RETRYABLE: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.INTERNAL,
  status.UNKNOWN,
  status.ABORTED,
  status.RESOURCE_EXHAUSTED,
]);

function callText(error: ServiceError, timeoutMs: number): string {
  if (error.code === status.DEADLINE_EXCEEDED) return `no answer within ${Math.round(timeoutMs / 100) / 10} s`;
  return grpcFailure(error, "ca");
}

const CHANNEL = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc-node.flow_control_window": 1024 * 1024,
  "grpc.enable_http_proxy": 0,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
};

/** One server. The connection is made when it is first used, and again when it was lost. */
export class GrpcConnection {
  readonly address: string;
  readonly #client: Client;

  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions = {}) {
    this.address = address;
    this.#client = new Client(`dns:${address}`, credentials, { ...CHANNEL, ...options });
  }

  /** The answer to one request. Throws `CallError`, or the reason of the signal. */
  async call(method: string, request: Buffer, options: CallOptions): Promise<Buffer> {
    try {
      return await unaryCall(this.#client, { method, request, ...options });
    } catch (error) {
      options.signal.throwIfAborted();
      throw new CallError(this.address, error as ServiceError, options.timeoutMs);
    }
  }

  stream(method: string): ClientDuplexStream<Buffer, Buffer> {
    return this.#client.makeBidiStreamRequest(method, sameBytes, sameBytes, new Metadata());
  }

  close(): void {
    this.#client.close();
  }
}

/** Makes the connection to an address, `host:port`. */
export type Connector = (address: string) => GrpcConnection;

/** Connections by address, each made when it is first asked for. */
export class GrpcConnections {
  readonly #connect: Connector;
  readonly #connections: Map<string, GrpcConnection> = new Map();

  constructor(connect: Connector) {
    this.#connect = connect;
  }

  to(address: string): GrpcConnection {
    let connection = this.#connections.get(address);
    if (connection === undefined) {
      connection = this.#connect(address);
      this.#connections.set(address, connection);
    }
    return connection;
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
  }
}

/** Throws `UsageError` for files that cannot be used. */
export function connectorFor(tls: TikvTlsFiles | undefined): Connector {
  if (tls === undefined) return (address) => new GrpcConnection(address, ChannelCredentials.createInsecure());
  const ca = readFile("ca", tls.ca);
  if (!ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw new UsageError("DECANT_E_TIKV_TLS", `There is no certificate in the file ${tls.ca} (ca)`, {
      hint: "ca names a PEM file with the authority that has signed the servers' certificates",
    });
  }
  const key = tls.key === undefined ? null : readFile("key", tls.key);
  const cert = tls.cert === undefined ? null : readFile("cert", tls.cert);
  const credentialsFor = (host: string): ChannelCredentials =>
    ChannelCredentials.createSsl(ca, key, cert, {
      checkServerIdentity: (_, certificate) => identityProblem(host, certificate, tls.commonNames),
    });
  try {
    credentialsFor("");
  } catch (cause) {
    throw new UsageError("DECANT_E_TIKV_TLS", `Cannot use the certificates of the address: ${errorText(cause)}`, {
      cause,
      hint: "ca, cert and key name PEM files; the key is that of the certificate",
    });
  }
  return (address) => {
    const host = hostOf(address);
    return new GrpcConnection(address, credentialsFor(host), tlsNameOptions(host));
  };
}

function identityProblem(host: string, certificate: PeerCertificate, names: readonly string[]): Error | undefined {
  const problem = checkServerIdentity(host, certificate);
  if (problem !== undefined || names.length === 0) return problem;
  const name = String(certificate.subject.CN);
  return names.includes(name) ? undefined : new Error(`the certificate has the name ${name}, not one of verify-cn`);
}

function readFile(parameter: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new UsageError("DECANT_E_TIKV_TLS", `Cannot read the file ${file} (${parameter}): ${fileReason(cause)}`, {
      cause,
    });
  }
}
