import type { LeaseValue } from "./lease-value.ts";

/** A value of the lease that this process has stored, or has tried to store. */
export interface OwnValue {
  readonly bytes: Buffer;
  readonly value: LeaseValue;
  /** Reading of the monotonic clock before it was sent for the first time: it is not older than that in the database. */
  readonly startedAtMs: number;
}

/**
 * The values of one process that may be in the database: the last that is known to be stored, and those after it whose
 * answer was lost. A server may store such a one even later; it needs the value before it for that, so none of them can
 * be stored any more once another value is.
 */
export class OwnValues {
  #values: OwnValue[] = [];
  #renewal = 0;

  /** A number that no value of this process has yet. */
  nextRenewal(): number {
    return ++this.#renewal;
  }

  add(value: OwnValue): void {
    if (!this.#values.includes(value)) this.#values.push(value);
  }

  /** It is stored, by a swap that is known to have succeeded or because it was read. */
  settle(value: OwnValue): void {
    this.#values = [value];
  }

  /** It is not stored and cannot be any more. */
  drop(value: OwnValue): void {
    this.#values = this.#values.filter((other) => other !== value);
  }

  find(bytes: Buffer): OwnValue | undefined {
    return this.#values.find((value) => value.bytes.equals(bytes));
  }

  has(bytes: Buffer | undefined): boolean {
    return bytes !== undefined && this.find(bytes) !== undefined;
  }
}
