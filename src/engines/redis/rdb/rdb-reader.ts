import { viewOf } from "../../../base/bytes.ts";
import { DataError } from "../../../base/errors.ts";
import { type OnLoss, printableKey } from "../../notes.ts";
import { ContainerDamage, openContainer } from "./containers.ts";
import { Crc64 } from "./crc64.ts";
import type { RdbConsumer, ValueHandler } from "./rdb-consumer.ts";
import { MAX_PIECE_BYTES, RdbDecoder, STARVED } from "./rdb-decoder.ts";
import { readEnd } from "./rdb-end.ts";
import { cut, damaged, TOO_LARGE, tooLarge } from "./rdb-errors.ts";
import { readHead } from "./rdb-head.ts";
import { RdbText } from "./rdb-text.ts";
import {
  OPCODE_AUX,
  OPCODE_DATABASE,
  OPCODE_END,
  OPCODE_EXPIRE,
  OPCODE_EXPIRE_MS,
  OPCODE_FREQUENCY,
  OPCODE_FUNCTION,
  OPCODE_IDLE,
  OPCODE_MODULE_AUX,
  OPCODE_RESIZE,
  OPCODE_SLOT_INFO,
  type RdbValueType,
  valueTypes,
} from "./rdb-types.ts";
import { type ByteSource, RdbWindow } from "./rdb-window.ts";
import { SlowSkip, skipElement } from "./slow-skip.ts";

export interface RdbReaderOptions {
  /** Compute the checksum and compare it with that of the file; not for who stops before the end. */
  readonly checksum: boolean;
  /**
   * Called for each part that is damaged, which is left out; else, and for a stream that ends or cannot be followed any more, `read`
   * throws.
   */
  readonly onLoss?: OnLoss;
  /** What stands behind the file in a stream, asked for at its end; behind a file of its own nothing does. */
  readonly trailer?: () => Buffer | undefined;
}

/** A value that is not wanted is skipped part by part when so many of its bytes are at hand and more are needed. */
const SLOW_SKIP_BYTES = 256 * 1024;
/** Quicklist nodes: one plain element, or a listpack. */
const PLAIN_NODE = 1;
const PACKED_NODE = 2;

/** What is read next. A step is repeated from its beginning when bytes are missing, so each of these is a place to begin. */
const PHASE = { key: 0, value: 1, elements: 2, skip: 3, end: 4, skipRest: 5 } as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

/** What makes an end of a file that is read as far as it goes. */
const END_OF_FILE: ReadonlySet<string> = new Set(["DECANT_E_RDB_DAMAGED", "DECANT_E_RDB_CUT", TOO_LARGE]);

type Outcome = "full" | "starved" | "slow" | "end";

/**
 * Reads an RDB file of Redis 2.4 to 8 or Valkey: gives the values of wanted keys to handlers, element by element, and skips all others
 * by their structure. Memory does not depend on the size of values, but for those that are one piece in the file. Throws `DataError`
 * with the offset for what cannot be right.
 */
export class RdbReader {
  /** When the state was taken, in Unix milliseconds; undefined where the file does not say so (before Redis 3.2). */
  createdAt: number | undefined;
  /** The file is the base of an append-only file: later writes stand elsewhere. */
  isAppendOnlyBase = false;
  readonly #source: ByteSource;
  readonly #consumer: RdbConsumer;
  readonly #options: RdbReaderOptions;
  readonly #checksum: Crc64 | undefined;
  readonly #window: RdbWindow;
  readonly #decoder: RdbDecoder;
  readonly #slow: SlowSkip;
  readonly #key = new RdbText();
  readonly #first = new RdbText();
  readonly #second = new RdbText();
  readonly #third = new RdbText();
  readonly #piece = new RdbText();
  #types: readonly (RdbValueType | undefined)[] = [];
  #version = 0;
  #phase: Phase = PHASE.key;
  #isWanted = true;
  /** Unix milliseconds; 0 = never. */
  #expires = 0;
  #type: RdbValueType = { type: "other", layout: "string" };
  #handler: ValueHandler | undefined;
  #hasKey = false;
  /** The key as text, and where damage is skipped as bytes, once it is no longer in the window. */
  #keptKey: string | undefined;
  #isKeyKept = false;
  #left = 0;
  #smallestExpiry = 0;

  constructor(source: ByteSource, consumer: RdbConsumer, options: RdbReaderOptions) {
    this.#source = source;
    this.#consumer = consumer;
    this.#options = options;
    this.#checksum = options.checksum ? new Crc64() : undefined;
    this.#window = new RdbWindow(source, this.#checksum);
    this.#decoder = new RdbDecoder(this.#window, source, () => this.#keyName(), options.onLoss !== undefined);
    this.#slow = new SlowSkip(this.#decoder, source);
  }

