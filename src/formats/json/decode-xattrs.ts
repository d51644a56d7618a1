import { ByteWriter } from "../../base/bytes.ts";
import { printableName } from "../../volume/path.ts";
import { MAX_NAME_BYTES } from "../../volume/value-limits.ts";
import { UNKNOWN_MEMBER_TEXT, type Warn } from "./decode-attribute.ts";
import { skipUnknown } from "./decode-lists.ts";
import type { JsonSkipper } from "./json-skip.ts";
import type { JsonTokens } from "./json-tokens.ts";
import { DAMAGE_HINT, MAX_TOKEN_BYTES } from "./json-window.ts";

/** Size of the head of a packed xattr: u16 size of the name, u32 size of the value (volume/tree-item.ts). */
const XATTR_HEAD = 6;

/** Reads elements of `xattrs` into packed xattrs of `list`. */
export class XattrReader {
  /** Packed xattrs of the current entry that have been read completely. */
  readonly list: ByteWriter = new ByteWriter(4096);
  readonly #tokens: JsonTokens;
  readonly #skipper: JsonSkipper;
  readonly #warn: Warn;
  #lastName: Buffer | undefined;
  /** Names in `list` in latin1, once they are not ascending. */
  #names: Set<string> | undefined;

  constructor(tokens: JsonTokens, skipper: JsonSkipper, warn: Warn) {
    this.#tokens = tokens;
    this.#skipper = skipper;
    this.#warn = warn;
  }

  /** Begins with another entry. */
  reset(): void {
    this.list.length = 0;
    this.#lastName = undefined;
    this.#names = undefined;
  }

  /** Reads one xattr object at the cursor, within one step. The name is JSON text only, the value percent-escaped too. */
  read(): void {
    const tokens = this.#tokens;
    let name: Buffer | undefined;
    let value: Buffer | undefined;
    tokens.readObject("an extended attribute", (member) => {
      if (member === "name" && name === undefined) {
        tokens.readString(false, "the name of an extended attribute in quotes");
        name = tokens.textBytes();
      } else if (member === "value" && value === undefined) {
        tokens.readString(true, "the value of an extended attribute in quotes");
        value = tokens.textBytes();
      } else if (member === "name" || member === "value") {
        throw tokens.error("DECANT_E_JSON_ENTRY", `an extended attribute has "${member}" twice`, DAMAGE_HINT);
      } else {
        this.#warn("unknown-member", UNKNOWN_MEMBER_TEXT, `xattrs.${member}`);
        skipUnknown(tokens, this.#skipper, member);
      }
    });
    this.#checkName(name);
    if (tokens.isSalvaging && (value === undefined || name!.length > MAX_NAME_BYTES)) {
      const problem = value === undefined ? "no value" : `a name of ${name!.length} bytes`;
      throw tokens.error("DECANT_E_JSON_ENTRY", `an extended attribute has ${problem}`, DAMAGE_HINT);
    }
    if (value === undefined)
      this.#warn("xattr-value", "Extended attributes without a value were taken as empty", printableName(name!));
    this.#append(name!, value ?? Buffer.alloc(0));
  }

  #checkName(name: Buffer | undefined): void {
    const tokens = this.#tokens;
    if (name === undefined || name.length === 0) {
      throw tokens.error("DECANT_E_JSON_ENTRY", "an extended attribute has no name", DAMAGE_HINT);
    }
    if (name.length > 0xffff) {
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        `the name of an extended attribute has ${name.length} bytes`,
        DAMAGE_HINT,
      );
    }
    const isAscending = this.#lastName === undefined || Buffer.compare(this.#lastName, name) < 0;
    if (!isAscending) this.#names ??= this.#collectNames();
    const key = this.#names === undefined ? "" : name.toString("latin1");
    if (this.#names?.has(key)) {
      throw tokens.error(
        "DECANT_E_JSON_ENTRY",
        `the extended attribute "${printableName(name)}" is listed twice`,
        DAMAGE_HINT,
      );
    }
    this.#names?.add(key);
    if (isAscending) this.#lastName = name;
  }

  #collectNames(): Set<string> {
    const names = new Set<string>();
    const bytes = this.list.buffer;
    let at = 0;
    while (at < this.list.length) {
      const nameSize = bytes.readUInt16BE(at);
      names.add(bytes.toString("latin1", at + XATTR_HEAD, at + XATTR_HEAD + nameSize));
      at += XATTR_HEAD + nameSize + bytes.readUInt32BE(at + 2);
    }
    return names;
  }

  #append(name: Buffer, value: Buffer): void {
    const size = XATTR_HEAD + name.length + value.length;
    if (this.list.length + size > MAX_TOKEN_BYTES) {
      throw this.#tokens.error(
        "DECANT_E_JSON_LIMIT",
        `the extended attributes have more than ${MAX_TOKEN_BYTES} bytes together`,
        DAMAGE_HINT,
      );
    }
    this.list.writeU16(name.length);
    this.list.writeU32(value.length);
    this.list.writeBytes(name);
    this.list.writeBytes(value);
  }
}
