import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

const DEFAULT_PORT = 2379;

/** A META-URL of TiKV: `tikv://pd1[:port],pd2.../prefix[?parameters]` (docs/spec/kv.md §1). */
export interface TikvAddress {
  /** Placement drivers, as `host:port`. */
  readonly endpoints: readonly string[];
  /** In front of every key: the path without its leading slashes, and 0xFD. */
  readonly prefix: Buffer;
  readonly tls: TikvTlsFiles | undefined;
  /** As messages show it. */
  readonly printable: string;
}

/** File names. */
export interface TikvTlsFiles {
  readonly ca: string;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Common names of which the certificate of a server must have one; empty: any will do. */
  readonly commonNames: readonly string[];
}

/** Throws `UsageError` for an address that cannot be understood. */
export function parseTikvAddress(url: string): TikvAddress {
  const text = url.slice(url.indexOf("://") + 3).replace(/#.*$/s, "");
  const mark = text.indexOf("?");
  const base = mark < 0 ? text : text.slice(0, mark);
  const slash = base.indexOf("/");
  const hosts = slash < 0 ? base : base.slice(0, slash);
  const path = slash < 0 ? "" : base.slice(slash).replace(/^\/+/, "");
  return {
    endpoints: hosts.split(",").map((host) => endpointOf(host.trim(), url)),
    prefix: Buffer.concat([decodePath(path, url), Buffer.of(0xfd)]),
    tls: tlsFiles(new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1)), url),
    printable: redactUrl(url),
  };
}

function endpointOf(host: string, url: string): string {
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:@[\]\s]+)(?::(\d{1,5}))?$/.exec(host);
  const port = Number(match?.[2] ?? DEFAULT_PORT);
  if (match === null || port < 1 || port > 65535) {
    throw new UsageError(
      "DECANT_E_META_URL",
      `Invalid address ${redactUrl(url)}: ${JSON.stringify(redactUrl(host))} is no host:port`,
      { hint: "Write tikv://host:port,host:port/prefix with the addresses of the placement drivers; there is no user" },
    );
  }
  return `${match[1]}:${port}`;
}

/** Escaped bytes may be any, as the prefix is bytes. */
function decodePath(path: string, url: string): Buffer {
  if (/%(?![0-9a-fA-F]{2})/.test(path)) {
    throw new UsageError(
      "DECANT_E_META_URL",
      `Invalid address ${redactUrl(url)}: % must be followed by two hex digits`,
      {
        hint: "Write %25 for a % in the prefix",
      },
    );
  }
  const parts = path.split(/(%[0-9a-fA-F]{2})/).map((part, i) => {
    return i % 2 === 1 ? Buffer.from(part.slice(1), "hex") : Buffer.from(part);
  });
  return Buffer.concat(parts);
}

/** In the reference the certificate authority switches TLS on for stores, and the certificate for placement drivers. */
function tlsFiles(parameters: URLSearchParams, url: string): TikvTlsFiles | undefined {
  const file = (name: string): string | undefined => parameters.get(name) || undefined;
  const [ca, cert, key] = [file("ca"), file("cert"), file("key")];
  const missing = (name: string, hint: string): UsageError =>
    new UsageError("DECANT_E_META_URL", `Invalid address ${redactUrl(url)}: the parameter ${name} is missing`, {
      hint,
    });
  if ((cert === undefined) !== (key === undefined)) {
    const hint = "cert and key belong together: the certificate that the client shows, and its private key";
    throw missing(cert === undefined ? "cert" : "key", hint);
  }
  if (ca === undefined) {
    if (cert === undefined) return undefined;
    throw missing(
      "ca",
      "It names the file with the authority that has signed the servers' certificates: nothing is encrypted without it",
    );
  }
  const commonNames = (parameters.get("verify-cn") ?? "").split(",").map((name) => name.trim());
  return { ca, cert, key, commonNames: commonNames.filter((name) => name !== "") };
}
