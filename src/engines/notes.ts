import type { Logger } from "../base/logger.ts";
import type { SnapshotNote } from "./engine.ts";

/** Names of keys that a log line may carry: damage is rarely single. */
const EXAMPLES_PER_NOTE = 3;

/** Counts what a reader met on its way; the first few places of each kind go to the log. */
export class Notes {
  readonly list: { text: string; count: number; loss: boolean }[] = [];
  readonly #byText = new Map<string, { text: string; count: number; loss: boolean }>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Something of the volume that cannot be read. */
  loss(text: string, example: string): void {
    const note = this.#count(text, true);
    if (note.count <= EXAMPLES_PER_NOTE) this.#logger.warn(`${text}: ${example}`);
  }

  /** Something worth a line that loses nothing. */
  remark(text: string, example: string): void {
    const note = this.#count(text, false);
    if (note.count <= EXAMPLES_PER_NOTE && this.#logger.debugEnabled) this.#logger.debug(`${text}: ${example}`);
  }

  #count(text: string, loss: boolean): SnapshotNote {
    let note = this.#byText.get(text);
    if (note === undefined) {
      note = { text, count: 0, loss };
      this.#byText.set(text, note);
      this.list.push(note);
    }
    note.count++;
    return note;
  }
}

/** A key or field for a log line: printable ASCII as it is, the rest escaped. */
export function printableKey(bytes: Buffer, start: number = 0, end: number = bytes.length): string {
  return JSON.stringify(bytes.toString("latin1", start, Math.min(end, start + 200))).slice(1, -1);
}