  /** Reads until the consumer is full (true) or the file ends (false), where it is checked that it ends well. */
  async read(): Promise<boolean> {
    try {
      return await this.#read();
    } catch (error) {
      if (!this.#isEndOfFile(error)) throw error;
      this.#loseRest(error);
      return false;
    }
  }

  async #read(): Promise<boolean> {
    const [window, decoder] = [this.#window, this.#decoder];
    if (this.#version === 0) await this.#readHead();
    for (;;) {
      const outcome = this.#run();
      if (outcome === "full") return true;
      if (outcome === "end") {
        await this.#readEnd();
        return false;
      }
      this.#keepKey();
      if (outcome === "slow") await this.#skipSlowly();
      else if (!(await window.fill(decoder.needed))) {
        throw cut(this.#source.name, window.offsetOf(window.end), this.#keptKey);
      }
      decoder.commit();
    }
  }

  #run(): Outcome {
    for (;;) {
      const outcome = this.#steps();
      if (outcome !== "skipped") return outcome;
    }
  }

  #steps(): Outcome | "skipped" {
    const decoder = this.#decoder;
    try {
      for (;;) {
        if (this.#consumer.isFull) return "full";
        decoder.commit();
        if (this.#phase === PHASE.key) this.#readKey();
        else if (this.#phase === PHASE.value) this.#readValue(this.#type, this.#handler!);
        else if (this.#phase === PHASE.elements) this.#readElements(this.#type, this.#handler!);
        else if (this.#phase === PHASE.skip) this.#skipValue(this.#type);
        else return this.#phase === PHASE.end ? "end" : "slow";
      }
    } catch (error) {
      if (this.#skipsDamage(error)) return "skipped";
      if (error instanceof ContainerDamage) throw decoder.damaged(error.message);
      if (error !== STARVED) throw error;
      this.#window.at = decoder.mark;
      const size = Math.max(decoder.needed, this.#window.end - decoder.mark);
      if (this.#phase === PHASE.skip) return size > SLOW_SKIP_BYTES ? "slow" : "starved";
      if (decoder.needed <= 2 * MAX_PIECE_BYTES) return "starved";
      const offset = this.#window.offsetOf(decoder.mark);
      const failure = tooLarge(this.#source.name, size, MAX_PIECE_BYTES, offset, this.#keyName());
      if (this.#skipsDamage(failure)) return "skipped";
      throw failure;
    }
  }

  /** Goes on behind what is damaged in the value at hand, where it is known where that ends. */
  #skipsDamage(error: unknown): boolean {
    const handler = this.#handler;
    const isInValue = this.#phase === PHASE.value || this.#phase === PHASE.elements;
    if (this.#options.onLoss === undefined || handler === undefined || !isInValue) return false;
    if (error instanceof ContainerDamage) {
      // the piece has been read, and with it the value or one element of it
      this.#lose(handler, error.message);
      if (this.#phase === PHASE.value) this.#endValue(handler);
      else this.#left--;
      this.#decoder.commit();
      return true;
    }
    if (!(error instanceof DataError) || error.code !== TOO_LARGE) return false;
    this.#window.at = this.#decoder.mark;
    this.#lose(handler, error.message);
    handler.end();
    this.#phase = this.#phase === PHASE.value ? PHASE.skip : PHASE.skipRest;
    return true;
  }

  /** A part of the value at hand is lost. */
  #lose(handler: ValueHandler, what: string): void {
    handler.spoil();
    this.#options.onLoss!(
      this.#consumer.lost(this.#key, `${what} (byte ${this.#window.offsetOf(this.#decoder.mark)})`),
    );
  }

  /** Whether the strings that were just read are of no use, which is then told. */
  #isBroken(handler: ValueHandler): boolean {
    const { broken } = this.#decoder;
    if (broken === undefined) return false;
    this.#decoder.broken = undefined;
    this.#lose(handler, broken);
    return true;
  }

  /** A file that cannot be followed any more ends there, where losses are told; a stream can be asked for again. */
  #isEndOfFile(error: unknown): error is DataError {
    const { onLoss, trailer } = this.#options;
    return onLoss !== undefined && trailer === undefined && error instanceof DataError && END_OF_FILE.has(error.code);
  }

  #loseRest(error: DataError): void {
    const message = `${error.message}: all that stands behind it is lost`;
    this.#consumer.loseUnknown();
    const isInValue = this.#phase === PHASE.value || this.#phase === PHASE.elements;
    if (!isInValue) return this.#options.onLoss!({ kind: undefined, message });
    this.#handler!.spoil();
    this.#handler!.end();
    this.#options.onLoss!({ ...this.#consumer.lost(this.#key, ""), message });
  }

  /** The key goes away with the part of the window that it stands in. */
  #keepKey(): void {
    this.#keptKey = this.#keyName();
    if (this.#isKeyKept || this.#keptKey === undefined || this.#options.onLoss === undefined) return;
    const bytes = this.#key.copy();
    this.#key.point(bytes, viewOf(bytes), 0, bytes.length);
    this.#isKeyKept = true;
  }

  /** The key whose value is read; undefined between values, and where what is skipped has none. */
  #keyName(): string | undefined {
    if (this.#phase === PHASE.key || this.#phase === PHASE.end || !this.#hasKey) return undefined;
    return this.#keptKey ?? printableKey(this.#key.bytes, this.#key.start, this.#key.end);
  }

  async #readHead(): Promise<void> {
    const { version, magic } = await readHead(this.#window, this.#source.name);
    this.#version = version;
    this.#types = valueTypes(magic);
    this.#decoder.commit();
  }

  #readKey(): void {
    const decoder = this.#decoder;
    this.#keptKey = undefined;
    this.#isKeyKept = false;
    this.#hasKey = false;
    const code = decoder.byte();
    if (code >= OPCODE_SLOT_INFO) return this.#readOpcode(code);
    const type = this.#types[code];
    if (type === undefined) {
      throw this.#unknownType(code);
    }
    decoder.string(this.#key);
    if (decoder.broken !== undefined) return this.#skipNameless(type, decoder.broken);
    this.#hasKey = true;
    this.#type = type;
    const expires = this.#expires;
    this.#handler = this.#isWanted && !this.#isPast(expires) ? this.#consumer.handlerFor(this.#key) : undefined;
    this.#expires = 0;
    if (this.#handler !== undefined && this.#handler.type !== type.type) {
      this.#consumer.wrongType(this.#key);
      this.#handler = undefined;
    }
    this.#phase = this.#handler === undefined ? PHASE.skip : PHASE.value;
  }

  #skipNameless(type: RdbValueType, what: string): void {
    this.#decoder.broken = undefined;
    this.#expires = 0;
    this.#consumer.loseUnknown();
    const place = `${this.#source.name} has a key at byte ${this.#window.offsetOf(this.#decoder.mark)}`;
    this.#options.onLoss!({ kind: undefined, message: `${place} that cannot be read: ${what}` });
    this.#beginSkip(type);
  }

  /** Names the key, where what stands there can be one. */
  #unknownType(code: number): Error {
    let key: string | undefined;
    try {
      this.#decoder.string(this.#key);
      key = printableKey(this.#key.bytes, this.#key.start, this.#key.end);
    } catch {
      // then the place alone has to do
    }
    const offset = this.#window.offsetOf(this.#decoder.mark);
    return damaged(this.#source.name, `a value of the unknown type ${code}`, offset, key);
  }

  /** What had expired when the file was made is not part of the state, though it may be in the file. */
  #isPast(expires: number): boolean {
    return expires > 0 && this.createdAt !== undefined && expires <= this.createdAt;
  }

  #readOpcode(code: number): void {
    const decoder = this.#decoder;
    switch (code) {
      case OPCODE_DATABASE: {
        const database = decoder.length();
        this.#isWanted = this.#consumer.wantsDatabase(database);
        return;
      }
      case OPCODE_EXPIRE_MS:
        this.#expires = decoder.int64();
        return;
      case OPCODE_EXPIRE:
        decoder.need(4);
        this.#window.at += 4;
        this.#expires = this.#window.view.getInt32(this.#window.at - 4, true) * 1000;
        return;
      case OPCODE_FREQUENCY:
        return decoder.skip(1);
      case OPCODE_IDLE:
        decoder.length();
        return;
      case OPCODE_RESIZE:
        decoder.length();
        decoder.length();
        return;
      case OPCODE_SLOT_INFO: // slot, keys in it, keys of these that expire
        for (let i = 0; i < 3; i++) decoder.length();
        return;
      case OPCODE_AUX:
        return this.#readAux();
      case OPCODE_FUNCTION:
        return this.#beginSkip({ type: "other", layout: "string" });
      case OPCODE_MODULE_AUX:
        // number of the module, which stands before the values of modules as well, then numbers and strings
        return this.#beginSkip({ type: "other", layout: "module" });
      case OPCODE_END:
        this.#phase = PHASE.end;
        return;
      default:
        throw decoder.damaged(`the unknown code ${code}`);
    }
  }

  #beginSkip(type: RdbValueType): void {
    this.#type = type;
    this.#phase = PHASE.skip;
  }

  #readAux(): void {
    this.#decoder.string(this.#first);
    this.#decoder.string(this.#second);
    this.#decoder.broken = undefined;
    const name = this.#first.toString();
    const value = this.#second.toString();
    if (name === "ctime" && /^[0-9]{1,12}$/.test(value)) this.createdAt = Number(value) * 1000;
    if (name === "aof-base" && value === "1") this.isAppendOnlyBase = true;
  }

  #readValue(type: RdbValueType, handler: ValueHandler): void {
    const decoder = this.#decoder;
    if (type.layout === "string") {
      decoder.string(this.#first);
      if (!this.#isBroken(handler)) handler.string(this.#first);
      return this.#endValue(handler);
    }
    if (type.expiry === "relative") this.#smallestExpiry = decoder.int64();
    if (type.layout === "container") {
      decoder.string(this.#piece);
      if (!this.#isBroken(handler)) this.#readContainer(type, handler);
      return this.#endValue(handler);
    }
    this.#left = decoder.length();
    this.#phase = PHASE.elements;
  }

  #endValue(handler: ValueHandler): void {
    handler.end();
    this.#phase = PHASE.key;
  }

  #readElements(type: RdbValueType, handler: ValueHandler): void {
    const decoder = this.#decoder;
    while (this.#left > 0) {
      this.#readElement(type, handler);
      decoder.commit();
      this.#left--;
      if (this.#consumer.isFull) return;
    }
    this.#endValue(handler);
  }

  #readElement(type: RdbValueType, handler: ValueHandler): void {
    const decoder = this.#decoder;
    switch (type.layout) {
      case "strings":
        decoder.string(this.#first);
        if (type.type === "hash") decoder.string(this.#second);
        if (this.#isBroken(handler)) return;
        if (type.type !== "hash") return handler.item(this.#first);
        return handler.pair(this.#first, this.#second);
      case "scored-double":
      case "scored-text": {
        decoder.string(this.#first);
        const score = type.layout === "scored-double" ? decoder.double() : decoder.textDouble();
        if (this.#isBroken(handler)) return;
        return handler.scored(this.#first, score);
      }
      case "expiring":
        return this.#readExpiring(type, handler);
      case "nodes": {
        const node = decoder.length();
        if (node !== PLAIN_NODE && node !== PACKED_NODE) throw decoder.damaged(`a list has a part of the kind ${node}`);
        decoder.string(this.#piece);
        if (this.#isBroken(handler)) return;
        if (node === PLAIN_NODE) handler.item(this.#piece);
        else this.#readContainer(type, handler);
        return;
      }
      default:
        decoder.string(this.#piece);
        if (this.#isBroken(handler)) return;
        return this.#readContainer(type, handler);
    }
  }

  #readExpiring(type: RdbValueType, handler: ValueHandler): void {
    const decoder = this.#decoder;
    let expires = type.expiry === "trailing" ? 0 : decoder.length();
    if (type.expiry === "relative" && expires > 0) expires += this.#smallestExpiry - 1;
    decoder.string(this.#first);
    decoder.string(this.#second);
    if (type.expiry === "trailing") expires = decoder.int64();
    if (this.#isBroken(handler)) return;
    if (!this.#isPast(expires)) handler.pair(this.#first, this.#second);
  }

  #readContainer(type: RdbValueType, handler: ValueHandler): void {
    const cursor = openContainer(type.container!, this.#piece);
    const [first, second, third] = [this.#first, this.#second, this.#third];
    while (cursor.next(first)) {
      if (type.type === "list" || type.type === "set") {
        handler.item(first);
        continue;
      }
      if (!cursor.next(second)) throw new ContainerDamage("an entry without its value at the end");
      if (type.type === "zset") {
        handler.scored(first, Number(second.toString()));
        continue;
      }
      if (type.expiry !== undefined) {
        if (!cursor.next(third)) throw new ContainerDamage("a field without its time at the end");
        if (this.#isPast(Number(third.toString()))) continue;
      }
      handler.pair(first, second);
    }
  }

  #skipValue(type: RdbValueType): void {
    const { layout, expiry } = type;
    if (layout === "stream" || layout === "module") {
      this.#decoder.needed = Number.POSITIVE_INFINITY;
      throw STARVED;
    }
    if (expiry === "relative") this.#decoder.skip(8);
    if (layout === "string" || layout === "container") this.#decoder.skip(this.#decoder.storedSize());
    else for (let left = this.#decoder.length(); left > 0; left--) skipElement(this.#decoder, type);
    this.#phase = PHASE.key;
  }

  async #skipSlowly(): Promise<void> {
    if (this.#phase === PHASE.skipRest) await this.#slow.elements(this.#type, this.#left);
    else await this.#slow.value(this.#type);
    this.#phase = PHASE.key;
  }

  #readEnd(): Promise<void> {
    return readEnd(this.#window, this.#source.name, this.#version, { ...this.#options, checksum: this.#checksum });
  }
}
