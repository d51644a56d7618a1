import { UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";

/** Ends the prefix of a volume, as in the other stores that several volumes share (docs/spec/kv.md §2). */
const PREFIX_END = 0xfd;

/** Keys have at most 10,000 bytes, and the longest one of a volume (an entry or attribute with a name of 255) 265 behind its prefix. */
const MAX_PREFIX_BYTES = 9000;

/** The package copies the name into 1024 bytes and cuts off what is left. */
const MAX_FILE_BYTES = 1023;

/** A META-URL of FoundationDB: `fdb:///path/to/fdb.cluster[?prefix=text]` (docs/spec/kv.md §1). */
export interface FoundationdbAddress {
  /** Undefined: the file that FoundationDB's own tools take, `FDB_CLUSTER_FILE` or `/etc/foundationdb/fdb.cluster`. */
  readonly clusterFile: string | undefined;
  /** In front of every key: the parameter `prefix`, and 0xFD. */
  readonly prefix: Buffer;
  /** As messages show it. */
  readonly printable: string;
}

/** Throws `UsageError` for an address that cannot be understood. */
export function parseFoundationdbAddress(url: string): FoundationdbAddress {
  const match = /^([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(url.slice(url.indexOf("://") + 3))!;
  const [, host, path, query = ""] = match as unknown as [string, string, string, string | undefined];
  if (host !== "") {
    // The reference passes over it, and with it over the first folder of a path that lacks a slash.
    throw invalid(url, `${JSON.stringify(redactUrl(host))} stands where no host can be`, {
      hint: "The servers are named in the cluster file: write fdb:///etc/foundationdb/fdb.cluster?prefix=NAME, with three slashes",
    });
  }
  const clusterFile = decodeText(path, url);
  if (Buffer.byteLength(clusterFile) > MAX_FILE_BYTES || clusterFile.includes("\0")) {
    throw invalid(url, `the name of the cluster file must have at most ${MAX_FILE_BYTES} bytes, and none of them 0`);
  }
  const prefix = Buffer.concat([prefixOf(query, url), Buffer.of(PREFIX_END)]);
  if (prefix.length > MAX_PREFIX_BYTES) {
    throw invalid(url, `the prefix must have at most ${MAX_PREFIX_BYTES - 1} bytes, and has ${prefix.length - 1}`);
  }
  return { clusterFile: clusterFile === "" ? undefined : clusterFile, prefix, printable: redactUrl(url) };
}

/** The first parameter of that name. Escaped bytes may be any, as the prefix is bytes; `+` is a blank, as in every query. */
function prefixOf(query: string, url: string): Buffer {
  for (const parameter of query.split("&")) {
    const mark = parameter.indexOf("=");
    if (mark >= 0 && decodeBytes(parameter.slice(0, mark), url).equals(PREFIX_NAME)) {
      return decodeBytes(parameter.slice(mark + 1), url);
    }
  }
  return Buffer.alloc(0);
}

const PREFIX_NAME: Buffer = Buffer.from("prefix");

function decodeBytes(text: string, url: string): Buffer {
  assertEscapes(text, url);
  const parts = text.replaceAll("+", " ").split(/(%[0-9a-fA-F]{2})/);
  return Buffer.concat(parts.map((part, i) => (i % 2 === 1 ? Buffer.from(part.slice(1), "hex") : Buffer.from(part))));
}

function decodeText(text: string, url: string): string {
  assertEscapes(text, url);
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw invalid(url, "the name of the cluster file is no UTF-8", { cause });
  }
}

function assertEscapes(text: string, url: string): void {
  if (!/%(?![0-9a-fA-F]{2})/.test(text)) return;
  throw invalid(url, "% must be followed by two hex digits", { hint: "Write %25 for a %" });
}

function invalid(url: string, problem: string, options: { hint?: string; cause?: unknown } = {}): UsageError {
  return new UsageError("DECANT_E_META_URL", `Invalid address ${redactUrl(url)}: ${problem}`, options);
}
