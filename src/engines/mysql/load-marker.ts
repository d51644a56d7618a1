import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { ConflictError } from "../../base/errors.ts";
import type { MysqlSession } from "./mysql-session.ts";

/** Name of the row; clients ask for the row `format` only. */
const MARKER_NAME = "decantLoading";

interface MarkerValue {
  readonly token: string;
  readonly host: string;
  readonly process: number;
  readonly began: string;
}

/**
 * A row of the setting table that is there while a load runs and names it. It tells what tables without a setting are, and
 * whether they were taken over meanwhile: then what is there is not ours to complete or to remove. It goes in the
 * transaction in which the setting comes.
 */
export class LoadMarker {
  readonly #value: MarkerValue = {
    token: randomUUID(),
    host: hostname(),
    process: process.pid,
    began: new Date().toISOString(),
  };

  /** Inserts the row into a setting table that this load has created. */
  async set(session: MysqlSession): Promise<void> {
    const value = Buffer.from(JSON.stringify(this.#value)).toString("hex");
    await session.run(
      `INSERT INTO ${session.catalog.table("setting")} (name, value) VALUES ('${MARKER_NAME}', _utf8mb4 x'${value}')`,
    );
  }

  async isOurs(session: MysqlSession): Promise<boolean> {
    return (await readMarker(session))?.token === this.#value.token;
  }

  /** Takes the row away, in the caller's transaction. Throws `ConflictError` when it is not there any more. */
  async remove(session: MysqlSession): Promise<void> {
    const found = await readMarker(session, " FOR UPDATE");
    if (found?.token !== this.#value.token) {
      throw new ConflictError(
        "DECANT_E_TARGET_CHANGED",
        `The database ${session.connection.address.url} was emptied or taken by others meanwhile`,
        { hint: "What is there now was left alone" },
      );
    }
    await session.run(`DELETE FROM ${session.catalog.table("setting")} WHERE name = '${MARKER_NAME}'`);
  }

  /** Whether a load runs or has died in the database. */
  static async isThere(session: MysqlSession): Promise<boolean> {
    return (await readMarker(session)) !== undefined;
  }

  /** Whether a load has died before it could write its marker: then there is only an empty setting table. */
  static async isMissing(session: MysqlSession): Promise<boolean> {
    if (session.tables.countedTables !== 1 || !session.catalog.has("setting")) return false;
    const rows = await session.rows(`SELECT 1 FROM ${session.catalog.table("setting")} LIMIT 1`);
    return rows.length === 0;
  }

  /** What to do about a load that runs or has died in the database; undefined when there is none. */
  static async hint(session: MysqlSession): Promise<string | undefined> {
    const found = await readMarker(session);
    const setting = session.catalog.has("setting") ? session.catalog.table("setting") : "";
    if (found === undefined) {
      const isMissing = await LoadMarker.isMissing(session);
      return isMissing ? `There is only an empty ${setting}: load again with --clean, which removes it` : undefined;
    }
    const { host, process: id, began } = found;
    const which = `A load by process ${id} on ${host} that began at ${began} is running there or was cut off`;
    return `${which} (row ${MARKER_NAME} of ${setting}): when it is not running, load again with --clean`;
  }
}

async function readMarker(session: MysqlSession, lock: "" | " FOR UPDATE" = ""): Promise<MarkerValue | undefined> {
  if (!session.catalog.has("setting")) return undefined;
  const query = `SELECT value FROM ${session.catalog.table("setting")} WHERE name = '${MARKER_NAME}'${lock}`;
  const [row] = await session.rows<[value: string]>(query);
  if (row === undefined) return undefined;
  try {
    return JSON.parse(row[0]) as MarkerValue;
  } catch {
    return { token: "", host: "an unknown host", process: 0, began: "an unknown time" };
  }
}
