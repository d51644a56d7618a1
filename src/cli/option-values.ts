import { UsageError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";

/** The options that were given, read by their long names without dashes. */
export class OptionValues {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  /** The text of an option with a value, undefined when it was not given. */
  text(name: string): string | undefined {
    const value = this.#values[attributeName(name)];
    return typeof value === "string" ? value : undefined;
  }

  /** Whether a flag was given, and how: `--flag` and `--flag=true` are true, `--flag=false` is false. */
  given(name: string): boolean | undefined {
    const value = this.#values[attributeName(name)];
    return typeof value === "boolean" ? value : undefined;
  }

  flag(name: string): boolean {
    return this.given(name) === true;
  }

  /** Throws `UsageError` for what is no integer. */
  integer(name: string): bigint | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!/^[+-]?\d+$/.test(value)) {
      throw new UsageError("DECANT_E_OPTION_VALUE", `Invalid value "${value}" for "${name}": not an integer`);
    }
    return BigInt(value);
  }

  /** A size in bytes, see `parseSize`. */
  size(name: string, defaultUnit: "B" | "K" | "M" | "G"): bigint | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : parseSize(value, name, defaultUnit);
  }
}

/** `max-memory` is stored as `maxMemory`, `no-update` as the negation of `update`. */
function attributeName(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}
