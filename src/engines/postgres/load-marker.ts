import { randomUUID } from "node:crypto";
import type { LoadProgress } from "../engine.ts";
import { PROGRESS_NAME, parseProgress } from "../load-progress.ts";
import {
  encodeRowCounts,
  LOAD_ROW_LITERALS,
  MARKER_NAME,
  parseRowCounts,
  progressText,
  ROW_COUNTS_NAME,
  type RowCounts,
} from "../sql/load-rows.ts";
import { targetChanged } from "../target-changed.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";

/** What a load that runs or was cut off has left in the setting table. */
export interface FoundLoad {
  readonly token: string;
  /** Undefined when it cannot be gone on with: another version of decant has left it. */
  readonly progress: LoadProgress | undefined;
  readonly rows: RowCounts;
}

/**
 * Rows of the setting table from the first checkpoint of a load on, each time in the transaction of what was loaded until then:
 * what comes after it is either not stored at all, or stored with the next checkpoint. Whoever goes on with the load
 * changes the token.
 */
export class LoadMarker {
  readonly #token: string = randomUUID();

  /** Stores the position in the caller's transaction, into the place of what is there. */
  async store(connection: PostgresConnection, progress: LoadProgress, rows: RowCounts): Promise<void> {
    await this.remove(connection);
    const values = [
      [MARKER_NAME, this.#token],
      [PROGRESS_NAME, progressText(progress)],
      [ROW_COUNTS_NAME, encodeRowCounts(rows)],
    ] as const;
    const insert = `INSERT INTO ${connection.catalog.table("setting")} (name, value) VALUES ($1, $2)`;
    for (const row of values) await connection.run(insert, row);
  }

  /** Throws `ConflictError` when another load has taken this one's place, or somebody has removed what it stored. */
  async check(connection: PostgresConnection): Promise<void> {
    if (await this.isOurs(connection)) return;
    throw targetChanged(connection.address.url);
  }

  /** A client's `format` takes the tables for its own, and leaves the marker. */
  async isOurs(connection: PostgresConnection): Promise<boolean> {
    if ((await readSettingRow(connection)) !== undefined) return false;
    return (await findLoad(connection))?.token === this.#token;
  }

  async remove(connection: PostgresConnection): Promise<void> {
    await connection.run(`DELETE FROM ${connection.catalog.table("setting")} WHERE name IN (${LOAD_ROW_LITERALS})`);
  }
}

/** By the catalog that the connection has read; undefined when no load has left anything. */
export async function findLoad(connection: PostgresConnection): Promise<FoundLoad | undefined> {
  if (!connection.catalog.has("setting")) return undefined;
  const query = `SELECT name, value FROM ${connection.catalog.table("setting")} WHERE name IN (${LOAD_ROW_LITERALS})`;
  const values = new Map(await connection.rows<[name: string, value: string]>(query));
  const token = values.get(MARKER_NAME);
  if (token === undefined) return undefined;
  const progress = parseProgress(Buffer.from(values.get(PROGRESS_NAME) ?? ""));
  const rows = parseRowCounts(values.get(ROW_COUNTS_NAME));
  return { token, progress: rows === undefined ? undefined : progress, rows: rows ?? new Map() };
}
