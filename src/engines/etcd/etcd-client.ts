import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { checkServerIdentity } from "node:tls";
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  connectivityState,
  credentials,
  Metadata,
  type VerifyOptions,
} from "@grpc/grpc-js";
import { raceAbort } from "../../base/abortable.ts";
import { errorText, fileReason, UsageError } from "../../base/errors.ts";
import { ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import { hostOf, tlsNameOptions, unaryCall } from "../grpc-call.ts";
import { trustedAuthorities } from "../trusted-authorities.ts";
import type { EtcdAddress, EtcdTlsFiles } from "./etcd-address.ts";
import {
  callError,
  isNotSent,
  isServiceError,
  isTokenRefused,
  isUnavailable,
  isWithoutLeader,
  noConnection,
} from "./etcd-errors.ts";

/** A server that takes requests and does not answer is given up after this time. */
const CALL_TIMEOUT_MS = 30_000;

/** One that does not even answer pings is cut off, or stands still: it is given up sooner. Servers take a ping every 5 seconds. */
const PING_INTERVAL_MS = 10_000;
const PING_TIMEOUT_MS = 6_000;

/** The same while a connection is begun. */
const CONNECT_TIMEOUT_MS = 5_000;

/** Rounds through all servers before a call that may be repeated fails; an election takes a second or two, or longer between sites. */
const ROUNDS = 6;
const ROUNDS_WITHOUT_LEADER = 8;
const ROUND_PAUSE_MS = 300;

/** What may be on its way before it is taken: with windows of 64 KiB, as HTTP/2 begins, a far server would wait most of the time. */
const RECEIVE_WINDOW_BYTES = 4 * 1024 * 1024;

/** Responses are asked for in pages that stay far below this; a larger one comes from huge values, and is asked for in parts. */
const MAX_RECEIVE_BYTES = 16 * 1024 * 1024;
const MAX_SEND_BYTES = 4 * 1024 * 1024;

const AUTHENTICATE = "/etcdserverpb.Auth/Authenticate";

export interface EtcdCall {
  /** `/etcdserverpb.KV/Range` */
  readonly method: string;
  readonly request: Buffer;
  readonly signal: AbortSignal;
  /** Whether doing it twice is as good as once. Others fail when it cannot be known whether they were done. */
  readonly repeatable: boolean;
  /** Called before it is done again although it may have been done, or may be done later still. */
  readonly onRepeat?: () => void;
  readonly timeoutMs?: number;
}

/**
 * Speaks gRPC with the servers of one cluster: one at a time, the next one when it does not answer. Messages are bytes; who asks
 * knows their layout (docs/spec/kv-stores.md §1).
 */
export class EtcdClient {
  readonly address: EtcdAddress;
  readonly #clients: Client[];
  #current = 0;
  #token: Promise<string | undefined> | undefined;

  constructor(address: EtcdAddress) {
    this.address = address;
    this.#clients = address.endpoints.map((endpoint) => {
      const { channel, options } = channelOf(endpoint, address.tls);
      return new Client(endpoint, channel, {
        "grpc.max_receive_message_length": MAX_RECEIVE_BYTES,
        "grpc.max_send_message_length": MAX_SEND_BYTES,
        "grpc-node.flow_control_window": RECEIVE_WINDOW_BYTES,
        "grpc.keepalive_time_ms": PING_INTERVAL_MS,
        "grpc.keepalive_timeout_ms": PING_TIMEOUT_MS,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        ...options,
      });
    });
  }

  /** Throws `EngineError`; a failure of gRPC is its cause. */
  async call(call: EtcdCall): Promise<Buffer> {
    let failure: unknown;
    let rounds = ROUNDS;
    for (let round = 0; round < rounds; round++) {
      if (round > 0) await sleep(ROUND_PAUSE_MS * round, undefined, { signal: call.signal });
      for (let i = 0; i < this.#clients.length; i++) {
        call.signal.throwIfAborted();
        const used = this.#current;
        try {
          return await this.#authenticated(call);
        } catch (error) {
          call.signal.throwIfAborted();
          if (!isUnavailable(error) || !(call.repeatable || isNotSent(error))) throw this.#error(error);
          if (!isNotSent(error)) call.onRepeat?.();
          // what a server says tells more than that another one cannot be reached
          if (failure === undefined || !isWithoutLeader(failure) || isWithoutLeader(error)) failure = error;
          // of several calls that fail at one time, only the first one changes the server
          if (this.#current === used) this.#current = (used + 1) % this.#clients.length;
        }
      }
      if (isWithoutLeader(failure)) rounds = ROUNDS_WITHOUT_LEADER;
      // A name that does not exist, or a certificate that is refused, stays so.
      if (isNotSent(failure) && /ENOTFOUND|certificate|SSL|TLS/i.test(String(failure))) break;
    }
    throw this.#error(failure);
  }

  #error(error: unknown): Error {
    return callError(error, this.address.printable);
  }

  async #authenticated(call: EtcdCall): Promise<Buffer> {
    if (this.address.user === undefined) return this.#unary(call, undefined);
    try {
      return await this.#unary(call, await this.#tokenFor(call.signal));
    } catch (error) {
      if (!isTokenRefused(error)) throw error;
      this.#token = undefined; // refused before anything was done
      return this.#unary(call, await this.#tokenFor(call.signal));
    }
  }

  #tokenFor(signal: AbortSignal): Promise<string | undefined> {
    if (this.#token === undefined) {
      const token = this.#authenticate(signal);
      this.#token = token;
      token.catch(() => {
        if (this.#token === token) this.#token = undefined;
      });
    }
    return this.#token;
  }

  async #authenticate(signal: AbortSignal): Promise<string | undefined> {
    const { user, password } = this.address;
    const request = Buffer.from(new ProtobufWriter().text(1, user!).text(2, password).written());
    try {
      const call = { method: AUTHENTICATE, request, signal, repeatable: true };
      const reader = new ProtobufReader(await this.#unary(call, undefined));
      while (reader.next()) if (reader.field === 2) return reader.text();
      return undefined;
    } catch (error) {
      // As etcd's own client: an account is no harm where there are none.
      if (isServiceError(error) && /authentication is not enabled/.test(error.details)) return undefined;
      throw error;
    }
  }

  async #unary(
    { method, request, signal, timeoutMs = CALL_TIMEOUT_MS }: EtcdCall,
    token: string | undefined,
  ): Promise<Buffer> {
    const client = this.#clients[this.#current]!;
    await connected(client, signal);
    const metadata = new Metadata();
    // else a server without a leader lets requests wait for one until they time out
    metadata.set("hasleader", "true");
    if (token !== undefined) metadata.set("token", token);
    return unaryCall(client, { method, request, signal, timeoutMs, metadata });
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}

