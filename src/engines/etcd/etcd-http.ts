import { type ClientRequest, get as getPlain, type IncomingMessage } from "node:http";
import { get as getSecure } from "node:https";
import { trustedAuthorities } from "../trusted-authorities.ts";
import type { EtcdAddress } from "./etcd-address.ts";
import { readPem } from "./etcd-client.ts";

const TIMEOUT_MS = 3000;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * What etcd tells only over HTTP, which the port of its clients speaks too, unless it is set up otherwise: its clock, and the
 * quota of its database. Undefined where it does not tell.
 */
export async function readServerTime(address: EtcdAddress, signal: AbortSignal): Promise<Date | undefined> {
  const response = await fetchPath(address, "/version", signal);
  const time = Date.parse(response?.date ?? "");
  // The header has whole seconds, cut off.
  return Number.isNaN(time) ? undefined : new Date(time + 500);
}

/** Bytes; the flag `quota-backend-bytes`, or what is taken without it. */
export async function readQuota(address: EtcdAddress, signal: AbortSignal): Promise<number | undefined> {
  const text = (await fetchPath(address, "/metrics", signal))?.text ?? "";
  const value = Number(/^etcd_server_quota_backend_bytes ([0-9.e+]+)$/m.exec(text)?.[1]);
  return value > 0 ? value : undefined;
}

async function fetchPath(
  address: EtcdAddress,
  path: string,
  signal: AbortSignal,
): Promise<{ date: string | undefined; text: string } | undefined> {
  for (const endpoint of address.endpoints) {
    try {
      return await fetchOne(address, `${endpoint}${path}`, signal);
    } catch {
      signal.throwIfAborted(); // else the next one may tell
    }
  }
  return undefined;
}

function fetchOne(
  { tls }: EtcdAddress,
  rest: string,
  signal: AbortSignal,
): Promise<{ date: string | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const onResponse = (response: IncomingMessage): void => {
      let text = "";
      response.setEncoding("latin1");
      response.on("data", (piece: string) => {
        text += piece;
        if (text.length > MAX_BYTES) response.destroy(new Error("The answer is too long"));
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve({ date: response.headers.date, text });
        else reject(new Error(`Status ${response.statusCode}`));
      });
    };
    const options = { signal, timeout: TIMEOUT_MS, agent: false } as const;
    let request: ClientRequest;
    if (tls === undefined) request = getPlain(`http://${rest}`, options, onResponse);
    else {
      const file = (parameter: string, name: string | undefined) =>
        name === undefined ? undefined : readPem(parameter, name);
      const [ca, cert, key] = [file("cacert", tls.ca), file("cert", tls.cert), file("key", tls.key)];
      request = getSecure(
        `https://${rest}`,
        {
          ...options,
          rejectUnauthorized: tls.verify,
          ca: ca ?? trustedAuthorities(),
          ...(cert === undefined ? {} : { cert, key }),
          ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
        },
        onResponse,
      );
    }
    request.on("timeout", () => request.destroy(new Error("No answer")));
    request.on("error", reject);
  });
}
