import { DataError } from "../../../base/errors.ts";
import { printableKey } from "../../notes.ts";
import {
  type ContainerCursor,
  ContainerDamage,
  IntsetCursor,
  ListpackCursor,
  ZiplistCursor,
  ZipmapCursor,
} from "./containers.ts";
import { Crc64 } from "./crc64.ts";
import type { RdbConsumer, ValueHandler } from "./rdb-consumer.ts";
import { MAX_PIECE_BYTES, RdbDecoder, STARVED } from "./rdb-decoder.ts";
import { cut, damaged, tooLarge } from "./rdb-errors.ts";
import { RdbText } from "./rdb-text.ts";
import {
  CHECKSUM_VERSION,
  type ContainerKind,
  MAX_VERSION,
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
  /** What stands behind the file in a stream, asked for at its end; behind a file of its own nothing does. */
  readonly trailer?: () => Buffer | undefined;
}

const HEAD_BYTES = 9;
const CHECKSUM_BYTES = 8;
/** A value that is not wanted is skipped part by part when so many of its bytes are at hand and more are needed. */
const SLOW_SKIP_BYTES = 256 * 1024;
/** Quicklist nodes: one plain element, or a listpack. */
const PLAIN_NODE = 1;
const PACKED_NODE = 2;

/** What is read next. A step is repeated from its beginning when bytes are missing, so each of these is a place to begin. */
const PHASE = { key: 0, value: 1, elements: 2, skip: 3, end: 4 } as const;
type Phase = (typeof PHASE)[keyof typeof PHASE];

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
  /** The key as text, once it is no longer in the window. */
  #keptKey: string | undefined;
  #left = 0;
  #smallestExpiry = 0;

  constructor(source: ByteSource, consumer: RdbConsumer, options: RdbReaderOptions) {
    this.#source = source;
    this.#consumer = consumer;
    this.#options = options;
    this.#checksum = options.checksum ? new Crc64() : undefined;
    this.#window = new RdbWindow(source, this.#checksum);
    this.#decoder = new RdbDecoder(this.#window, source, () => this.#keyName());
    this.#slow = new SlowSkip(this.#decoder, source);
  }

  /** Reads until the consumer is full (true) or the file ends (false), where it is checked that it ends well. */
  async read(): Promise<boolean> {
    const [window, decoder] = [this.#window, this.#decoder];
    if (this.#version === 0) await this.#readHead();
    for (;;) {
      const outcome = this.#run();
      if (outcome === "full") return true;
      if (outcome === "end") {
        await this.#readEnd();
        return false;
      }
      // the key goes away with the part of the window that it stands in
      this.#keptKey = this.#keyName();
      if (outcome === "slow") await this.#skipSlowly();
      else if (!(await window.fill(decoder.needed))) {
        throw cut(this.#source.name, window.offsetOf(window.end), this.#keptKey);
      }
      decoder.commit();
    }
  }

  #run(): Outcome {
    const decoder = this.#decoder;
    try {
      for (;;) {
        if (this.#consumer.isFull) return "full";
        decoder.commit();
        if (this.#phase === PHASE.key) this.#readKey();
        else if (this.#phase === PHASE.value) this.#readValue(this.#type, this.#handler!);
        else if (this.#phase === PHASE.elements) this.#readElements(this.#type, this.#handler!);
        else if (this.#phase === PHASE.skip) this.#skipValue(this.#type);
        else return "end";
      }
    } catch (error) {
      if (error instanceof ContainerDamage) throw decoder.damaged(error.message);
      if (error !== STARVED) throw error;
      this.#window.at = decoder.mark;
      const size = Math.max(decoder.needed, this.#window.end - decoder.mark);
      if (this.#phase === PHASE.skip) return size > SLOW_SKIP_BYTES ? "slow" : "starved";
      if (decoder.needed <= 2 * MAX_PIECE_BYTES) return "starved";
      throw tooLarge(this.#source.name, size, MAX_PIECE_BYTES, this.#window.offsetOf(decoder.mark), this.#keyName());
    }
  }

  /** The key whose value is read; undefined between values, and where what is skipped has none. */
  #keyName(): string | undefined {
    if (this.#phase === PHASE.key || this.#phase === PHASE.end || !this.#hasKey) return undefined;
    return this.#keptKey ?? printableKey(this.#key.bytes, this.#key.start, this.#key.end);
  }

  async #readHead(): Promise<void> {
    const window = this.#window;
    const { name } = this.#source;
    await window.fill(HEAD_BYTES);
    const head = window.bytes.toString("latin1", 0, Math.min(window.end, HEAD_BYTES));
    const match = /^(?:(REDIS)([0-9]{4})|(VALKEY)([0-9]{3}))$/.exec(head);
    if (match === null) {
      if (window.end < HEAD_BYTES && "REDIS".startsWith(head.slice(0, 5))) throw cut(name, window.end);
      throw new DataError("DECANT_E_RDB_FORMAT", `${name} is no RDB file: it begins with ${JSON.stringify(head)}`, {
        location: { offset: 0 },
        hint: head.startsWith("\x1f\x8b")
          ? "It is compressed by gzip: decompress it first"
          : "Take the file that SAVE, BGSAVE or redis-cli --rdb writes; an append-only file is none",
      });
    }
    const magic = (match[1] ?? match[3]) as "REDIS" | "VALKEY";
    this.#version = Number(match[2] ?? match[4]);
    if (this.#version < 1 || this.#version > MAX_VERSION[magic]) {
      throw new DataError(
        "DECANT_E_RDB_VERSION",
        `${name} is of RDB version ${this.#version} of ${magic === "REDIS" ? "Redis" : "Valkey"}, newer than ${MAX_VERSION[magic]}`,
        { location: { offset: 5 }, hint: "Take a newer decant, or dump from the server with --snapshot tracking" },
      );
    }
    this.#types = valueTypes(magic);
    window.at = HEAD_BYTES;
    this.#decoder.commit();
  }

  #readKey(): void {
    const decoder = this.#decoder;
    this.#keptKey = undefined;
    this.#hasKey = false;
    const code = decoder.byte();
    if (code >= OPCODE_SLOT_INFO) return this.#readOpcode(code);
    const type = this.#types[code];
    if (type === undefined) {
      throw this.#unknownType(code);
    }
    decoder.string(this.#key);
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
    const name = this.#first.toString();
    const value = this.#second.toString();
    if (name === "ctime" && /^[0-9]+$/.test(value)) this.createdAt = Number(value) * 1000;
    if (name === "aof-base" && value === "1") this.isAppendOnlyBase = true;
  }

  #readValue(type: RdbValueType, handler: ValueHandler): void {
    const decoder = this.#decoder;
    if (type.layout === "string") {
      decoder.string(this.#first);
      handler.string(this.#first);
      return this.#endValue(handler);
    }
    if (type.expiry === "relative") this.#smallestExpiry = decoder.int64();
    if (type.layout === "container") {
      decoder.string(this.#piece);
      this.#readContainer(type, handler);
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
        if (type.type !== "hash") return handler.item(this.#first);
        decoder.string(this.#second);
        return handler.pair(this.#first, this.#second);
      case "scored-double":
      case "scored-text": {
        decoder.string(this.#first);
        const score = type.layout === "scored-double" ? decoder.double() : decoder.textDouble();
        return handler.scored(this.#first, score);
      }
      case "expiring":
        return this.#readExpiring(type, handler);
      case "nodes": {
        const node = decoder.length();
        if (node !== PLAIN_NODE && node !== PACKED_NODE) throw decoder.damaged(`a list has a part of the kind ${node}`);
        decoder.string(this.#piece);
        if (node === PLAIN_NODE) handler.item(this.#piece);
        else this.#readContainer(type, handler);
        return;
      }
      default:
        decoder.string(this.#piece);
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
    await this.#slow.value(this.#type);
    this.#phase = PHASE.key;
  }

  /** The checksum, and that nothing comes behind it. */
  async #readEnd(): Promise<void> {
    const window = this.#window;
    const { name } = this.#source;
    window.updateChecksum();
    if (this.#version >= CHECKSUM_VERSION) {
      if (!(await window.fill(CHECKSUM_BYTES))) throw cut(name, window.offsetOf(window.end));
      this.#compareChecksum(window.view.getBigUint64(window.at, true));
      window.at += CHECKSUM_BYTES;
    }
    const trailer = this.#options.trailer?.();
    const offset = window.offsetOf(window.at);
    if (trailer === undefined) {
      if (!(await window.fill(1))) return;
      throw new DataError("DECANT_E_RDB_TRAILING", `${name} goes on behind its end at byte ${offset}`, {
        location: { offset },
        hint: "An append-only file that begins as an RDB is no RDB file: take that of SAVE or BGSAVE",
      });
    }
    const isThere = await window.fill(trailer.length);
    if (isThere && trailer.equals(window.bytes.subarray(window.at, window.at + trailer.length))) return;
    throw damaged(name, "what the server announced as the end does not come there", offset);
  }

  /** A server that is told not to compute checksums writes 0. */
  #compareChecksum(stored: bigint): void {
    const computed = this.#checksum?.value;
    if (computed === undefined || stored === 0n || stored === computed) return;
    const hex = (value: bigint): string => value.toString(16).padStart(16, "0");
    throw new DataError(
      "DECANT_E_RDB_CHECKSUM",
      `The checksum of ${this.#source.name} is wrong: ${hex(stored)} is stored, ${hex(computed)} is that of its bytes`,
      { location: { offset: this.#window.offsetOf(this.#window.at) }, hint: "The file is damaged: take another one" },
    );
  }
}

function openContainer(kind: ContainerKind, piece: RdbText): ContainerCursor {
  switch (kind) {
    case "listpack":
      return new ListpackCursor(piece);
    case "ziplist":
      return new ZiplistCursor(piece);
    case "zipmap":
      return new ZipmapCursor(piece);
    case "intset":
      return new IntsetCursor(piece);
  }
}
