import { viewOf } from "../../base/bytes.ts";
import { EngineError } from "../../base/errors.ts";

/**
 * Replies of a Redis server (RESP2), cut into tokens without copying. A token is three numbers:
 *
 *   0 kind    the reply's first byte: `+ - : $ *`, and `>` for a message that RESP3 brings unasked
 *   1 start   offset of the payload in `bytes`
 *   2 size    bytes of the payload, for `*` the number of elements (whose tokens follow); -1 for nil
 *
 * Borrowed: valid until the next read on the same connection.
 */
export interface ReplyBlock {
  readonly bytes: Buffer;
  /** The same for numbers. */
  readonly view: DataView;
  readonly tokens: Int32Array;
  /** Number of tokens (not of numbers). */
  readonly tokenCount: number;
  /** Number of whole replies. */
  readonly replies: number;
}

export const TOKEN_SIMPLE = 0x2b;
export const TOKEN_ERROR = 0x2d;
export const TOKEN_INTEGER = 0x3a;
export const TOKEN_BULK = 0x24;
export const TOKEN_ARRAY = 0x2a;
/** A message of RESP3 (`>`): like an array, its elements follow. */
export const TOKEN_PUSH = 0x3e;
const MAP = 0x25;
const NULL = 0x5f;
/** Numbers per token. */
export const TOKEN_STRIDE = 3;

/** A single string is at most 512 MiB in Redis (proto-max-bulk-len); more is not a reply. */
const MAX_BULK_BYTES = 512 * 1024 * 1024;

/**
 * Turns the bytes of a stream into tokens. `push` adds what came from the socket; `parse` consumes whole replies and can
 * be called again whenever it says that bytes are missing.
 */
export class RespParser {
  #buffer: Buffer;
  /** A buffer that was left for another one, to be filled again. */
  #spare: Buffer | undefined;
  /** The same, but the block handed out last stands in it. */
  #lent: Buffer | undefined;
  /** A block is in use: until `begin`, its bytes must stay where they are. */
  #isLent = false;
  /** Start of the block that is being made; everything before it belongs to blocks handed out. */
  #blockStart = 0;
  #at = 0;
  #end = 0;
  #tokens = new Int32Array(TOKEN_STRIDE * 4096);
  #tokenCount = 0;
  #replies = 0;
  /** Elements that the reply being parsed still lacks. */
  #open = 0;
  /** `#end` must reach this before it makes sense to go on. */
  #needed = 0;

  constructor(capacity: number = 1024 * 1024) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  /** Bytes received and not yet handed out. */
  get pendingBytes(): number {
    return this.#end - this.#blockStart;
  }

