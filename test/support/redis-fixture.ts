import { readFileSync } from "node:fs";
import { Redis } from "ioredis";

/** One line of a .redis.jsonl fixture (test/fixtures/scripts/redis2jsonl.py); bytes are base64. */
type RedisLine =
  | { key_b64: string; type: "string"; value: string }
  | { key_b64: string; type: "list" | "set"; value: string[] }
  | { key_b64: string; type: "hash" | "zset"; value: [string, string][] };

/** Empties the database of `url` (single server) and fills it with the keys of a .redis.jsonl file. */
export async function restoreRedisJsonl(url: string, file: string): Promise<void> {
  const client = new Redis(url, { protocol: 2 });
  try {
    await client.flushdb();
    const pipeline = client.pipeline();
    for (const line of readFileSync(file, "utf8").split("\n")) {
      if (line !== "") pipeline.call(...restoreCommand(JSON.parse(line) as RedisLine));
    }
    const results = (await pipeline.exec()) ?? [];
    for (const [error] of results) if (error !== null) throw error;
  } finally {
    client.disconnect();
  }
}

/** All keys of the database of `url` as the lines of a .redis.jsonl file, sorted by key: two equal results are equal databases. */
export async function readRedisJsonl(url: string): Promise<string[]> {
  const client = new Redis(url, { protocol: 2 });
  try {
    const keys = (await client.callBuffer("KEYS", "*")) as Buffer[];
    keys.sort(Buffer.compare);
    const lines: string[] = [];
    for (const key of keys) lines.push(pythonJson({ key_b64: base64(key), ...(await readValue(client, key)) }));
    return lines;
  } finally {
    client.disconnect();
  }
}

function restoreCommand(line: RedisLine): [string, ...Buffer[]] {
  const key = bytes(line.key_b64);
  switch (line.type) {
    case "string":
      return ["SET", key, bytes(line.value)];
    case "list":
      return ["RPUSH", key, ...line.value.map(bytes)];
    case "set":
      return ["SADD", key, ...line.value.map(bytes)];
    case "hash":
      return ["HSET", key, ...line.value.flatMap(([field, value]) => [bytes(field), bytes(value)])];
    case "zset":
      return ["ZADD", key, ...line.value.flatMap(([member, score]) => [Buffer.from(score), bytes(member)])];
  }
}

async function readValue(client: Redis, key: Buffer): Promise<{ type: string; value: unknown }> {
  const type = String(await client.call("TYPE", key));
  const read = async (...command: [string, ...(string | Buffer)[]]): Promise<Buffer[]> =>
    (await client.callBuffer(...command)) as Buffer[];
  switch (type) {
    case "string":
      return { type, value: base64((await client.callBuffer("GET", key)) as Buffer) };
    case "list":
      return { type, value: (await read("LRANGE", key, "0", "-1")).map(base64) };
    case "set":
      return { type, value: (await read("SMEMBERS", key)).sort(Buffer.compare).map(base64) };
    case "hash": {
      const fields = pairs(await read("HGETALL", key)).sort(([a], [b]) => Buffer.compare(a, b));
      return { type, value: fields.map((pair) => pair.map(base64)) };
    }
    case "zset": {
      const members = pairs(await read("ZRANGE", key, "0", "-1", "WITHSCORES"));
      return { type, value: members.map(([member, score]) => [base64(member), score.toString()]) };
    }
    default:
      throw new Error(`Unexpected Redis type ${type}`);
  }
}

function pairs(items: Buffer[]): [Buffer, Buffer][] {
  return Array.from({ length: items.length / 2 }, (_, i) => [items[i * 2]!, items[i * 2 + 1]!]);
}

/** JSON with the blanks that Python's json.dumps writes: all strings in these lines are base64 or plain words. */
function pythonJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(",", ", ").replaceAll(":", ": ");
}

function bytes(base64Text: string): Buffer {
  return Buffer.from(base64Text, "base64");
}

function base64(value: Buffer): string {
  return value.toString("base64");
}
