import { EngineError, errorText } from "../../base/errors.ts";

/** Error numbers of FoundationDB that decide what is done next (its page "Error Codes"). */
export const TOO_OLD = 1007;
const NOT_COMMITTED = 1020;
export const COMMIT_UNKNOWN = 1021;
export const TIMED_OUT = 1031;
const LOCKED = 1038;
const CLUSTER_CHANGED = 1039;
const API_NOT_SUPPORTED = 2203;

/** What numbers mean for whoever runs the cluster. */
interface Meaning {
  readonly numbers: readonly number[];
  readonly code: string;
  /** Follows "FoundationDB at <address>". */
  readonly says: string;
  readonly hint: string;
  readonly retryable?: boolean;
}

const MEANINGS: readonly Meaning[] = [
  {
    numbers: [1004, TIMED_OUT, 1009, 1037, 1042, 1051, 1078, 1213, 1223],
    code: "DECANT_E_FOUNDATIONDB_UNAVAILABLE",
    says: "is not available",
    hint: "See fdbcli (status): whether the coordinators of the cluster file can be reached, the cluster is healthy, and the client library has its version",
    retryable: true,
  },
  {
    numbers: [TOO_OLD],
    code: "DECANT_E_FOUNDATIONDB_TOO_OLD",
    says: "does not answer within the five seconds that a transaction may last",
    hint: "Try again when the cluster has less to do",
    retryable: true,
  },
  {
    numbers: [NOT_COMMITTED],
    code: "DECANT_E_FOUNDATIONDB_CONFLICT",
    says: "did not take a transaction, as others keep changing the same keys",
    hint: "Try again when other clients have less to do",
    retryable: true,
  },
  {
    numbers: [LOCKED],
    code: "DECANT_E_FOUNDATIONDB_LOCKED",
    says: "is locked",
    hint: "An operator has locked the database (a restore, or replication to another cluster): see fdbcli (status), and unlock it there",
  },
  {
    numbers: [2101],
    code: "DECANT_E_FOUNDATIONDB_TOO_LARGE",
    says: "takes no transaction of more than 10 MB",
    hint: "This should not happen: report what was done",
  },
  {
    numbers: [2102, 2103],
    code: "DECANT_E_FOUNDATIONDB_TOO_LARGE",
    says: "takes keys of up to 10,000 bytes and values of up to 100,000",
    hint: "Loads name such values before anything is written; see --on-unsupported",
  },
  {
    numbers: [1511, 1513, 1515, 1516, 2104],
    code: "DECANT_E_FOUNDATIONDB_CLUSTER_FILE",
    says: "has no cluster file that can be used",
    hint: "Check the path in the address, and that the file is a copy of the servers' /etc/foundationdb/fdb.cluster that can be read and written",
  },
  {
    numbers: [2107],
    code: "DECANT_E_FOUNDATIONDB_TLS",
    says: "cannot be reached by TLS",
    hint: "Set FDB_TLS_CERTIFICATE_FILE, FDB_TLS_KEY_FILE and FDB_TLS_CA_FILE for the client library",
  },
  {
    numbers: [API_NOT_SUPPORTED, 2100],
    code: "DECANT_E_FOUNDATIONDB_VERSION",
    says: "speaks another version than its client library",
    hint: "Install the client library in the version of the cluster (package foundationdb-clients)",
  },
];

/** An error of the client library, with its number. */
export interface FdbError extends Error {
  readonly code: number;
}

export function isFdbError(error: unknown): error is FdbError {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "number";
}

/** Tried again for long by the client library itself, and of no use before somebody does something. */
export function isHopeless(error: FdbError): boolean {
  return error.code === LOCKED;
}

/**
 * A commit that failed in this way may be done, or may be done yet. After `COMMIT_UNKNOWN` alone it is certain that it will not be done
 * later: the client library has made sure of that before it says so.
 */
export function mayBeCommitted({ code }: FdbError): boolean {
  return code === COMMIT_UNKNOWN || code === TIMED_OUT || code === CLUSTER_CHANGED;
}

/** What was thrown as an `EngineError`. `where` is the masked address, `before` what made it try again until it gave up. */
export function fdbError(error: unknown, where: string, before?: FdbError): EngineError {
  if (error instanceof EngineError) return error;
  if (!isFdbError(error)) {
    return new EngineError("DECANT_E_FOUNDATIONDB", `FoundationDB at ${where} cannot be used: ${errorText(error)}`, {
      cause: error,
    });
  }
  const first = error.code === TIMED_OUT && before !== undefined ? before : error;
  const reason = `${first.message} (${first.code})`;
  const meaning = MEANINGS.find(({ numbers }) => numbers.includes(first.code));
  if (meaning === undefined) {
    return new EngineError("DECANT_E_FOUNDATIONDB", `FoundationDB at ${where} refused a request: ${reason}`, {
      cause: first,
      hint: "The number is explained on FoundationDB's page of error codes",
    });
  }
  const { code, says, hint, retryable = false } = meaning;
  return new EngineError(code, `FoundationDB at ${where} ${says}: ${reason}`, { cause: first, hint, retryable });
}

export function outcomeUnknown(cause: unknown, where: string): EngineError {
  return new EngineError(
    "DECANT_E_OUTCOME_UNKNOWN",
    `Cannot tell whether a change of ${where} is stored: ${errorText(cause)}`,
    { cause, retryable: true, hint: "What is stored now can be read when the cluster answers again" },
  );
}
