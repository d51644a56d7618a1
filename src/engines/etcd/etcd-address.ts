import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

const DEFAULT_PORT = 2379;

/** Ends the prefix of a volume: no UTF-8 text has this byte, so the keys of `/a` and `/ab` never mix (docs/spec/kv.md §2). */
const PREFIX_END = 0xfd;

/** A META-URL of etcd: `etcd://[user:password@]host[:port],.../prefix[?parameters]` (docs/spec/kv.md §1). */
export interface EtcdAddress {
  /** `host:port`, in the order of the URL. */
  readonly endpoints: readonly string[];
  /** In front of every key: the path with its leading slash, and 0xFD. */
  readonly prefix: Buffer;
  readonly user: string | undefined;
  readonly password: string;
  readonly tls: EtcdTlsFiles | undefined;
  /** As messages show it. */
  readonly printable: string;
}

/** File names, in PEM form. */
export interface EtcdTlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** The name that the certificate must have; undefined: the host of the address. */
  readonly serverName: string | undefined;
  readonly verify: boolean;
}

/** Throws `UsageError` for an address that cannot be understood. */
export function parseEtcdAddress(url: string): EtcdAddress {
  // The reference takes a second scheme, which decides nothing.
  const text = url.slice(url.indexOf("://") + 3).replace(/^https?:\/\//, "");
  const match = /^([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(text)!;
  const [, authority, path, query] = match as unknown as [string, string, string, string | undefined];
  const at = authority.lastIndexOf("@");
  const account = at < 0 ? "" : authority.slice(0, at);
  const colon = account.indexOf(":");
  const user = decodeText(colon < 0 ? account : account.slice(0, colon), url);
  return {
    endpoints: authority
      .slice(at + 1)
      .split(",")
      .map((host) => endpointOf(host.trim(), url)),
    prefix: Buffer.concat([decodeBytes(path, url), Buffer.of(PREFIX_END)]),
    user: user === "" ? undefined : user,
    password: colon < 0 ? "" : decodeText(account.slice(colon + 1), url),
    tls: tlsFiles(new URLSearchParams(query ?? ""), url),
    printable: redactUrl(url),
  };
}

/** A host without a port gets the default one; the reference forgets its name then. */
function endpointOf(host: string, url: string): string {
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:@[\]\s]+)(?::(\d{1,5}))?$/.exec(host);
  const port = Number(match?.[2] ?? DEFAULT_PORT);
  if (match === null || port < 1 || port > 65535) {
    throw invalid(url, `${JSON.stringify(redactUrl(host))} is no host:port`, {
      hint: "Write etcd://user:password@host:port,host:port/prefix; / : @ in a user name or password must be percent-encoded",
    });
  }
  return `${match[1]}:${port}`;
}

function decodeText(text: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw invalid(url, "a percent escape in the user name or password is none", { cause });
  }
}

/** Escaped bytes may be any, as the prefix is bytes. */
function decodeBytes(path: string, url: string): Buffer {
  if (/%(?![0-9a-fA-F]{2})/.test(path)) {
    throw invalid(url, "% must be followed by two hex digits", { hint: "Write %25 for a % in the prefix" });
  }
  const parts = path.split(/(%[0-9a-fA-F]{2})/);
  return Buffer.concat(parts.map((part, i) => (i % 2 === 1 ? Buffer.from(part.slice(1), "hex") : Buffer.from(part))));
}

/** TLS is on when one of the first four is given; `insecure-skip-verify` alone does not switch it on, as in the reference. */
function tlsFiles(parameters: URLSearchParams, url: string): EtcdTlsFiles | undefined {
  const text = (name: string): string | undefined => parameters.get(name) || undefined;
  const [ca, cert, key, serverName] = [text("cacert"), text("cert"), text("key"), text("server-name")];
  if (ca === undefined && cert === undefined && key === undefined && serverName === undefined) return undefined;
  if ((cert === undefined) !== (key === undefined)) {
    throw invalid(url, `the parameter ${cert === undefined ? "cert" : "key"} is missing`, {
      hint: "cert and key belong together: the certificate that the client shows, and its private key",
    });
  }
  return { ca, cert, key, serverName, verify: text("insecure-skip-verify") === undefined };
}

function invalid(url: string, problem: string, options: { hint?: string; cause?: unknown }): UsageError {
  return new UsageError("DECANT_E_META_URL", `Invalid address ${redactUrl(url)}: ${problem}`, options);
}
