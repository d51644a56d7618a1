import type { FactName } from "./fact-names.ts";
import { ADDED, CHANGED, REMOVED, treeChange } from "./rename-join.ts";
import { type ChangeSink, OLD_SIDE, type Place, type TreeChange } from "./tree-changes.ts";

const EMPTY: Buffer = Buffer.alloc(0);

/** Passes differences on as they are found, in the order of paths; nothing is held to look for renames. */
export class DirectChanges implements ChangeSink {
  readonly #ignored: ReadonlySet<FactName>;
  #found: TreeChange[] = [];

  constructor(ignored: ReadonlySet<FactName>) {
    this.#ignored = ignored;
  }

  changed(_position: number, path: Buffer, oldFacts: Buffer, newFacts: Buffer): void {
    const line = { kind: CHANGED, path: Buffer.from(path), from: EMPTY, oldFacts, newFacts };
    this.#found.push(treeChange(line, this.#ignored));
  }

  place({ side, path, facts }: Place): void {
    const kind = side === OLD_SIDE ? REMOVED : ADDED;
    const line = { kind, path: Buffer.from(path), from: EMPTY, oldFacts: facts, newFacts: facts };
    this.#found.push(treeChange(line, this.#ignored));
  }

  /** What was found since the last call. */
  take(): TreeChange[] {
    const found = this.#found;
    this.#found = [];
    return found;
  }
}
