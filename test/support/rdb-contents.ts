import type { SnapshotLoss } from "../../src/engines/engine.ts";
import { type RdbConsumer, ValueHandler } from "../../src/engines/redis/rdb/rdb-consumer.ts";
import { RdbReader, type RdbReaderOptions } from "../../src/engines/redis/rdb/rdb-reader.ts";
import type { RdbText } from "../../src/engines/redis/rdb/rdb-text.ts";
import type { RedisType } from "../../src/engines/redis/rdb/rdb-types.ts";
import type { ByteSource } from "../../src/engines/redis/rdb/rdb-window.ts";

/** Bytes as a source that gives at most `perRead` of them at a time. */
export function sourceOf(bytes: Buffer, perRead: number = bytes.length, isSizeKnown: boolean = true): ByteSource {
  let at = 0;
  return {
    name: "test.rdb",
    totalBytes: isSizeKnown ? bytes.length : undefined,
    read: async (target, start, end) => {
      const count = Math.min(perRead, end - start, bytes.length - at);
      bytes.copy(target, start, at, at + count);
      at += count;
      return count;
    },
  };
}

/** What was read of one key: all its strings, members with their scores as text. */
export interface ReadKey {
  readonly database: number;
  readonly key: string;
  readonly parts: string[];
  isEnded: boolean;
}

class RecordingHandler extends ValueHandler {
  readonly type: Exclude<RedisType, "other">;
  readonly #into: ReadKey;

  constructor(type: Exclude<RedisType, "other">, into: ReadKey) {
    super();
    this.type = type;
    this.#into = into;
  }

  override string(value: RdbText): void {
    this.#into.parts.push(value.toString());
  }
  override item(value: RdbText): void {
    this.#into.parts.push(value.toString());
  }
  override pair(field: RdbText, value: RdbText): void {
    this.#into.parts.push(field.toString(), value.toString());
  }
  override scored(member: RdbText, score: number): void {
    this.#into.parts.push(member.toString(), String(score));
  }
  override end(): void {
    this.#into.isEnded = true;
  }
}

/** Reads keys `<type>...` with a handler of that type: `hash1`, `zset:x`; others are skipped. It stops after every element. */
class RecordingConsumer implements RdbConsumer {
  readonly keys: ReadKey[] = [];
  readonly asked: string[] = [];
  readonly wrong: string[] = [];
  readonly #databases: ReadonlySet<number>;
  #database = 0;
  #calls = 0;

  constructor(databases: readonly number[]) {
    this.#databases = new Set(databases);
  }

  /** Now and then, as when a batch is full. */
  get isFull(): boolean {
    return ++this.#calls % 3 === 0;
  }

  wantsDatabase(database: number): boolean {
    this.#database = database;
    return this.#databases.has(database);
  }

  handlerFor(key: RdbText): ValueHandler | undefined {
    const name = key.toString();
    this.asked.push(name);
    const type = /^(string|list|set|hash|zset)/.exec(name)?.[1] as Exclude<RedisType, "other"> | undefined;
    if (type === undefined) return undefined;
    const read: ReadKey = { database: this.#database, key: name, parts: [], isEnded: false };
    this.keys.push(read);
    return new RecordingHandler(type, read);
  }

  wrongType(key: RdbText): void {
    this.wrong.push(key.toString());
    this.keys.pop();
  }

  loseUnknown(): void {}

  lost(key: RdbText, what: string): SnapshotLoss {
    return { kind: undefined, message: `${key}: ${what}` };
  }
}

export interface RdbContents {
  readonly keys: readonly ReadKey[];
  /** Keys for which a handler was asked for, in order. */
  readonly asked: readonly string[];
  readonly wrong: readonly string[];
  readonly createdAt: number | undefined;
}

/** All that the reader gives of a file. */
export async function readContents(
  source: ByteSource,
  databases: readonly number[] = [0],
  options: RdbReaderOptions = { checksum: true },
): Promise<RdbContents> {
  const consumer = new RecordingConsumer(databases);
  const reader = new RdbReader(source, consumer, options);
  while (await reader.read());
  return { keys: consumer.keys, asked: consumer.asked, wrong: consumer.wrong, createdAt: reader.createdAt };
}
