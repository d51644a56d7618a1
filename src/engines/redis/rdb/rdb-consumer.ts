import type { SnapshotLoss } from "../../engine.ts";
import type { RdbText } from "./rdb-text.ts";
import type { RedisType } from "./rdb-types.ts";

/** Takes one value, piece by piece: of its methods those of its type are called, then `end`. All strings are borrowed. */
export abstract class ValueHandler {
  abstract readonly type: Exclude<RedisType, "other">;

  string(_value: RdbText): void {}

  /** An element of a list, in order, or a member of a set. */
  item(_value: RdbText): void {}

  /** A field of a hash. */
  pair(_field: RdbText, _value: RdbText): void {}

  /** A member of a sorted set. */
  scored(_member: RdbText, _score: number): void {}

  /** A part of the value is lost: whoever cannot use the others drops all of it at its end. */
  spoil(): void {}

  /** The value is complete, but for what is lost of it. */
  end(): void {}
}

/** Decides what of a file is read. */
export interface RdbConsumer {
  /** Keys of other databases are skipped without being looked at. */
  wantsDatabase(database: number): boolean;

  /** Who takes the value of this key, undefined when nobody does; asked once per key. */
  handlerFor(key: RdbText): ValueHandler | undefined;

  /** The value of the key is of another type than that of its handler, which does not get it. */
  wrongType(key: RdbText): void;

  /** What is lost with the value of a key, or with a part of it; `what` says how. */
  lost(key: RdbText, what: string): SnapshotLoss;

  /** Keys are lost, and nobody knows which: what was not met by the end is no proof that it was not there. */
  loseUnknown(): void;

  /** True when the reader shall stop for now: what was handed over has to be taken away, or is all that is wanted. */
  readonly isFull: boolean;
}
