import { packRecord, type RecordTypes } from "../../volume/records.ts";
import type { Notes } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import type { RecordMapper } from "./record-mapper.ts";

/** What the readers of the kinds outside the inode families share. */
export interface RareContext {
  readonly connection: CommandTarget;
  readonly prefix: Buffer;
  readonly notes: Notes;
  readonly mapper: RecordMapper;
  /** Sessions whose sets of open inodes the scan of all keys has met; empty where there was none. */
  readonly sessions: Set<bigint>;
}

/** The key of that name, with the prefix of the volume. */
export function keyOf(context: RareContext, name: string): Buffer {
  return Buffer.concat([context.prefix, Buffer.from(name)]);
}

/** Adds one record that is not part of a hot path. */
export function emit<K extends keyof RecordTypes>(mapper: RecordMapper, kind: K, record: RecordTypes[K]): void {
  const builder = mapper.builder(kind);
  packRecord(kind, builder.writer, record);
  mapper.commit(builder);
}
