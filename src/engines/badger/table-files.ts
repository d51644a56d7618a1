import { closeSync, fstatSync, openSync } from "node:fs";
import { join } from "node:path";
import { fileError } from "../../base/file-error.ts";
import { damagedFile } from "./badger-errors.ts";
import type { Damage } from "./damage.ts";
import type { ListedTable } from "./manifest.ts";
import { salvageIndex } from "./salvage-index.ts";
import { TableIndex } from "./table-index.ts";

/** A table in use: the file and its index. */
export interface OpenTable {
  readonly descriptor: number;
  readonly path: string;
  readonly compression: number;
  readonly index: TableIndex;
}

/** What is kept of each table, however many there are. */
export interface TableSummary extends ListedTable {
  readonly path: string;
  readonly firstKey: Buffer;
  readonly maxVersion: bigint;
}

interface Kept extends OpenTable {
  users: number;
}

/** Tables that nobody uses are kept for the next look-up, up to so many bytes of their indexes, and so many files. */
const KEPT_BYTES = 16 * 1024 * 1024;
const KEPT_FILES = 32;

/** The name of a table. */
export function tableName(id: number): string {
  return `${String(id).padStart(6, "0")}.sst`;
}

/** Opens tables when they are needed, and keeps a few. */
export class TableFiles {
  readonly #damage: Damage | undefined;
  /** Least recently used first. */
  readonly #kept: Map<number, Kept> = new Map();
  #isClosed = false;

  /** With `damage`, of a table whose index cannot be read the blocks are looked for. */
  constructor(damage?: Damage) {
    this.#damage = damage;
  }

  /** Looks into a table for the first time. Throws `DataError` for one that is missing or damaged. */
  summarize(directory: string, table: ListedTable): TableSummary {
    const path = join(directory, tableName(table.id));
    const opened = openTable(path, table, this.#damage);
    try {
      const { index } = opened;
      const { compression } = opened;
      return { ...table, compression, path, firstKey: Buffer.from(index.firstKey(0)), maxVersion: index.maxVersion };
    } finally {
      closeSync(opened.descriptor);
    }
  }

  /** Give it back with `release`. */
  acquire(table: TableSummary): OpenTable {
    let kept = this.#kept.get(table.id);
    if (kept === undefined) kept = { ...openTable(table.path, table, this.#damage), users: 0 };
    else this.#kept.delete(table.id);
    this.#kept.set(table.id, kept);
    kept.users++;
    return kept;
  }

  release(table: TableSummary): void {
    const kept = this.#kept.get(table.id);
    if (kept !== undefined) kept.users--;
    if (this.#isClosed) this.#evict(0, 0);
    else this.#evict(KEPT_FILES, KEPT_BYTES);
  }

  /** Closes what nobody uses, from now on at once. */
  close(): void {
    this.#isClosed = true;
    this.#evict(0, 0);
  }

  #evict(files: number, bytes: number): void {
    let held = 0;
    for (const { index } of this.#kept.values()) held += index.bytes;
    for (const [id, kept] of this.#kept) {
      if (this.#kept.size <= files && held <= bytes) return;
      if (kept.users > 0) continue;
      this.#kept.delete(id);
      held -= kept.index.bytes;
      closeSync(kept.descriptor);
    }
  }
}

function openTable(path: string, { compression }: ListedTable, damage: Damage | undefined): OpenTable {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw damagedFile(path, 0, "MANIFEST lists this table, but there is no such file");
    }
    throw fileError("read", path, error);
  }
  try {
    const { size } = fstatSync(descriptor);
    if (damage !== undefined) return { descriptor, path, ...salvageIndex(descriptor, path, size, compression, damage) };
    return { descriptor, path, compression, index: TableIndex.read(descriptor, path, size) };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}