/** Waits while a connection is begun. One that fails fails the call, which says why. */
async function connected(client: Client, signal: AbortSignal): Promise<void> {
  const channel = client.getChannel();
  const deadline = Date.now() + CONNECT_TIMEOUT_MS;
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
    const changed = new Promise<Error | undefined>((resolve) =>
      channel.watchConnectivityState(state, deadline, resolve),
    );
    if ((await raceAbort(changed, signal)) !== undefined) throw noConnection();
  }
}

function channelOf(
  endpoint: string,
  tls: EtcdTlsFiles | undefined,
): { channel: ChannelCredentials; options: ChannelOptions } {
  if (tls === undefined) return { channel: credentials.createInsecure(), options: {} };
  const host = hostOf(endpoint);
  const isNumber = tls.serverName === undefined && isIP(host) !== 0;
  const channel = secureChannel(tls, verifyOptions(tls.verify, isNumber ? host : undefined));
  if (tls.serverName === undefined) return { channel, options: tlsNameOptions(host) };
  const name = tls.serverName;
  return { channel, options: { "grpc.ssl_target_name_override": name, "grpc.default_authority": name } };
}

function secureChannel(tls: EtcdTlsFiles, options: VerifyOptions): ChannelCredentials {
  const ca = tls.ca === undefined ? Buffer.from(trustedAuthorities().join("\n")) : readPem("cacert", tls.ca);
  if (tls.ca !== undefined && !ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw new UsageError("DECANT_E_META_URL", `There is no certificate in the file ${tls.ca} (cacert)`, {
      hint: "cacert names a PEM file with the authority that has signed the servers' certificates",
    });
  }
  const key = tls.key === undefined ? null : readPem("key", tls.key);
  const cert = tls.cert === undefined ? null : readPem("cert", tls.cert);
  try {
    return credentials.createSsl(ca, key, cert, options);
  } catch (cause) {
    throw new UsageError("DECANT_E_META_URL", `Cannot use the certificates of the address: ${errorText(cause)}`, {
      cause,
      hint: "cacert, cert and key name PEM files; the key is that of the certificate",
    });
  }
}

function verifyOptions(verify: boolean, address: string | undefined): VerifyOptions {
  if (!verify) return { rejectUnauthorized: false, checkServerIdentity: () => undefined };
  if (address === undefined) return {};
  return { checkServerIdentity: (_, certificate) => checkServerIdentity(address, certificate) };
}

export function readPem(parameter: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new UsageError("DECANT_E_META_URL", `Cannot read the file ${file} (${parameter}): ${fileReason(cause)}`, {
      cause,
      hint: "cacert, cert and key name PEM files",
    });
  }
}
