import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { extendFile, publishFile } from "./directory-changes.ts";
import { memoryLogName } from "./directory-files.ts";
import type { FoundLog } from "./directory-view.ts";
import { LOG_HEADER_BYTES } from "./log-reader.ts";
import { LOG_HEADER, LOG_PADDING, TransactionWriter } from "./log-writer.ts";
import { readUpTo } from "./read-file.ts";

/** A client holds what stands in a log in memory when it opens the directory, and fails above about 64 MiB. */
const MAX_LOG_BYTES = 32 * 1024 * 1024;

/**
 * Appends transactions to a directory that is locked exclusively (docs/spec/kv-stores.md §3.7): to the newest memtable log where
 * that is one of decant and has room, else to a new one. A client takes much memory for each log when it opens the directory, so
 * there should be few. A transaction is whole or not there, whenever the process ends.
 */
export class LogAppender {
  readonly #directory: string;
  #number: number;
  /** Where the next transaction begins; 0: in a new file. */
  #end: number;
  #ts: bigint;

  constructor(directory: string, logs: readonly FoundLog[], maxVersion: bigint) {
    this.#directory = directory;
    const newest = logs.at(-1);
    this.#number = newest?.number ?? 0;
    this.#end = newest?.isClean && isOurs(newest.path) ? newest.end : 0;
    this.#ts = maxVersion;
  }

  /** The ts that reads have, below that of the next transaction. */
  get readTs(): bigint {
    return this.#ts;
  }

  begin(): TransactionWriter {
    return new TransactionWriter(this.#ts + 1n);
  }

  /** Throws `EngineError` for a transaction that no log can hold, `FileError`. */
  commit(transaction: TransactionWriter): void {
    const bytes = transaction.finish();
    if (bytes.length > MAX_LOG_BYTES) {
      throw new EngineError(
        "DECANT_E_TRANSACTION_SIZE",
        `A transaction of ${bytes.length} bytes is too large for BadgerDB`,
      );
    }
    if (this.#end === 0 || this.#end + bytes.length > MAX_LOG_BYTES) {
      const name = memoryLogName(++this.#number);
      publishFile(this.#directory, name, [LOG_HEADER, bytes, LOG_PADDING]);
      this.#end = LOG_HEADER_BYTES + bytes.length;
    } else {
      const path = join(this.#directory, memoryLogName(this.#number));
      extendFile(path, this.#end, [bytes, LOG_PADDING]);
      this.#end += bytes.length;
    }
    this.#ts++;
  }
}

function isOurs(path: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw fileError("read", path, error);
  }
  try {
    const header = Buffer.alloc(LOG_HEADER_BYTES);
    return readUpTo(descriptor, path, 0, header, 0, header.length) === header.length && header.equals(LOG_HEADER);
  } finally {
    closeSync(descriptor);
  }
}
