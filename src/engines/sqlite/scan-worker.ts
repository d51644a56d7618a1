import { parentPort, workerData } from "node:worker_threads";
import { queryPages } from "./scan-pages.ts";
import { type Connection, openReader } from "./sqlite-connection.ts";

/** The thread behind `ScanThread` (scan-thread.ts): reads pages on a connection of its own. */

/** What the thread is told, one after the other. */
export type ScanRequest = { readonly begin: true } | { readonly query: string };

/** What it answers: `begun` to the one, pages and `ended` to the other; `failed` to either. */
export type ScanAnswer =
  | { readonly type: "begun" | "ended" }
  | { readonly type: "page"; readonly bytes: Uint8Array; readonly rows: number }
  | { readonly type: "failed"; readonly message: string; readonly code: string | undefined };

export interface ScanWorkerData {
  readonly path: string;
  /** One number: pages that were sent and are not used yet. */
  readonly pending: Int32Array;
}

/** So many pages are read ahead. */
const MAX_PENDING = 4;

const { path, pending } = workerData as ScanWorkerData;
const port = parentPort!;
let connection: Connection | undefined;

port.on("message", (request: ScanRequest) => {
  try {
    if ("begin" in request) begin();
    else sendPages(request.query);
  } catch (error) {
    const { message, code } = error as Error & { code?: string };
    answer({ type: "failed", message, code });
  }
});

function begin(): void {
  connection ??= openReader(path);
  if (connection.inTransaction) connection.exec("ROLLBACK");
  connection.exec("BEGIN");
  connection.prepare("SELECT count(*) FROM sqlite_master").get(); // the first read fixes the view
  answer({ type: "begun" });
}

function sendPages(query: string): void {
  for (const { bytes, rows } of queryPages(connection!, query)) {
    for (let count = Atomics.load(pending, 0); count >= MAX_PENDING; count = Atomics.load(pending, 0)) {
      Atomics.wait(pending, 0, count);
    }
    Atomics.add(pending, 0, 1);
    answer({ type: "page", bytes, rows }, bytes.buffer as ArrayBuffer);
  }
  answer({ type: "ended" });
}

function answer(message: ScanAnswer, ...moved: ArrayBuffer[]): void {
  port.postMessage(message, moved);
}
