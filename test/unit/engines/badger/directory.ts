import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { LOG_HEADER, TransactionWriter } from "../../../../src/engines/badger/log-writer.ts";
import { COMPRESSION_NONE, encodeManifest } from "../../../../src/engines/badger/manifest.ts";
import { tableName } from "../../../../src/engines/badger/table-files.ts";
import { TableWriter } from "../../../../src/engines/badger/table-writer.ts";

export type Pairs = Readonly<Record<string, string | undefined>>;

/** The bytes of a transaction; undefined deletes. */
export function transaction(ts: bigint, pairs: Pairs): Buffer {
  const writer = new TransactionWriter(ts);
  for (const [key, value] of Object.entries(pairs)) {
    writer.add(Buffer.from(key), value === undefined ? undefined : Buffer.from(value));
  }
  return writer.finish();
}

export function writeLog(directory: string, number: number, ...parts: readonly Uint8Array[]): string {
  const path = join(directory, `${String(number).padStart(5, "0")}.mem`);
  writeFileSync(path, Buffer.concat([LOG_HEADER, ...parts]));
  return path;
}

/** Writes a table whose keys are all of one version. */
export async function writeTable(directory: string, id: number, ts: bigint, pairs: Pairs): Promise<string> {
  const table = new TableWriter(join(directory, tableName(id)), ts);
  for (const key of Object.keys(pairs).sort()) {
    const bytes = Buffer.from(key + pairs[key]!);
    table.add(bytes, 0, Buffer.byteLength(key), bytes.length);
  }
  await table.finish();
  return table.path;
}

/** `levels`: level by id of the table. */
export function writeManifest(directory: string, levels: Readonly<Record<number, number>>): void {
  const tables = Object.entries(levels).map(([id, level]) => ({
    id: Number(id),
    level,
    compression: COMPRESSION_NONE,
  }));
  writeFileSync(join(directory, "MANIFEST"), encodeManifest(tables));
}

/** Lines of `readBadgerLines` for texts. */
export function lines(pairs: Pairs): string[] {
  return Object.entries(pairs).map(
    ([key, value]) => `${Buffer.from(key).toString("hex")} ${Buffer.from(value!).toString("hex")}`,
  );
}
