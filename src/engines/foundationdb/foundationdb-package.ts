import { errorText, MissingDependencyError } from "../../base/errors.ts";

/**
 * What is used of the package `foundationdb` (2.0.1), as its declarations have it, and nothing more. It is an optional peer: it is
 * loaded when a volume in FoundationDB is opened, and needs the client library of FoundationDB (`libfdb_c`) to be there.
 */
export interface FoundationdbPackage {
  /** Once for a process; again only with the same version. */
  setAPIVersion(version: number): void;
  /** Starts the network thread with the first call. Does not connect yet. */
  open(clusterFile?: string): FdbDatabase;
}

export interface FdbDatabase {
  rawCreateTransaction(options?: { timeout?: number }): FdbTransaction;
  close(): void;
}

/** A key, and how far from it: `firstGreaterOrEqual` is `orEqual` false and `offset` 1. */
export interface FdbKeySelector {
  readonly key: Buffer;
  readonly orEqual: boolean;
  readonly offset: number;
  readonly _isKeySelector: true;
}

/**
 * Errors are `Error`s with a number in `code`. What gives no promise never throws for its arguments: keys and values that are too
 * large fail the commit. Versions are 8 bytes, big-endian.
 */
export interface FdbTransaction {
  /** The same transaction, whose reads cause no conflicts. */
  snapshot(): FdbTransaction;
  get(key: Buffer): Promise<Buffer | undefined>;
  getRangeNative(
    start: FdbKeySelector,
    end: FdbKeySelector,
    limit: number,
    targetBytes: number,
    streamingMode: number,
    iteration: number,
    reverse: boolean,
  ): Promise<{ results: [key: Buffer, value: Buffer][]; more: boolean }>;
  set(key: Buffer, value: Buffer): void;
  clear(key: Buffer): void;
  clearRange(start: Buffer, end: Buffer): void;
  addReadConflictRange(start: Buffer, end: Buffer): void;
  addWriteConflictRange(start: Buffer, end: Buffer): void;
  setReadVersion(version: Buffer): void;
  getReadVersion(): Promise<Buffer>;
  /** -1 where nothing had to be committed. */
  getCommittedVersion(): Buffer;
  rawCommit(): Promise<void>;
  /** Waits as long as is wise and begins anew, or fails where trying again is of no use. */
  rawOnError(code: number): Promise<void>;
  rawCancel(): void;
  /** Forgets everything, a cancellation too, and gives memory back, which a collected object does late. */
  rawReset(): void;
}

/** That of the reference (docs/spec/kv.md §6). From 610 on a timeout is one for all attempts of a transaction. */
const API_VERSION = 630;

/** No literal: the package is not there when decant is compiled. */
const PACKAGE_NAME: string = "foundationdb";

const INSTALL =
  "Install the client library of FoundationDB in the version of the cluster, 7.3 or newer (package foundationdb-clients of https://github.com/apple/foundationdb/releases), and beside decant: npm install foundationdb@2.0.1";

/** Throws `MissingDependencyError` where the package, or the library of FoundationDB that it needs, is not installed. */
export async function loadFoundationdb(): Promise<FoundationdbPackage> {
  let loaded: unknown;
  try {
    loaded = await import(PACKAGE_NAME);
  } catch (cause) {
    throw missing(cause);
  }
  return preparePackage((loaded as { default: FoundationdbPackage }).default);
}

/** Chooses the version of the interface, which has to be done before anything else. */
export function preparePackage(fdb: FoundationdbPackage): FoundationdbPackage {
  try {
    fdb.setAPIVersion(API_VERSION);
  } catch (cause) {
    throw new MissingDependencyError(
      "DECANT_E_FOUNDATIONDB_CLIENT",
      `The client library of FoundationDB cannot be used with API version ${API_VERSION}: ${errorText(cause)}`,
      { cause, hint: INSTALL },
    );
  }
  return fdb;
}

/** What is missing, by what the import said. */
export function missing(cause: unknown): MissingDependencyError {
  return new MissingDependencyError("DECANT_E_FOUNDATIONDB_MISSING", `Cannot use FoundationDB: ${reason(cause)}`, {
    cause,
    hint: INSTALL,
  });
}

function reason(cause: unknown): string {
  const text = errorText(cause);
  const { code } = cause as { code?: unknown };
  if (code === "ERR_MODULE_NOT_FOUND" && text.includes(`'${PACKAGE_NAME}'`)) {
    return `the package ${PACKAGE_NAME} is not installed`;
  }
  if (/fdb_c/.test(text)) return `its client library cannot be loaded: ${text}`;
  if (/native build/.test(text))
    return `the package ${PACKAGE_NAME} has no build for this system: ${text.split("\n")[0]}`;
  return `the package ${PACKAGE_NAME} cannot be loaded: ${text}`;
}
