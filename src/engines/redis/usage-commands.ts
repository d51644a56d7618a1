import { type RecordBatch, unpackBatch } from "../../volume/records.ts";
import { encodeLimits } from "./rare-writer.ts";
import type { RespConnection } from "./resp-connection.ts";
import type { Reply } from "./resp-parser.ts";

const FIELDS_PER_COMMAND = 1000;
const NO_LIMITS = encodeLimits({ maxSpace: -1n, maxInodes: -1n });

/**
 * The commands that replace the usage of users and groups (docs/spec/redis.md §10.3): every id of `usage` gets its numbers,
 * every other id with limits gets 0, and an id without limits gets the pair -1, -1, so that all three hashes have the same
 * fields. A kind of which no batch comes is left alone.
 */
export async function usageCommands(
  connection: RespConnection,
  key: (name: string) => Buffer,
  usage: readonly RecordBatch[],
): Promise<(string | Buffer)[][]> {
  const commands: (string | Buffer)[][] = [];
  for (const kind of ["userQuota", "groupQuota"] as const) {
    const batches = usage.filter((batch) => batch.kind === kind);
    if (batches.length === 0) continue;
    const limited = (await connection.call(["HKEYS", key(kind)])) as Reply[];
    const space = new Map(limited.map((field) => [String(field), "0"]));
    const inodes = new Map(space);
    const unlimited = new Map<string, Buffer>();
    for (const record of batches.flatMap((batch) => [...unpackBatch(kind, batch)])) {
      const field = String(record.key);
      if (!space.has(field)) unlimited.set(field, NO_LIMITS);
      space.set(field, String(record.usedSpace));
      inodes.set(field, String(record.usedInodes));
    }
    commands.push(["DEL", key(`${kind}UsedSpace`), key(`${kind}UsedInodes`)]);
    commands.push(...hashCommands(key(kind), unlimited));
    commands.push(...hashCommands(key(`${kind}UsedSpace`), space));
    commands.push(...hashCommands(key(`${kind}UsedInodes`), inodes));
  }
  return commands;
}

function hashCommands(key: Buffer, fields: ReadonlyMap<string, string | Buffer>): (string | Buffer)[][] {
  const entries = [...fields];
  const commands: (string | Buffer)[][] = [];
  for (let first = 0; first < entries.length; first += FIELDS_PER_COMMAND) {
    commands.push(["HSET", key, ...entries.slice(first, first + FIELDS_PER_COMMAND).flat()]);
  }
  return commands;
}
