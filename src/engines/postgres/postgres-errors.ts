import {
  ConflictError,
  DataError,
  DecantError,
  EngineError,
  errorText,
  isAbortError,
  NotFoundError,
} from "../../base/errors.ts";

interface Meaning {
  readonly code: string;
  readonly text: string;
  readonly hint?: string;
  readonly retryable?: true;
}

/** What the server's SQLSTATE means for whoever runs the command; the first prefix that fits counts. */
const MEANINGS: readonly (readonly [sqlState: string, Meaning])[] = [
  [
    "28",
    {
      code: "DECANT_E_POSTGRES_AUTH",
      text: "refused the user, the password or the kind of connection",
      hint: "The password is taken from the address, META_PASSWORD, META_PASSWORD_FILE or PGPASSWORD, in this order; pg_hba.conf of the server says who may connect how",
    },
  ],
  [
    "42501",
    {
      code: "DECANT_E_POSTGRES_PERMISSION",
      text: "does not allow this user what is needed",
      hint: "Reading needs SELECT on the tables of the volume, writing needs CREATE on their schema",
    },
  ],
  [
    "25006",
    {
      code: "DECANT_E_POSTGRES_READ_ONLY",
      text: "takes no writes",
      hint: "It is a standby, or default_transaction_read_only is on: give the address of the primary server",
    },
  ],
  [
    "53100",
    {
      code: "DECANT_E_POSTGRES_FULL",
      text: "has no room left on its disk",
      hint: "Make room on the server, where its tables and its write-ahead log are, or load into another one",
    },
  ],
  [
    "53300",
    {
      code: "DECANT_E_POSTGRES_BUSY",
      text: "has no connection left",
      hint: "Try again, or raise max_connections of the server",
      retryable: true,
    },
  ],
  [
    "55P03",
    {
      code: "DECANT_E_LOCKED",
      text: "did not get a lock within the time set",
      hint: "Another client holds the tables; try again when it has finished",
      retryable: true,
    },
  ],
  [
    "40001",
    {
      code: "DECANT_E_POSTGRES_CONFLICT",
      text: "gave up the transaction for the sake of others",
      hint: "On a standby, raise max_standby_streaming_delay or set hot_standby_feedback; else try again",
      retryable: true,
    },
  ],
  [
    "40P01",
    {
      code: "DECANT_E_POSTGRES_CONFLICT",
      text: "gave up the transaction because it and another one waited for each other",
      hint: "Try again",
      retryable: true,
    },
  ],
  [
    "57014",
    {
      code: "DECANT_E_POSTGRES_CANCELED",
      text: "canceled a statement",
      hint: "An administrator or statement_timeout did that",
      retryable: true,
    },
  ],
  [
    "57P",
    {
      code: "DECANT_E_POSTGRES_LOST",
      text: "ended the connection",
      hint: "Try again when it is running; its log says why it closed the connection",
      retryable: true,
    },
  ],
  [
    "3F000",
    {
      code: "DECANT_E_POSTGRES_SCHEMA",
      text: "does not have the schema",
      hint: "Create it with CREATE SCHEMA, or correct search_path in the address",
    },
  ],
];

/** The SQLSTATE of an error of the server, undefined for all others. */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error && "code" in error && "severity" in error)) return undefined;
  return String(error.code);
}

/** An error of the server or the connection for people; all others pass through untouched. `url` is masked. */
export function toEngineError(error: unknown, url: string, action: string): unknown {
  if (error instanceof DecantError || isAbortError(error)) return error;
  if (!(error instanceof Error)) return error;
  const state = sqlState(error);
  if (state === undefined) return lostError(error, url);
  if (state === "3D000") return missingDatabase(error, url);
  const text = `${error.message}${detailOf(error)}`;
  // A table that somebody else is just making shows in one way or in the other.
  if (state === "42P07" || (state === "23505" && "schema" in error && error.schema === "pg_catalog")) {
    return new ConflictError("DECANT_E_TARGET_CHANGED", `${url} was filled by another program meanwhile: ${text}`, {
      cause: error,
    });
  }
  if (state === "23505") {
    return new DataError("DECANT_E_DUPLICATE", `Cannot store two rows with the same key in ${url}: ${text}`, {
      cause: error,
    });
  }
  const meaning = MEANINGS.find(([prefix]) => state.startsWith(prefix))?.[1];
  if (meaning === undefined) {
    return new EngineError("DECANT_E_POSTGRES", `Cannot ${action} ${url}: ${text} (SQLSTATE ${state})`, {
      cause: error,
    });
  }
  return new EngineError(meaning.code, `Cannot ${action} ${url}: the server ${meaning.text} (${text})`, {
    cause: error,
    retryable: meaning.retryable ?? false,
    ...(meaning.hint === undefined ? {} : { hint: meaning.hint }),
  });
}

function detailOf(error: Error): string {
  return "detail" in error && typeof error.detail === "string" ? `: ${error.detail}` : "";
}

function missingDatabase(cause: Error, url: string): NotFoundError {
  return new NotFoundError("DECANT_E_NO_DATABASE", `There is no such database: ${url} (${cause.message})`, {
    cause,
    hint: "Create it with: CREATE DATABASE name",
  });
}

/** A connection that broke in the middle of the work. */
function lostError(cause: Error, url: string): EngineError {
  return new EngineError("DECANT_E_POSTGRES_LOST", `Lost the connection to ${url}: ${describe(cause)}`, {
    cause,
    retryable: true,
    hint: "Try again when the server is running; its log says why it closed the connection",
  });
}

/** A connection that could not be made. */
export function connectError(cause: unknown, url: string): unknown {
  const state = sqlState(cause);
  if (state === "3D000" || state?.startsWith("28") || state?.startsWith("53")) {
    return toEngineError(cause, url, "connect to");
  }
  if (cause instanceof DecantError || isAbortError(cause)) return cause;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const isTls = /SSL|TLS|CERT|ALTNAME|SELF_SIGNED|UNABLE_TO/i.test(`${code} ${errorText(cause)}`);
  return new EngineError("DECANT_E_POSTGRES_CONNECT", `Meta ${url} is not available: ${describe(cause)}`, {
    cause,
    retryable: !isTls,
    hint: isTls
      ? "Check sslmode, sslrootcert and the name of the host, and whether the server speaks TLS at all"
      : "Check the address, and that the server is running",
  });
}

/** `AggregateError` of a host with several addresses has no text of its own. */
function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map(errorText))].join("; ");
  }
  return errorText(error) || (error instanceof Error && "code" in error ? String(error.code) : "unknown error");
}
