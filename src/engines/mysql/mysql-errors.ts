import {
  DataError,
  DecantError,
  EngineError,
  errorText,
  isAbortError,
  NotFoundError,
  UsageError,
} from "../../base/errors.ts";

interface Explanation {
  readonly errno: readonly number[];
  readonly code: string;
  readonly text: string;
  readonly hint?: string;
  readonly retryable?: true;
}

/** What the server's error numbers mean for whoever runs the command. */
const EXPLANATIONS: readonly Explanation[] = [
  {
    errno: [1044],
    code: "DECANT_E_MYSQL_PERMISSION",
    text: "the user may not use this database, or there is none of this name",
    hint: "Check the name; reading needs SELECT on the database",
  },
  {
    errno: [1045, 1698, 1524, 1251, 1820, 3118, 4151],
    code: "DECANT_E_MYSQL_AUTH",
    text: "it refused the user or the password",
    hint: "The password is taken from the address, else from META_PASSWORD or META_PASSWORD_FILE; a user who must show a certificate needs ssl-cert and ssl-key there",
  },
  {
    errno: [1142, 1143, 1227, 1370],
    code: "DECANT_E_MYSQL_PERMISSION",
    text: "the user may not do what is needed",
    hint: "Reading needs SELECT on the database; writing INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX and DROP as well",
  },
  {
    errno: [1040, 1203, 1226],
    code: "DECANT_E_MYSQL_BUSY",
    text: "it takes no more connections",
    retryable: true,
    hint: "Try again later, or raise its limit (max_connections, MAX_USER_CONNECTIONS)",
  },
  {
    errno: [1205, 1213, 1020],
    code: "DECANT_E_LOCKED",
    text: "others hold locks on the rows",
    retryable: true,
    hint: "Try again",
  },
  {
    errno: [1412],
    code: "DECANT_E_MYSQL_CHANGED",
    text: "the definition of a table was changed meanwhile",
    retryable: true,
    hint: "A client that syncs the schema does this once: try again",
  },
  {
    errno: [1290, 1792, 1836],
    code: "DECANT_E_READ_ONLY",
    text: "it takes no writes",
    hint: "It is a replica or was made read-only: give the address of its primary",
  },
  {
    errno: [1021, 1114, 1016, 1030],
    code: "DECANT_E_DISK_FULL",
    text: "a table or the disk is full, or failing",
    hint: "Make room on the server, also for its temporary files, where indexes are sorted",
  },
  {
    errno: [1153],
    code: "DECANT_E_MYSQL_PACKET",
    text: "a statement is larger than its max_allowed_packet",
    hint: "Raise max_allowed_packet to 16 MiB or more",
  },
  {
    errno: [1053, 1079, 1317, 1927, 3024, 1969, 4031],
    code: "DECANT_E_MYSQL_LOST",
    text: "it ended the statement or the connection",
    retryable: true,
  },
];

/** Codes of the library and of the system for connections that were not made. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "EACCES",
]);
const LOST: ReadonlySet<string> = new Set(["PROTOCOL_CONNECTION_LOST", "ECONNRESET", "EPIPE", "ECONNABORTED"]);

/** The server's number for an error, 0 for any other error. */
export function mysqlErrno(error: unknown): number {
  if (error instanceof DecantError) return mysqlErrno(error.cause);
  return error instanceof Error && "errno" in error && typeof error.errno === "number" && error.errno > 0
    ? error.errno
    : 0;
}

const UNKNOWN_DATABASE = 1049;
/** Of a variable that is not known, is for the whole server, may only be read, or cannot have that type or value. */
const VARIABLES: ReadonlySet<number> = new Set([1193, 1228, 1229, 1231, 1232, 1238]);
/** Out of range, wrong characters, too long, truncated, no such date or JSON. */
const UNSUPPORTED: ReadonlySet<number> = new Set([1264, 1366, 1406, 1265, 1292, 3140]);
const DUPLICATE: ReadonlySet<number> = new Set([1062, 1586]);

/** An error of the server or the library for people, with the masked address; all others pass through untouched. */
export function toMysqlError(error: unknown, url: string, action: string): unknown {
  if (error instanceof DecantError || isAbortError(error) || !(error instanceof Error)) return error;
  const errno = mysqlErrno(error);
  const message = (text: string): string => `Cannot ${action} ${url}: ${text} (${ownWords(error)})`;
  if (errno === UNKNOWN_DATABASE) {
    return new NotFoundError("DECANT_E_MYSQL_DATABASE", message("it has no database of this name"), {
      cause: error,
      hint: "Check the name, or create it with CREATE DATABASE",
    });
  }
  if (VARIABLES.has(errno)) {
    return new UsageError("DECANT_E_META_URL", message("a parameter of the address is none of its session variables"), {
      cause: error,
      hint: "What the address has behind the ? and juicefs does not know is set as a variable of the session",
    });
  }
  if (UNSUPPORTED.has(errno)) {
    return new DataError("DECANT_E_UNSUPPORTED_VALUE", message("a column cannot hold a value"), { cause: error });
  }
  if (DUPLICATE.has(errno)) {
    return new DataError("DECANT_E_DUPLICATE", message("two rows have the same key"), {
      cause: error,
      hint: "Names of extended attributes are compared in the collation of the database: without regard to case, for instance",
    });
  }
  const found = EXPLANATIONS.find((explanation) => explanation.errno.includes(errno)) ?? explainConnection(error);
  if (found === undefined) {
    return errno === 0 && !("code" in error)
      ? error
      : new EngineError("DECANT_E_MYSQL", `Cannot ${action} ${url}: ${errorText(error)}`, { cause: error });
  }
  return new EngineError(found.code, message(found.text), {
    cause: error,
    retryable: found.retryable ?? false,
    ...(found.hint === undefined ? {} : { hint: found.hint }),
  });
}

/** Errors of TLS have the reason beside a text of several lines and the place in a source file. */
function ownWords(error: Error): string {
  return "reason" in error && typeof error.reason === "string" ? error.reason : errorText(error);
}

function explainConnection(error: Error): Explanation | undefined {
  const code = "code" in error ? String(error.code) : "";
  if (UNREACHABLE.has(code)) {
    return {
      errno: [],
      code: "DECANT_E_MYSQL_CONNECT",
      text: "it cannot be reached",
      retryable: true,
      hint: "Check host, port or socket, and whether the server is running",
    };
  }
  if (LOST.has(code)) {
    return {
      errno: [],
      code: "DECANT_E_MYSQL_LOST",
      text: "the connection was lost",
      retryable: true,
      hint: "The log of the server says why it ended",
    };
  }
  if (code === "HANDSHAKE_NO_SSL_SUPPORT") {
    return {
      errno: [],
      code: "DECANT_E_MYSQL_TLS",
      text: "TLS requested but server does not support TLS",
      hint: "Take tls out of the address, or set up certificates on the server",
    };
  }
  // A server refuses the client's certificate when the connection is made already.
  if (code === "HANDSHAKE_SSL_ERROR" || code.startsWith("ERR_SSL_")) {
    return {
      errno: [],
      code: "DECANT_E_MYSQL_TLS",
      text: "TLS could not be set up",
      hint: "Name the authorities that you trust with ssl-ca or SSL_CERT_FILE; tls=skip-verify does not look at certificates. An alert is the server's answer to the certificate of ssl-cert",
    };
  }
  return undefined;
}
