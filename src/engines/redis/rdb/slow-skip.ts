import { type RdbDecoder, STARVED } from "./rdb-decoder.ts";
import { cut } from "./rdb-errors.ts";
import type { RdbValueType } from "./rdb-types.ts";
import type { ByteSource } from "./rdb-window.ts";

/** What stands in values of modules (type 7) and in what modules add to the file. */
const MODULE_END = 0;
const MODULE_SIGNED = 1;
const MODULE_UNSIGNED = 2;
const MODULE_FLOAT = 3;
const MODULE_DOUBLE = 4;
const MODULE_STRING = 5;

/** Bytes of a number of a stream entry, and of a time. */
const STREAM_ID_BYTES = 16;
const TIME_BYTES = 8;

/** Longest head of a string: encoding, and two lengths of nine bytes. */
const HEAD_BYTES = 19;

/**
 * Skips values of any size and kind by their structure, bytes that are not at hand included. Slower than the reader itself, and for
 * what that cannot do: what is larger than the window, streams and modules.
 */
export class SlowSkip {
  readonly #decoder: RdbDecoder;
  readonly #source: ByteSource;

  constructor(decoder: RdbDecoder, source: ByteSource) {
    this.#decoder = decoder;
    this.#source = source;
  }

  async value(type: RdbValueType): Promise<void> {
    switch (type.layout) {
      case "stream":
        return this.#stream(type.version!);
      case "module":
        await this.#number(); // of the module
        return this.module();
      case "string":
      case "container":
        if (type.expiry === "relative") await this.bytes(TIME_BYTES);
        return this.string();
      default:
        if (type.expiry === "relative") await this.bytes(TIME_BYTES);
        return this.elements(type, await this.length());
    }
  }

  /** Numbers and strings of a module, to their end. */
  async module(): Promise<void> {
    for (;;) {
      const kind = await this.length();
      switch (kind) {
        case MODULE_END:
          return;
        case MODULE_SIGNED:
        case MODULE_UNSIGNED:
          await this.#number();
          break;
        case MODULE_FLOAT:
          await this.bytes(4);
          break;
        case MODULE_DOUBLE:
          await this.bytes(8);
          break;
        case MODULE_STRING:
          await this.string();
          break;
        default:
          throw this.#decoder.damaged(`the data of a module have a part of the unknown kind ${kind}`);
      }
    }
  }

  async length(): Promise<number> {
    await this.#ahead();
    return this.#complete(() => this.#decoder.length());
  }

  async #number(): Promise<void> {
    await this.#ahead();
    this.#complete(() => this.#decoder.skipNumber());
  }

  async string(): Promise<void> {
    await this.#ahead();
    await this.bytes(this.#complete(() => this.#decoder.storedSize()));
  }

  async bytes(size: number): Promise<void> {
    const { window } = this.#decoder;
    let left = size;
    for (;;) {
      const count = Math.min(left, window.end - window.at);
      window.at += count;
      left -= count;
      this.#decoder.commit();
      if (left === 0) return;
      if (!(await window.fill(1))) throw this.#cut();
    }
  }

  /** That many elements of a value. */
  async elements(type: RdbValueType, count: number): Promise<void> {
    const { layout, expiry } = type;
    const strings = type.type === "hash" ? 2 : 1;
    for (let left = count - this.#atHand(type, count); left > 0; left -= 1 + this.#atHand(type, left - 1)) {
      if (layout === "nodes" || expiry === "absolute" || expiry === "relative") await this.length();
      for (let k = 0; k < strings; k++) await this.string();
      if (layout === "scored-double" || expiry === "trailing") await this.bytes(8);
      if (layout === "scored-text") await this.#textDouble();
    }
  }

  /** Skips elements as long as they are whole in the window, which takes no promise for each; returns how many. */
  #atHand(type: RdbValueType, count: number): number {
    const decoder = this.#decoder;
    let done = 0;
    try {
      for (; done < count; done++) {
        decoder.commit();
        skipElement(decoder, type);
      }
      decoder.commit();
    } catch (error) {
      if (error !== STARVED) throw error;
      decoder.window.at = decoder.mark;
    }
    return done;
  }

  async #textDouble(): Promise<void> {
    await this.#ahead();
    const size = this.#complete(() => this.#decoder.byte());
    if (size < 253) await this.bytes(size);
  }

  /** Entries in listpacks, then what is known of them, then groups with their consumers and what these have not acknowledged. */
  async #stream(version: number): Promise<void> {
    for (let listpacks = await this.length(); listpacks > 0; listpacks--) {
      await this.string(); // number of the first entry
      await this.string();
    }
    // length, last number (2 lengths); since version 2 first number, largest deleted number, entries added
    for (let i = 0; i < (version >= 2 ? 8 : 3); i++) await this.#number();
    for (let groups = await this.length(); groups > 0; groups--) {
      await this.string();
      for (let i = 0; i < (version >= 2 ? 3 : 2); i++) await this.#number();
      for (let pending = await this.length(); pending > 0; pending--) {
        await this.bytes(STREAM_ID_BYTES + TIME_BYTES);
        await this.#number(); // deliveries
      }
      for (let consumers = await this.length(); consumers > 0; consumers--) {
        await this.string();
        await this.bytes(version >= 3 ? 2 * TIME_BYTES : TIME_BYTES);
        const pending = await this.length();
        await this.bytes(pending * STREAM_ID_BYTES);
      }
    }
  }

  /** So much that any head can be read, or all that is left. */
  async #ahead(): Promise<void> {
    const { window } = this.#decoder;
    this.#decoder.commit();
    if (window.end - window.at >= HEAD_BYTES) return;
    await window.fill(HEAD_BYTES);
    this.#decoder.commit();
  }

  #complete<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw error === STARVED ? this.#cut() : error;
    }
  }

  #cut(): Error {
    const { window, keyName } = this.#decoder;
    return cut(this.#source.name, window.offsetOf(window.end), keyName);
  }
}

/** Skips an element of a value that is a count and that many elements. Throws `STARVED` when it is not whole in the window. */
export function skipElement(decoder: RdbDecoder, { layout, expiry, type }: RdbValueType): void {
  if (layout === "nodes" || expiry === "absolute" || expiry === "relative") decoder.length();
  decoder.skip(decoder.storedSize());
  if (type === "hash") decoder.skip(decoder.storedSize());
  if (layout === "scored-double" || expiry === "trailing") decoder.skip(8);
  if (layout === "scored-text") decoder.textDouble();
}
