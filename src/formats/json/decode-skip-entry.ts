import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";

/** Where in an entry the reading stopped: before it, in its members, or in a list that is a member. */
export type SkipFrom = "child" | "member" | "element";

const ELEMENT = 0;
const ELEMENT_VALUE = 1;
const MEMBER = 2;
const MEMBER_VALUE = 3;
const CHILD = 4;
const CHILD_VALUE = 5;

/**
 * Passes over what is left of an entry that cannot be understood, as long as it is JSON. A step is what the tree decoder
 * commits at a time.
 */
export class EntrySkipper {
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  /** Where the entry at hand stopped. */
  from: SkipFrom = "child";
  #state = CHILD;

  constructor(tokens: JsonTokens, skipper: JsonSkipper) {
    this.#tokens = tokens;
    this.#skipper = skipper;
  }

  begin(from: SkipFrom): void {
    this.from = from;
    this.#state = from === "child" ? CHILD : from === "member" ? MEMBER : ELEMENT;
  }

  /** `entry` when the entry has been passed; with `canBegin`, `begin` when it has come to the first of its members, or of its entries. */
  step(canBegin: boolean): "entry" | "begin" | undefined {
    switch (this.#state) {
      case ELEMENT:
        if (this.#ends(0x5d)) this.#state = MEMBER;
        else this.#beginValue(ELEMENT_VALUE);
        return undefined;
      case MEMBER:
        if (this.#ends(0x7d)) return "entry";
        this.#tokens.readKey();
        this.#beginValue(MEMBER_VALUE);
        if (canBegin && this.#tokens.textValue() === "entries" && this.#isObject()) return "begin";
        return undefined;
      case CHILD:
        this.#passComma();
        this.#tokens.readString(false, "the name of an entry in quotes");
        this.#tokens.expect(0x3a, "':'");
        this.#beginValue(CHILD_VALUE);
        if (canBegin && this.#isObject()) return "begin";
        return undefined;
      default:
        this.#skipper.run(true);
        if (this.#state === CHILD_VALUE) return "entry";
        this.#state = this.#state === ELEMENT_VALUE ? ELEMENT : MEMBER;
        return undefined;
    }
  }

  #isObject(): boolean {
    if (this.#tokens.peek() !== 0x7b) return false;
    this.#tokens.at++;
    return true;
  }

  #beginValue(state: number): void {
    this.#skipper.begin();
    this.#state = state;
  }

  /** Takes the end of the list or object, or the comma before its next value. */
  #ends(close: number): boolean {
    if (this.#tokens.peek() === close) {
      this.#tokens.at++;
      return true;
    }
    this.#passComma();
    return false;
  }

  #passComma(): void {
    if (this.#tokens.peek() !== 0x2c) return;
    this.#tokens.at++;
    this.#tokens.peek();
  }
}
