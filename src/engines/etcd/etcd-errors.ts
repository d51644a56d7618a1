import { type ServiceError, status } from "@grpc/grpc-js";
import { EngineError, errorText } from "../../base/errors.ts";
import { ProtobufError } from "../../base/protobuf.ts";
import { grpcFailure } from "../grpc-failure.ts";

/** What the reference's servers say, and what it means for whoever runs them (docs/spec/kv-stores.md §1). */
interface Meaning {
  readonly text: RegExp;
  readonly code: string;
  /** Follows "The etcd server at <address>". */
  readonly says: string;
  readonly hint: string;
  readonly retryable?: boolean;
}

const MEANINGS: readonly Meaning[] = [
  {
    text: /etcdserver: no leader/,
    code: "DECANT_E_ETCD_UNAVAILABLE",
    says: "has no leader: an election goes on, or most members of its cluster cannot be reached",
    hint: "See etcdctl endpoint status --cluster; without most of its members a cluster neither reads nor writes",
    retryable: true,
  },
  {
    text: /not supported for learner/,
    code: "DECANT_E_ETCD_UNAVAILABLE",
    says: "is a learner, which takes no requests until it is promoted",
    hint: "Name voting members of the cluster in the address, or see etcdctl member promote",
    retryable: true,
  },
  {
    text: /required revision has been compacted/,
    code: "DECANT_E_ETCD_COMPACTED",
    says: "has compacted away the revision that was being read",
    hint: "Begin again. Someone compacts the history while a volume is read: let --auto-compaction-retention be longer than a dump takes",
    retryable: true,
  },
  {
    text: /database space exceeded/,
    code: "DECANT_E_ETCD_FULL",
    says: "takes no writes: its database has reached its quota, and the alarm NOSPACE is raised for the whole cluster",
    hint: "Raise --quota-backend-bytes, or compact and defragment (etcdctl compact, etcdctl defrag); then etcdctl alarm disarm",
  },
  {
    text: /corrupt/i,
    code: "DECANT_E_ETCD_CORRUPT",
    says: "has raised the alarm CORRUPT",
    hint: "The members of the cluster do not agree: see its logs before anything else",
  },
  {
    text: /authentication failed|invalid user ID or password/,
    code: "DECANT_E_ETCD_AUTH",
    says: "does not accept this user and password",
    hint: "Check the account in the address; / : @ in it must be percent-encoded",
  },
  {
    text: /user name is empty|invalid auth token|revision of auth store is old/,
    code: "DECANT_E_ETCD_AUTH",
    says: "wants a user and a password",
    hint: "Write etcd://user:password@host:port/prefix",
  },
  {
    text: /permission denied/,
    code: "DECANT_E_ETCD_PERMISSION",
    says: "does not allow this user what is needed",
    hint: "Give a role of the user read and write permission for all keys that begin with the prefix of the volume",
  },
  {
    text: /request is too large/,
    code: "DECANT_E_ETCD_TOO_LARGE",
    says: "takes no request of this size",
    hint: "Raise --max-request-bytes of the servers (1.5 MiB when not set)",
  },
  {
    text: /too many operations/,
    code: "DECANT_E_ETCD_OPERATIONS",
    says: "takes fewer operations in a transaction than the 128 that servers take when nothing is set",
    hint: "Set --max-txn-ops of the servers to 128 or more",
  },
];

/** The reply or failure of a call as an `EngineError`. `where` is the masked address. */
export function callError(error: unknown, where: string): EngineError {
  if (error instanceof EngineError) return error;
  if (!isServiceError(error)) {
    const what = error instanceof ProtobufError ? "its answer cannot be read: " : "";
    return new EngineError("DECANT_E_ETCD", `The etcd server at ${where} cannot be used: ${what}${errorText(error)}`, {
      cause: error,
    });
  }
  const details = error.details || error.message;
  const meaning = MEANINGS.find(({ text }) => text.test(details));
  if (meaning !== undefined) {
    const { code, says, hint, retryable = false } = meaning;
    return new EngineError(code, `The etcd server at ${where} ${says}: ${details}`, { cause: error, hint, retryable });
  }
  if (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED) {
    return new EngineError("DECANT_E_ETCD_UNAVAILABLE", `Meta ${where} is not available: ${reason(error)}`, {
      cause: error,
      retryable: true,
      hint: /SSL|TLS|certificate|self.signed/i.test(details)
        ? "Check cacert, server-name and whether this port speaks TLS at all"
        : "Check the address, that the servers run and have a leader, and whether they want TLS (parameter cacert)",
    });
  }
  return new EngineError("DECANT_E_ETCD", `The etcd server at ${where} refused a request: ${details}`, {
    cause: error,
  });
}

function reason(error: ServiceError): string {
  if (error.code === status.DEADLINE_EXCEEDED) return "it takes requests and does not answer";
  return grpcFailure(error, "cacert");
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

/** A failure after which another server may answer. */
export function isUnavailable(error: unknown): boolean {
  return isServiceError(error) && (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED);
}

/** True when the request has certainly not reached a server that could do it. */
export function isNotSent(error: unknown): boolean {
  return (
    isServiceError(error) &&
    error.code === status.UNAVAILABLE &&
    /No connection established|Name resolution failed|etcdserver: no leader|not supported for learner/.test(
      error.details,
    )
  );
}

/** The server answers, but the cluster has no leader at the moment. */
export function isWithoutLeader(error: unknown): boolean {
  return isServiceError(error) && /etcdserver: no leader/.test(error.details);
}

/** A server that has taken the connection and says nothing. */
export function noConnection(): Error {
  const details = "No connection established: it takes connections and does not answer";
  return Object.assign(new Error(details), { code: status.UNAVAILABLE, details });
}

/** The token has expired, or users were changed. */
export function isTokenRefused(error: unknown): boolean {
  return isServiceError(error) && /invalid auth token|revision of auth store is old/.test(error.details);
}

/** A response that is larger than what was allowed to be received. */
export function isTooLargeToReceive(error: unknown): boolean {
  return isServiceError(error) && /Received message larger than max/.test(error.details);
}
