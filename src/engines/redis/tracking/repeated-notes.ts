import type { SnapshotLoss } from "../../engine.ts";
import { Notes } from "../../notes.ts";

/** More are not remembered: a volume with so much damage has other sorrows than an exact number. */
const MAX_REMEMBERED = 100_000;

/** Notes of a reader that reads some values several times: what is damaged counts once. */
export class RepeatedNotes extends Notes {
  /** Set it when values are read again. */
  isAgain = false;
  readonly #known: Set<string> = new Set();

  override loss(text: string, example: string, lost: SnapshotLoss): void {
    if (this.#isNew(text, example)) super.loss(text, example, lost);
  }

  override remark(text: string, example: string): void {
    if (this.#isNew(text, example)) super.remark(text, example);
  }

  #isNew(text: string, example: string): boolean {
    const key = `${text}: ${example}`;
    if (this.isAgain && this.#known.has(key)) return false;
    if (this.#known.size < MAX_REMEMBERED) this.#known.add(key);
    return true;
  }
}
