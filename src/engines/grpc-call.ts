import { isIP } from "node:net";
import { type Client, Metadata } from "@grpc/grpc-js";

/** What the engines have in common that speak gRPC: messages are bytes, and who asks knows their layout. */
export interface UnaryCall {
  /** `/etcdserverpb.KV/Range` */
  readonly method: string;
  readonly request: Buffer;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly metadata?: Metadata;
  /** The call is not cancelled by the signal, so that when it has ended nothing of it can be done any more. */
  readonly toTheEnd?: boolean;
}

/** The answer to one request. Rejects with the `ServiceError` of the library, or the reason of the signal. */
export async function unaryCall(client: Client, options: UnaryCall): Promise<Buffer> {
  const { method, request, timeoutMs, signal, metadata = new Metadata(), toTheEnd = false } = options;
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => call.cancel();
    const deadline = Date.now() + timeoutMs;
    const call = client.makeUnaryRequest(
      method,
      sameBytes,
      sameBytes,
      request,
      metadata,
      { deadline },
      (error, answer) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) reject(signal.reason as Error);
        else if (error !== null) reject(error);
        else resolve(answer ?? Buffer.alloc(0));
      },
    );
    if (!toTheEnd) signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** How messages are written and read that are bytes already. */
export function sameBytes(bytes: Buffer): Buffer {
  return bytes;
}

/** The host of `host:port`, an IPv6 address without its brackets. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");
}

/**
 * Options of a channel with TLS to a host that is a number: TLS knows names only, and Node.js takes no others, so that something
 * else is sent. The certificate must then be compared with the number by `checkServerIdentity`.
 */
export function tlsNameOptions(host: string): { "grpc.ssl_target_name_override"?: string } {
  return isIP(host) === 0 ? {} : { "grpc.ssl_target_name_override": "host.invalid" };
}
