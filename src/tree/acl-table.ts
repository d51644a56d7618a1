import type { AclRecord } from "../volume/records.ts";

/**
 * ACL rules under the numbers that the loaded volume gives them: from 1, in the order in which entries are completed, equal
 * rules once (docs/spec/json-dump.md §11).
 */
export class AclTable {
  /** Source id → rule. */
  readonly #rules: Map<number, Buffer> = new Map();
  readonly #assigned: Map<number, number> = new Map();
  readonly #idsByRule: Map<string, number> = new Map();
  readonly #records: AclRecord[] = [];

  define(id: number, rule: Buffer): void {
    this.#rules.set(id, rule);
  }

  /** The new id of a source id; 0 for 0, undefined when the source has no such rule. */
  assign(id: number): number | undefined {
    if (id === 0) return 0;
    const known = this.#assigned.get(id);
    if (known !== undefined) return known;
    const rule = this.#rules.get(id);
    if (rule === undefined) return undefined;
    const text = rule.toString("latin1");
    let assigned = this.#idsByRule.get(text);
    if (assigned === undefined) {
      assigned = this.#records.length + 1;
      this.#idsByRule.set(text, assigned);
      this.#records.push({ id: assigned, rule: Buffer.from(rule) });
    }
    this.#assigned.set(id, assigned);
    return assigned;
  }

  records(): readonly AclRecord[] {
    return this.#records;
  }
}
