import type { Logger } from "../base/logger.ts";
import type { SnapshotLoss, SnapshotNote } from "./engine.ts";

export type OnLoss = (loss: SnapshotLoss) => void;

/** More are not remembered: they may be told again. */
const MAX_REMEMBERED = 100_000;

/** Tells a loss once, for readers that meet some things several times; undefined for undefined. */
export function tellOnce(onLoss: OnLoss | undefined): OnLoss | undefined {
  if (onLoss === undefined) return undefined;
  const told = new Set<string>();
  return (loss) => {
    if (told.has(loss.message)) return;
    if (told.size < MAX_REMEMBERED) told.add(loss.message);
    onLoss(loss);
  };
}

/** Names of keys that a log line may carry: damage is rarely single. */
const EXAMPLES_PER_NOTE = 3;

/** Counts what a reader met on its way; the first few places of each kind go to the log. */
export class Notes {
  readonly list: { text: string; count: number; loss: boolean }[] = [];
  readonly #byText = new Map<string, { text: string; count: number; loss: boolean }>();
  readonly #logger: Logger;
  readonly #onLoss: OnLoss | undefined;

  /** With `onLoss`, losses go there and nowhere else. */
  constructor(logger: Logger, onLoss?: OnLoss) {
    this.#logger = logger;
    this.#onLoss = onLoss;
  }

  /** Each loss is told for itself: what cannot be decoded is to be left out, never replaced by a guess without a word. */
  get isSalvage(): boolean {
    return this.#onLoss !== undefined;
  }

  /** Something of the volume that cannot be read: an example of `text`, or `lost` where each is told. */
  loss(text: string, example: string, lost: SnapshotLoss): void {
    if (this.#onLoss !== undefined) return this.#onLoss(lost);
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
