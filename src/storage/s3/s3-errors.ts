import { DecantError, errorText, isAbortError, NotFoundError, StorageError } from "../../base/errors.ts";

/** What the errors of the client have in common, as far as it is of use. */
interface ClientError {
  readonly name?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

interface Kind {
  readonly matches: (name: string, status: number) => boolean;
  readonly make: (message: string, cause: unknown) => DecantError;
}

const DENIED = new Set(
  "AccessDenied Forbidden InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired AuthFailure".split(
    " ",
  ),
);
const UNREACHABLE = new Set(
  "ECONNREFUSED ECONNRESET ENOTFOUND EAI_AGAIN EHOSTUNREACH ENETUNREACH EPIPE ETIMEDOUT TimeoutError".split(" "),
);

/** First match decides. */
const KINDS: readonly Kind[] = [
  {
    matches: (name) => name === "NoSuchBucket",
    make: (message, cause) =>
      new StorageError("DECANT_E_NO_BUCKET", message, { cause, hint: "Check the name of the bucket and its region" }),
  },
  {
    matches: (name, status) => name === "NoSuchKey" || (name === "NotFound" && status === 404),
    make: (message, cause) => new NotFoundError("DECANT_E_OBJECT_NOT_FOUND", message, { cause }),
  },
  {
    matches: (name) => name === "CredentialsProviderError",
    make: (message, cause) =>
      new StorageError("DECANT_E_STORAGE_ACCESS", message, {
        cause,
        hint: "The volume's setting has no keys, and neither has the environment: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
      }),
  },
  {
    matches: (name, status) => DENIED.has(name) || status === 401 || status === 403,
    make: (message, cause) =>
      new StorageError("DECANT_E_STORAGE_ACCESS", message, {
        cause,
        hint: "Check access key, secret key and session token, what they are allowed to do, and the clock of this machine",
      }),
  },
  {
    matches: (name) => UNREACHABLE.has(name),
    make: (message, cause) =>
      new StorageError("DECANT_E_STORAGE_UNREACHABLE", message, {
        cause,
        retryable: true,
        hint: "Check the address of the bucket, the network and the server",
      }),
  },
  {
    matches: (name) => /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|EPROTO)/.test(name),
    make: (message, cause) =>
      new StorageError("DECANT_E_STORAGE_TLS", message, {
        cause,
        hint: "Name the file of the authority with ?ca-certs= in the bucket's URL; for a server that speaks no TLS write http://",
      }),
  },
  {
    matches: (name, status) => isPassing(name, status),
    make: (message, cause) =>
      new StorageError("DECANT_E_STORAGE_BUSY", message, {
        cause,
        retryable: true,
        hint: "The server is overloaded or has failed for a moment, or the network has; repeat later",
      }),
  },
];

/** What arrived otherwise than it was sent may arrive well the next time. */
const PASSING = new Set("SlowDown RequestTimeout InternalError XAmzContentSHA256Mismatch BadDigest".split(" "));

function isPassing(name: string, status: number): boolean {
  return status === 429 || status >= 500 || PASSING.has(name);
}

/** An error of the client in words. `doing` is what failed: `read s3://bk/vol/meta/x`; `secrets` never appear in the text. */
export function s3Error(doing: string, error: unknown, secrets: readonly string[]): unknown {
  if (error instanceof DecantError || isAbortError(error)) return error;
  const cause = firstCause(error);
  const { name = "Error", code, $metadata } = cause as ClientError;
  const status = $metadata?.httpStatusCode ?? 0;
  const key = code !== undefined && status === 0 ? code : name;
  const message = `Cannot ${doing}: ${masked(describe(cause, key, status), secrets)}`;
  const kind = KINDS.find(({ matches }) => matches(key, status));
  return kind?.make(message, error) ?? new StorageError("DECANT_E_OBJECT_STORAGE", message, { cause: error });
}

/** Whether reading may go on after this. */
export function isWorthRepeating(error: unknown): boolean {
  return error instanceof StorageError && error.retryable;
}

/** Several addresses that were all tried in vain have one error each, under one that says nothing. */
function firstCause(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors[0];
  return error;
}

function describe(cause: unknown, key: string, status: number): string {
  const text = errorText(cause)
    .replace(/^@smithy\/node-http-handler - /, "")
    .replace(/\.$/, "");
  if (status === 0) return text;
  const isNamed = !["", "Error", "UnknownError", "Unknown"].includes(key);
  const said = ["", "UnknownError", key].includes(text) ? "" : `: ${text}`;
  return `the server answered ${isNamed ? `${key} (HTTP ${status})` : `HTTP ${status}`}${said}`;
}

/** Shorter ones are words of other texts. */
const MIN_SECRET_CHARACTERS = 4;

function masked(text: string, secrets: readonly string[]): string {
  return secrets.reduce((done, secret) => {
    return secret.length < MIN_SECRET_CHARACTERS ? done : done.replaceAll(secret, "****");
  }, text);
}
