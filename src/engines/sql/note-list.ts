import type { SnapshotNote } from "../engine.ts";

/** Counts what a reader met, one note per text. */
export class NoteList {
  readonly #notes = new Map<string, { text: string; count: number; loss: boolean }>();

  add(text: string, effect: "loss" | "harmless"): void {
    const note = this.#notes.get(text) ?? { text, count: 0, loss: effect === "loss" };
    note.count++;
    this.#notes.set(text, note);
  }

  list(): SnapshotNote[] {
    return [...this.#notes.values()];
  }
}
