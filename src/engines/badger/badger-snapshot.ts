import { setImmediate } from "node:timers/promises";
import { ByteWriter } from "../../base/bytes.ts";
import { BATCH_BYTES } from "../../volume/records.ts";
import type { KvPage, KvRange, KvSnapshot } from "../kv/kv-store.ts";
import type { DirectoryLock } from "./directory-lock.ts";
import type { DirectoryView } from "./directory-view.ts";

/** Files are read synchronously; after so many pages signals get their turn. */
const PAGES_PER_TURN = 16;

/** All of a directory, which stays locked until this is closed. */
export class BadgerSnapshot implements KvSnapshot {
  readonly pointInTime = true;
  readonly method = "no other process could open the directory while it was read";
  readonly asOf: Date = new Date();
  readonly #view: DirectoryView | undefined;
  readonly #lock: DirectoryLock | undefined;
  readonly #signal: AbortSignal;

  /** Takes view and lock over; without them, the directory does not exist. */
  constructor(view: DirectoryView | undefined, lock: DirectoryLock | undefined, signal: AbortSignal) {
    this.#view = view;
    this.#lock = lock;
    this.#signal = signal;
  }

  async *scan({ start, end }: KvRange): AsyncGenerator<KvPage> {
    this.#signal.throwIfAborted();
    if (this.#view === undefined) return;
    const entries = this.#view.entries(start, end);
    const writer = new ByteWriter(BATCH_BYTES + 65536);
    try {
      for (let turn = 1; ; turn++) {
        const count = entries.fill(writer, BATCH_BYTES);
        if (count === 0) return;
        yield { count, bytes: writer.take() };
        if (turn % PAGES_PER_TURN === 0) await setImmediate();
        this.#signal.throwIfAborted();
      }
    } finally {
      entries.close();
    }
  }

  async get(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    this.#signal.throwIfAborted();
    return lookUp(this.#view, keys);
  }

  async close(): Promise<void> {
    this.#view?.close();
    this.#lock?.release();
  }
}

/** The values of keys, undefined for those that are not there. */
export function lookUp(view: DirectoryView | undefined, keys: readonly Uint8Array[]): (Buffer | undefined)[] {
  if (view === undefined) return keys.map(() => undefined);
  const writer = new ByteWriter(4096);
  return keys.map((key) => {
    // the first key that is not before this one and not behind it: itself, or none
    const entries = view.entries(key, Buffer.concat([key, ZERO]));
    try {
      if (entries.fill(writer, 1) === 0) return undefined;
      const pair = writer.written();
      const value = Buffer.from(pair.subarray(8 + key.length));
      writer.length = 0;
      return value;
    } finally {
      entries.close();
    }
  });
}

const ZERO = Buffer.alloc(1);
