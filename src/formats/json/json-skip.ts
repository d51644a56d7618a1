import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT } from "./json-window.ts";

const WANT_VALUE = 0;
const WANT_FIRST_ELEMENT = 1;
const WANT_FIRST_KEY = 2;
const WANT_KEY = 3;
const WANT_NEXT = 4;

const ARRAY = 0;
const OBJECT = 1;

/** A value nested deeper than this is refused, wherever it stands. */
export const MAX_SKIP_DEPTH = 100_000;

/**
 * Passes over a value of any kind and size, checking its syntax. With `commit` every token is a step of its own, so that
 * the value need not fit into the window; call `run` again after `NEED_DATA`. Without, call `begin` again.
 */
export class JsonSkipper {
  readonly #tokens: JsonTokens;
  #state = WANT_VALUE;
  #depth = 0;
  #kinds: Uint8Array = new Uint8Array(256);

  constructor(tokens: JsonTokens) {
    this.#tokens = tokens;
  }

  begin(): void {
    this.#state = WANT_VALUE;
    this.#depth = 0;
  }

  run(commit: boolean): void {
    const tokens = this.#tokens;
    for (;;) {
      const done = this.#token();
      if (commit) tokens.commit();
      if (done) return;
    }
  }

  /** Begins and runs within the current step. */
  skipValue(): void {
    this.begin();
    this.run(false);
  }

  #token(): boolean {
    const tokens = this.#tokens;
    const byte = tokens.peek();
    switch (this.#state) {
      case WANT_FIRST_ELEMENT:
        if (byte === 0x5d) return this.#close();
        return this.#value(byte);
      case WANT_FIRST_KEY:
        if (byte === 0x7d) return this.#close();
        return this.#key();
      case WANT_KEY:
        return this.#key();
      case WANT_NEXT:
        return this.#next(byte);
      default:
        return this.#value(byte);
    }
  }

  #key(): boolean {
    this.#tokens.readKey();
    this.#state = WANT_VALUE;
    return false;
  }

  #value(byte: number): boolean {
    const tokens = this.#tokens;
    if (byte === 0x7b || byte === 0x5b) {
      tokens.at++;
      this.#open(byte === 0x7b ? OBJECT : ARRAY);
      return false;
    }
    if (byte === 0x22) tokens.readString(false, "a string");
    else tokens.readScalar();
    this.#state = WANT_NEXT;
    return this.#depth === 0;
  }

  #open(kind: number): void {
    if (this.#depth >= MAX_SKIP_DEPTH) {
      throw this.#tokens.error(
        "DECANT_E_JSON_LIMIT",
        `values are nested more than ${MAX_SKIP_DEPTH} deep`,
        DAMAGE_HINT,
      );
    }
    if (this.#depth === this.#kinds.length) {
      const grown = new Uint8Array(this.#kinds.length * 2);
      grown.set(this.#kinds);
      this.#kinds = grown;
    }
    this.#kinds[this.#depth++] = kind;
    this.#state = kind === OBJECT ? WANT_FIRST_KEY : WANT_FIRST_ELEMENT;
  }

  #close(): boolean {
    this.#tokens.at++;
    this.#depth--;
    this.#state = WANT_NEXT;
    return this.#depth === 0;
  }

  #next(byte: number): boolean {
    const inObject = this.#kinds[this.#depth - 1] === OBJECT;
    if (byte === (inObject ? 0x7d : 0x5d)) return this.#close();
    if (byte !== 0x2c) throw this.#tokens.unexpected(inObject ? "',' or '}'" : "',' or ']'");
    this.#tokens.at++;
    this.#state = inObject ? WANT_KEY : WANT_VALUE;
    return false;
  }
}