  push(chunk: Uint8Array): void {
    if (this.#end + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /**
   * Moves what is unread to the front of the buffer, or to that of another one while a block in this one is in use. Two buffers
   * take turns: new ones for all that is received would keep the garbage collector busy.
   */
  #makeRoom(size: number): void {
    if (this.#isLent) this.#blockStart = this.#at;
    const from = this.#blockStart;
    const kept = this.#end - from;
    const wanted = Math.max(kept + size, this.#needed - from);
    let capacity = this.#buffer.length;
    while (capacity < wanted * 2) capacity *= 2;
    if (!this.#isLent && capacity === this.#buffer.length) {
      this.#buffer.copyWithin(0, from, this.#end);
    } else {
      const next = this.#spare?.length === capacity ? this.#spare : Buffer.allocUnsafeSlow(capacity);
      this.#buffer.copy(next, 0, from, this.#end);
      this.#spare = undefined;
      if (this.#isLent) this.#lent ??= this.#buffer;
      else this.#spare = this.#buffer;
      this.#buffer = next;
    }
    this.#at -= from;
    this.#needed -= from;
    this.#end = kept;
    this.#blockStart = 0;
  }

  /** Starts a new block; the last one must not be used any more. */
  begin(): void {
    this.#isLent = false;
    this.#spare = this.#lent ?? this.#spare;
    this.#lent = undefined;
    this.#tokenCount = 0;
    this.#replies = 0;
    this.#open = 0;
    this.#needed = 0;
    if (this.#at === this.#end) {
      this.#at = 0;
      this.#end = 0;
    }
    this.#blockStart = this.#at;
  }

  /**
   * Parses until the block has `maxReplies` replies, or at least one and `softBytes` bytes. Undefined when bytes are
   * missing. Throws `EngineError` for what is no reply.
   */
  parse(maxReplies: number, softBytes: number): ReplyBlock | undefined {
    while (this.#replies < maxReplies) {
      if (this.#end < this.#needed || !this.#token()) return undefined;
      if (this.#open === 0) {
        this.#replies++;
        if (this.#at - this.#blockStart >= softBytes) break;
      }
    }
    const bytes = this.#buffer.subarray(this.#blockStart, this.#at);
    this.#isLent = true;
    return {
      bytes,
      view: viewOf(bytes),
      tokens: this.#tokens,
      tokenCount: this.#tokenCount,
      replies: this.#replies,
    };
  }

  /** One token; false when it is not complete. */
  #token(): boolean {
    const bytes = this.#buffer;
    const end = this.#end;
    const head = this.#at;
    if (head + 3 > end) return false;
    const kind = bytes[head]!;
    if (kind === TOKEN_BULK || kind === TOKEN_ARRAY) {
      let at = head + 1;
      let size = 0;
      if (bytes[at] === 0x2d) {
        if (head + 5 > end) return false;
        size = -1;
        at = head + 3;
      } else {
        for (; at < end && bytes[at] !== 0x0d; at++) {
          const digit = bytes[at]! - 0x30;
          if (digit < 0 || digit > 9) throw this.#malformed();
          size = size * 10 + digit;
        }
      }
      if (at + 2 > end) return false;
      if (!(size >= -1 && size <= MAX_BULK_BYTES) || bytes[at + 1] !== 0x0a) throw this.#malformed();
      at += 2;
      if (kind === TOKEN_BULK && size >= 0) {
        if (at + size + 2 > end) {
          this.#needed = at + size + 2;
          return false;
        }
        this.#put(kind, at, size);
        this.#at = at + size + 2;
      } else {
        this.#put(kind, at, size);
        this.#at = at;
      }
      this.#count(kind === TOKEN_ARRAY ? size : 0);
      return true;
    }
    return this.#line(kind, head, end);
  }

  #line(kind: number, head: number, end: number): boolean {
    const isThird = kind === TOKEN_PUSH || kind === MAP || kind === NULL;
    if (!isThird && kind !== TOKEN_INTEGER && kind !== TOKEN_SIMPLE && kind !== TOKEN_ERROR) throw this.#malformed();
    const bytes = this.#buffer;
    let at = head + 1;
    while (at < end && bytes[at] !== 0x0d) at++;
    if (at + 2 > end) return false;
    if (isThird) this.#third(kind, bytes.toString("latin1", head + 1, at), head + 1);
    else {
      this.#put(kind, head + 1, at - head - 1);
      this.#count(0);
    }
    this.#at = at + 2;
    return true;
  }

  /** What RESP3 has besides, as RESP2 would have it: a map as an array of fields and values, nil as a string of size -1. */
  #third(kind: number, text: string, start: number): void {
    if (kind === NULL) {
      this.#put(TOKEN_BULK, start, -1);
      return this.#count(0);
    }
    if (!/^[0-9]{1,9}$/.test(text)) throw this.#malformed();
    const elements = kind === MAP ? Number(text) * 2 : Number(text);
    this.#put(kind === MAP ? TOKEN_ARRAY : kind, start, elements);
    this.#count(elements);
  }

  #count(elements: number): void {
    if (this.#open > 0) this.#open--;
    if (elements > 0) this.#open += elements;
  }

  #put(kind: number, start: number, size: number): void {
    const at = this.#tokenCount * TOKEN_STRIDE;
    if (at === this.#tokens.length) {
      const grown = new Int32Array(this.#tokens.length * 2);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    const tokens = this.#tokens;
    tokens[at] = kind;
    tokens[at + 1] = start - this.#blockStart;
    tokens[at + 2] = size;
    this.#tokenCount++;
  }

  #malformed(): EngineError {
    const found = this.#buffer.subarray(this.#at, Math.min(this.#at + 16, this.#end)).toString("latin1");
    return new EngineError(
      "DECANT_E_REDIS_PROTOCOL",
      `The server's answer is not of the Redis protocol: ${JSON.stringify(found)}`,
      { hint: "Is this the port of a Redis server, and does it want TLS (rediss://)?" },
    );
  }
}

/** Walks through the tokens of a block. */
export class TokenCursor {
  readonly bytes: Buffer;
  readonly tokens: Int32Array;
  /** Index into `tokens` of the current token. */
  at = 0;

  constructor(block: ReplyBlock) {
    this.bytes = block.bytes;
    this.tokens = block.tokens;
  }

  get kind(): number {
    return this.tokens[this.at]!;
  }
  get start(): number {
    return this.tokens[this.at + 1]!;
  }
  get size(): number {
    return this.tokens[this.at + 2]!;
  }
  next(): void {
    this.at += TOKEN_STRIDE;
  }
  text(): string {
    return this.bytes.toString("latin1", this.start, this.start + this.size);
  }

  /** Behind the current reply, whatever it contains. */
  skip(): void {
    let open = 1;
    while (open > 0) {
      open--;
      if (this.kind === TOKEN_ARRAY && this.size > 0) open += this.size;
      this.next();
    }
  }
}

/** A reply as plain values: for rare commands. Errors inside are values too. */
export type Reply = Buffer | bigint | null | ReplyFailure | Reply[];

/** An error reply of the server, not yet thrown. */
export class ReplyFailure {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Decodes the current reply and moves behind it. Buffers are copies. */
export function decodeReply(cursor: TokenCursor): Reply {
  const { kind, start, size, bytes } = cursor;
  cursor.next();
  if (kind === TOKEN_ARRAY) {
    return size < 0 ? null : Array.from({ length: size }, () => decodeReply(cursor));
  }
  if (kind === TOKEN_BULK) return size < 0 ? null : Buffer.from(bytes.subarray(start, start + size));
  const text = bytes.toString("latin1", start, start + size);
  if (kind === TOKEN_INTEGER) return BigInt(text);
  return kind === TOKEN_ERROR ? new ReplyFailure(text) : Buffer.from(text, "latin1");
}
