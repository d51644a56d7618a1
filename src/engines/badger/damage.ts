import { DataError, FileError } from "../../base/errors.ts";
import type { KvLoss } from "../kv/kv-store.ts";
import { printableKey } from "../notes.ts";

/** Whether an error says that bytes are lost: what stands there is wrong, or the disk does not give it any more. */
export function isDamage(error: unknown): error is Error {
  if (error instanceof DataError) return true;
  return error instanceof FileError && (error.cause as NodeJS.ErrnoException | undefined)?.code === "EIO";
}

/** Hears what is lost of a directory that is read as far as it can be, and says what follows from that. */
export class Damage {
  readonly #directory: string;
  readonly #onLoss: (loss: KvLoss) => void;
  #isFirst = true;

  constructor(directory: string, onLoss: (loss: KvLoss) => void) {
    this.#directory = directory;
    this.#onLoss = onLoss;
  }

  /** Keys are lost of which nobody knows the names or versions: where a newer version is lost, an older one may be there. */
  lost(message: string): void {
    this.#onLoss({ message });
    if (!this.#isFirst) return;
    this.#isFirst = false;
    const consequence = "older values may stand in for what was lost, and deleted things may be back";
    this.#onLoss({ message: `A part of ${this.#directory} is lost: ${consequence}` });
  }

  /** The newest value of a key is lost, and so the key. */
  lostValue(key: Buffer, message: string): void {
    this.#onLoss({ key, message });
  }

  /** Does `work`; false when it met damage, of which `consequence` says what is lost with it. */
  during(work: () => void, consequence: () => string): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.lost(`${error.message}: ${consequence()}`);
      return false;
    }
  }
}

/** A part of a table, by its keys; without `next`, up to the end of the table. */
export function keyRange(first: Buffer, next: Buffer | undefined): string {
  const end = next === undefined ? "the end of the table" : `key ${printableKey(next)}`;
  return `what stands from key ${printableKey(first)} to ${end} is lost`;
}
