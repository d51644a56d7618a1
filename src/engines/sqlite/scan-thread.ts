import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import { EngineError, errorText } from "../../base/errors.ts";
import type { PackedPage } from "./scan-pages.ts";
import type { ScanAnswer, ScanRequest, ScanWorkerData } from "./scan-worker.ts";
import { type Connection, openReader } from "./sqlite-connection.ts";

/** Below this size of the database, starting a thread takes longer than it saves. */
const MIN_DATABASE_BYTES = 16 * 1024 * 1024;
/** How often two connections try to see the same state of a database in which others commit all the time. */
const MAX_ATTEMPTS = 50;

/**
 * Reads the pages of large tables on another thread, ahead of their use, in a read transaction that sees the same state as
 * the one of the main connection.
 */
export class ScanThread {
  readonly #worker: Worker;
  readonly #pending: Int32Array;
  readonly #answers: ScanAnswer[] = [];
  #wake: (() => void) | undefined;

  /** Undefined where a second thread would not help. */
  static startFor(path: string, minBytes: number = MIN_DATABASE_BYTES): ScanThread | undefined {
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return size < minBytes || availableParallelism() < 2 ? undefined : new ScanThread(path);
  }

  private constructor(path: string) {
    this.#pending = new Int32Array(new SharedArrayBuffer(4));
    const workerData: ScanWorkerData = { path, pending: this.#pending };
    // The same name in the sources and in what is compiled from them.
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    this.#worker = new Worker(new URL(`./scan-worker.${extension}`, import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    this.#worker.on("message", (answer: ScanAnswer) => this.#take(answer));
    this.#worker.on("error", (error) => {
      this.#take({
        type: "failed",
        message: `the thread that reads it has ended: ${errorText(error)}`,
        code: undefined,
      });
    });
  }

  /**
   * Begins a transaction here and one on `db`, whose view `beginMain` fixes by reading, until both see the same state: none
   * was committed in between. False when others commit too often for that; the transaction of `db` is good all the same.
   */
  async beginWith(path: string, beginMain: () => void): Promise<boolean> {
    const watch = openReader(path);
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const version = dataVersion(watch);
        beginMain();
        this.#send({ begin: true });
        await this.#next();
        if (dataVersion(watch) === version) return true;
      }
      return false;
    } finally {
      watch.close();
    }
  }

  /** The pages of a `pageQuery`, each valid until the next is asked for. One query at a time, each read to its end. */
  async *pages(query: string): AsyncGenerator<PackedPage> {
    this.#send({ query });
    for (;;) {
      const answer = await this.#next();
      if (answer.type !== "page") return;
      const { bytes, rows } = answer;
      const memory = bytes.buffer as ArrayBuffer & { transfer(bytes: number): unknown };
      yield { bytes: Buffer.from(memory, bytes.byteOffset, bytes.byteLength), rows };
      memory.transfer(0); // the collector, which does not see how much hangs on a page, would take its time
      Atomics.sub(this.#pending, 0, 1);
      Atomics.notify(this.#pending, 0);
    }
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #send(request: ScanRequest): void {
    this.#worker.postMessage(request);
  }

  #take(answer: ScanAnswer): void {
    this.#answers.push(answer);
    this.#wake?.();
  }

  async #next(): Promise<ScanAnswer> {
    while (this.#answers.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const answer = this.#answers.shift()!;
    if (answer.type !== "failed") return answer;
    throw answer.code === undefined
      ? new EngineError("DECANT_E_SQLITE", answer.message)
      : new Database.SqliteError(answer.message, answer.code);
  }
}

/** Changes whenever another connection has committed something. */
function dataVersion(db: Connection): bigint {
  return db.pragma("data_version", { simple: true }) as bigint;
}
