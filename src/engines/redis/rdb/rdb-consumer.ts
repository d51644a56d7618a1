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

  /** The value is complete. */
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

  /** True when the reader shall stop for now: what was handed over has to be taken away, or is all that is wanted. */
  readonly isFull: boolean;
}
