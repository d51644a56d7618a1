import { ValueHandler } from "./rdb-consumer.ts";
import type { RdbText } from "./rdb-text.ts";

/** Calls a function for each part of a value: for kinds of which there are few. Strings are borrowed. */
export class StringTaker extends ValueHandler {
  readonly type = "string";
  readonly #take: (value: RdbText) => void;

  constructor(take: (value: RdbText) => void) {
    super();
    this.#take = take;
  }

  override string(value: RdbText): void {
    this.#take(value);
  }
}

export class SetTaker extends ValueHandler {
  readonly type = "set";
  readonly #take: (member: RdbText) => void;

  constructor(take: (member: RdbText) => void) {
    super();
    this.#take = take;
  }

  override item(member: RdbText): void {
    this.#take(member);
  }
}

export class HashTaker extends ValueHandler {
  readonly type = "hash";
  readonly #take: (field: RdbText, value: RdbText) => void;
  readonly #end: () => void;

  constructor(take: (field: RdbText, value: RdbText) => void, end: () => void = () => undefined) {
    super();
    this.#take = take;
    this.#end = end;
  }

  override pair(field: RdbText, value: RdbText): void {
    this.#take(field, value);
  }

  override end(): void {
    this.#end();
  }
}

export class ScoreTaker extends ValueHandler {
  readonly type = "zset";
  readonly #take: (member: RdbText, score: number) => void;

  constructor(take: (member: RdbText, score: number) => void) {
    super();
    this.#take = take;
  }

  override scored(member: RdbText, score: number): void {
    this.#take(member, score);
  }
}
