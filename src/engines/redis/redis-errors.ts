import { DecantError, EngineError, errorText, isAbortError } from "../../base/errors.ts";

/** What a server's error reply means to the user, by how it begins. The first that fits wins. */
const REPLY_MEANINGS: readonly { begins: RegExp; code: string; text: string; hint?: string; retryable?: boolean }[] = [
  {
    begins: /^(WRONGPASS|ERR invalid password|ERR AUTH|ERR Client sent AUTH)/i,
    code: "DECANT_E_REDIS_AUTH",
    text: "refused the user name or password",
    hint: "The password is taken from the address, REDIS_PASSWORD, META_PASSWORD or META_PASSWORD_FILE, in this order",
  },
  {
    begins: /^(NOAUTH|DENIED)/,
    code: "DECANT_E_REDIS_AUTH",
    text: "wants a password",
    hint: "Give it in the address or in REDIS_PASSWORD, META_PASSWORD or META_PASSWORD_FILE",
  },
  {
    begins: /^WRONGTYPE/,
    code: "DECANT_E_REDIS_TYPE",
    text: "holds a value of the wrong type",
    hint: "The key belongs to another application, or the volume is damaged: look at it with TYPE",
  },
  {
    begins: /^NOPERM/,
    code: "DECANT_E_REDIS_PERMISSION",
    text: "does not allow this user what is needed",
    hint: "Give the user the command and the keys that are named, or take another user",
  },
  {
    begins: /^ERR (DB index is out of range|invalid DB index|SELECT is not allowed)/i,
    code: "DECANT_E_REDIS_DATABASE",
    text: "has no database of this number",
    hint: "Take a smaller number; how many there are is the setting databases of the server",
  },
  {
    begins: /^LOADING/,
    code: "DECANT_E_REDIS_LOADING",
    text: "is still loading its data",
    hint: "Try again when it has finished",
    retryable: true,
  },
  {
    begins: /^OOM/,
    code: "DECANT_E_REDIS_FULL",
    text: "has no memory left for more data (maxmemory)",
    hint: "Raise maxmemory or load into a larger server",
  },
  {
    begins: /^READONLY/,
    code: "DECANT_E_REDIS_READONLY",
    text: "is a replica and takes no writes",
    hint: "Give the address of its master, or that of the Sentinels",
    retryable: true,
  },
  {
    begins: /^MISCONF/,
    code: "DECANT_E_REDIS_MISCONF",
    text: "takes no writes because it cannot save to its disk",
    hint: "Make room on the disk of the server; its log says what failed",
  },
  {
    begins: /^(MOVED|ASK|CLUSTERDOWN|TRYAGAIN|MASTERDOWN)/,
    code: "DECANT_E_REDIS_CLUSTER",
    text: "is not responsible for the volume at the moment",
    hint: "The cluster is being reorganised: try again when it is stable",
    retryable: true,
  },
];

/** An error reply as an `EngineError`. `where` is the masked address; `command` names the command and key, if any. */
export function replyError(reply: string, where: string, command?: string): EngineError {
  const meaning = REPLY_MEANINGS.find((candidate) => candidate.begins.test(reply));
  const at = command === undefined ? "" : ` (${command})`;
  if (meaning === undefined) {
    return new EngineError("DECANT_E_REDIS", `The Redis server at ${where} refused a command${at}: ${reply}`);
  }
  return new EngineError(meaning.code, `The Redis server at ${where} ${meaning.text}${at}: ${reply}`, {
    ...(meaning.hint === undefined ? {} : { hint: meaning.hint }),
    retryable: meaning.retryable ?? false,
  });
}

/** Codes after which another attempt within a moment may succeed. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "EAGAIN", "EAI_AGAIN"]);

/** A failed connection attempt as an `EngineError`. */
export function connectError(cause: unknown, where: string): EngineError {
  if (cause instanceof EngineError) return cause;
  const code = errorCode(cause);
  const tls = /SSL|TLS|CERT|ALTNAME|SELF_SIGNED|UNABLE_TO/i.test(`${code} ${errorText(cause)}`);
  return new EngineError("DECANT_E_REDIS_CONNECT", `Meta ${where} is not available: ${describe(cause)}`, {
    cause,
    retryable: TRANSIENT_CODES.has(code),
    hint: tls
      ? "Check tls-ca-cert-file, tls-server-name and whether this port speaks TLS at all"
      : "Check the address, and that the server is running",
  });
}

/** A connection that broke before anything was done with it. */
export function unavailableError(broken: EngineError, where: string): EngineError {
  return new EngineError("DECANT_E_REDIS_CONNECT", `Meta ${where} is not available: ${describe(broken.cause)}`, {
    cause: broken.cause,
    retryable: true,
    hint: "Is this the port of a Redis server, and does it want TLS (rediss://)?",
  });
}

/** A connection that broke in the middle of the work. */
export function brokenError(cause: unknown, where: string): DecantError {
  if (cause instanceof DecantError) return cause;
  if (isAbortError(cause)) return cause as DecantError;
  return new EngineError("DECANT_E_REDIS_LOST", `Lost the connection to ${where}: ${describe(cause)}`, {
    cause,
    retryable: true,
    hint: "Try again when the server is running; its log says why it closed the connection",
  });
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** `AggregateError` of a host with several addresses has no text of its own. */
function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map(errorText))].join("; ");
  }
  return errorText(error) || errorCode(error) || "unknown error";
}
