import { viewOf } from "../../../base/bytes.ts";
import type { CommandTarget } from "../command-target.ts";
import { encodeCommand } from "../command-writer.ts";
import { replyError } from "../redis-errors.ts";
import {
  decodeReply,
  type Reply,
  type ReplyBlock,
  ReplyFailure,
  RespParser,
  TOKEN_ARRAY,
  TOKEN_BULK,
  TOKEN_ERROR,
  TOKEN_INTEGER,
  TOKEN_STRIDE,
  TokenCursor,
} from "../resp-parser.ts";

/** Every command that the readers of rare records send. */
type Answer = (key: string, args: readonly Buffer[]) => ReplyBlock;

/**
 * Answers reads from values that one transaction has brought, as the server would have answered inside it: so the readers of rare
 * records read one instant and need not know. A key that was not asked for is one that did not exist.
 */
export class HeldAnswers implements CommandTarget {
  readonly printable: string;
  /** Index of the token at which the value of a key begins, by its name. */
  readonly #values: Map<string, number> = new Map();
  readonly #block: ReplyBlock;
  readonly #fields: Map<string, Map<string, number>> = new Map();
  readonly #commands = new RespParser(65536);
  readonly #answers: ReplyBlock[] = [];
  readonly #answerTo: Readonly<Record<string, Answer>> = {
    GET: (key) => this.#value(key, TOKEN_BULK),
    MGET: (_, keys) => this.#strings(keys),
    SMEMBERS: (key) => this.#value(key, TOKEN_ARRAY),
    HLEN: (key) => this.#size(key),
    ZCARD: (key) => this.#size(key),
    HGETALL: (key) => this.#value(key, TOKEN_ARRAY),
    ZRANGE: (key) => this.#value(key, TOKEN_ARRAY),
    HMGET: (key, args) => this.#members(key, args.slice(1)),
  };

  /** `block` must stay valid for as long as answers are wanted. */
  constructor(printable: string, block: ReplyBlock) {
    this.printable = printable;
    this.#block = block;
  }

  /** Says that the value of a key begins at token `at` (an index into `tokens`): a string, or all its members. */
  hold(key: Buffer, at: number): void {
    this.#values.set(key.toString("latin1"), at);
  }

  send(commands: Uint8Array): void {
    this.#commands.push(commands);
    for (;;) {
      this.#commands.begin();
      const command = this.#commands.parse(1, 0);
      if (command === undefined) return;
      const [name, ...args] = decodeReply(new TokenCursor(command)) as Buffer[];
      const answer = this.#answerTo[String(name)];
      if (answer === undefined) throw new Error(`No held value answers ${name}`);
      this.#answers.push(answer(args[0]!.toString("latin1"), args));
    }
  }

  async read(): Promise<ReplyBlock> {
    return this.#answers.shift()!;
  }

  async call(args: readonly (string | Buffer)[]): Promise<Reply> {
    this.send(encodeCommand(args));
    const reply = decodeReply(new TokenCursor(await this.read()));
    if (reply instanceof ReplyFailure) throw replyError(reply.text, this.printable, `${args[0]} ${args[1]}`);
    return reply;
  }

  /** The value as it came, an error of it too; what is empty when there is none. */
  #value(key: string, kind: number): ReplyBlock {
    const at = this.#values.get(key);
    if (at === undefined) return this.#made([kind, 0, kind === TOKEN_BULK ? -1 : 0]);
    return this.#made(this.#block.tokens.subarray(at));
  }

  #made(tokens: Int32Array | readonly number[]): ReplyBlock {
    const { bytes, view } = this.#block;
    const all = tokens instanceof Int32Array ? tokens : Int32Array.from(tokens);
    return { bytes, view, tokens: all, tokenCount: all.length / TOKEN_STRIDE, replies: 1 };
  }

  /** As MGET: null where there is no string. */
  #strings(keys: readonly Buffer[]): ReplyBlock {
    const tokens = [TOKEN_ARRAY, 0, keys.length];
    for (const key of keys) {
      const at = this.#values.get(key.toString("latin1"));
      const isString = at !== undefined && this.#block.tokens[at] === TOKEN_BULK;
      tokens.push(TOKEN_BULK, isString ? this.#block.tokens[at + 1]! : 0, isString ? this.#block.tokens[at + 2]! : -1);
    }
    return this.#made(tokens);
  }

  /** 1 for any number of members: whoever asks only wants to know whether to read them in pages, which is needless here. */
  #size(key: string): ReplyBlock {
    const at = this.#values.get(key);
    const tokens = this.#block.tokens;
    if (at !== undefined && tokens[at] === TOKEN_ERROR) return this.#value(key, TOKEN_ARRAY);
    const text = Buffer.from(at === undefined || tokens[at + 2]! <= 0 ? "0" : "1", "latin1");
    const made = Int32Array.of(TOKEN_INTEGER, 0, text.length);
    return { bytes: text, view: viewOf(text), tokens: made, tokenCount: 1, replies: 1 };
  }

  #members(key: string, fields: readonly Buffer[]): ReplyBlock {
    const at = this.#values.get(key);
    const tokens = this.#block.tokens;
    if (at !== undefined && tokens[at] === TOKEN_ERROR) return this.#value(key, TOKEN_ARRAY);
    const index = this.#index(key, at);
    const found = new Int32Array((1 + fields.length) * TOKEN_STRIDE);
    found.set([TOKEN_ARRAY, 0, fields.length]);
    fields.forEach((field, i) => {
      const value = index.get(field.toString("latin1"));
      const start = value === undefined ? 0 : tokens[value + 1]!;
      found.set([TOKEN_BULK, start, value === undefined ? -1 : tokens[value + 2]!], (1 + i) * TOKEN_STRIDE);
    });
    return this.#made(found);
  }

  /** Where the value of each field of a hash stands. */
  #index(key: string, at: number | undefined): Map<string, number> {
    let index = this.#fields.get(key);
    if (index !== undefined) return index;
    index = new Map();
    this.#fields.set(key, index);
    const { bytes, tokens } = this.#block;
    const elements = at === undefined ? 0 : tokens[at + 2]!;
    for (let i = 0; i < elements; i += 2) {
      const field = at! + (1 + i) * TOKEN_STRIDE;
      const start = tokens[field + 1]!;
      index.set(bytes.toString("latin1", start, start + tokens[field + 2]!), field + TOKEN_STRIDE);
    }
    return index;
  }
}
