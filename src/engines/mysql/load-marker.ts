import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { ConflictError } from "../../base/errors.ts";
import type { LoadProgress, LoadStamp } from "../engine.ts";
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
import type { MysqlSession } from "./mysql-session.ts";

interface MarkerValue {
  readonly token: string;
  readonly host: string;
  readonly process: number;
  readonly began: string;
}

/** How many connections a load may have. */
const MAX_LANES = 4;

/** What a load that was cut off has left for one that goes on with it. */
export interface EarlierLoad {
  readonly progress: LoadProgress;
  /** As of its checkpoint. */
  readonly rows: RowCounts;
}

/**
 * A row of the setting table that is there while a load runs and names it. It tells what tables without a setting are, and
 * whether they were taken over meanwhile: then what is there is not ours to complete or to remove. It goes in the
 * transaction in which the setting comes.
 *
 * Each transaction of a load reads it with a lock, and whoever goes on with the load changes it: so after that nothing of the
 * earlier one is stored any more.
 */
export class LoadMarker {
  readonly #value: MarkerValue = {
    token: randomUUID(),
    host: hostname(),
    process: process.pid,
    began: new Date().toISOString(),
  };

  /** Inserts the row into a setting table that this load has created; with a stamp, also how far the load is. */
  async set(session: MysqlSession, stamp: LoadStamp | undefined): Promise<void> {
    const rows = [[MARKER_NAME, JSON.stringify(this.#value)]];
    if (stamp !== undefined) {
      rows.push([PROGRESS_NAME, progressText({ stamp, checkpoint: undefined, announced: [] })]);
      rows.push([ROW_COUNTS_NAME, encodeRowCounts(new Map())]);
    }
    const values = rows.map(([name, value]) => `('${name}', ${textLiteral(value!)})`).join(", ");
    await session.run(`INSERT INTO ${session.catalog.table("setting")} (name, value) VALUES ${values}`);
  }

  /**
   * Ends the connections of the load that was cut off, should it still run, and puts this marker and stamp into the place of its own.
   * Throws `ConflictError` when nobody can go on with what is there.
   */
  async takeOver(session: MysqlSession, stamp: LoadStamp | undefined): Promise<EarlierLoad> {
    const found = await endConnections(session);
    await session.run("START TRANSACTION");
    const now = await readMarker(session, " FOR UPDATE"); // waits until what is killed is rolled back
    const earlier = await readEarlier(session);
    if (now === undefined || now.token !== found?.token || earlier?.progress.checkpoint === undefined)
      throw lost(session);
    const statements = [updateRow(session, MARKER_NAME, JSON.stringify(this.#value))];
    if (stamp !== undefined) statements.push(...this.progressStatements(session, { ...earlier.progress, stamp }));
    await session.run(...statements, "COMMIT");
    return earlier;
  }

  /**
   * Ends the connections of a load that was cut off, and waits for what they were at: a server that was not told of its end would keep
   * its tables locked for hours, and one that still runs could end well a moment later.
   */
  static async endConnections(session: MysqlSession): Promise<void> {
    await endConnections(session);
    await readMarker(session, " FOR UPDATE");
  }

  /** Lets a load that takes the place end the connection. Where the server knows no such locks, the connection ends by itself. */
  async nameConnection(session: MysqlSession, lane: number): Promise<void> {
    await session.rows(`SELECT GET_LOCK('${lockName(this.#value.token, lane)}', 0)`).catch(() => undefined);
  }

  /** Keeps the place until the end of the caller's transaction. Throws `ConflictError` when another load has it. */
  async claim(session: MysqlSession): Promise<void> {
    const found = await readMarker(session, " LOCK IN SHARE MODE");
    if (found?.token !== this.#value.token) throw lost(session);
  }

  /** Statements that store how far the load is, and with `rows` how many of each table are. */
  progressStatements(session: MysqlSession, progress: LoadProgress, rows?: RowCounts): string[] {
    const statements = [updateRow(session, PROGRESS_NAME, progressText(progress))];
    if (rows !== undefined) statements.push(updateRow(session, ROW_COUNTS_NAME, encodeRowCounts(rows)));
    return statements;
  }

  async isOurs(session: MysqlSession): Promise<boolean> {
    return (await readMarker(session))?.token === this.#value.token;
  }

  /** Takes the row away, in the caller's transaction. Throws `ConflictError` when it is not there any more. */
  async remove(session: MysqlSession): Promise<void> {
    const found = await readMarker(session, " FOR UPDATE");
    if (found?.token !== this.#value.token) throw lost(session);
    await session.run(`DELETE FROM ${session.catalog.table("setting")} WHERE name IN (${LOAD_ROW_LITERALS})`);
  }

  /** How far a load is that runs or was cut off in the database; undefined where nobody can go on with it. */
  static async progress(session: MysqlSession): Promise<LoadProgress | undefined> {
    return (await LoadMarker.isThere(session)) ? (await readEarlier(session))?.progress : undefined;
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

/** Of the load whose marker is there, should there be any; the marker is returned. */
async function endConnections(session: MysqlSession): Promise<MarkerValue | undefined> {
  const found = await readMarker(session);
  for (let lane = 0; found !== undefined && lane < MAX_LANES; lane++) {
    const query = `SELECT IS_USED_LOCK('${lockName(found.token, lane)}')`;
    const [row] = await session.rows<[id: bigint | null]>(query);
    if (row?.[0] != null) await session.run(`KILL ${row[0]}`).catch(() => undefined);
  }
  return found;
}

function lost(session: MysqlSession): ConflictError {
  return targetChanged(session.connection.address.url);
}

/** Of at most 64 characters, for the whole server. */
function lockName(token: string, lane: number): string {
  return `decant-load-${token}-${lane}`;
}

function textLiteral(text: string): string {
  return `_utf8mb4 x'${Buffer.from(text).toString("hex")}'`;
}

function updateRow(session: MysqlSession, name: string, value: string): string {
  return `UPDATE ${session.catalog.table("setting")} SET value = ${textLiteral(value)} WHERE name = '${name}'`;
}

async function readEarlier(session: MysqlSession): Promise<EarlierLoad | undefined> {
  const progress = parseProgress(Buffer.from((await readRow(session, PROGRESS_NAME)) ?? ""));
  const rows = parseRowCounts(await readRow(session, ROW_COUNTS_NAME));
  return progress === undefined || rows === undefined ? undefined : { progress, rows };
}

async function readRow(session: MysqlSession, name: string, lock = ""): Promise<string | undefined> {
  if (!session.catalog.has("setting")) return undefined;
  const query = `SELECT value FROM ${session.catalog.table("setting")} WHERE name = '${name}'${lock}`;
  const [row] = await session.rows<[value: string]>(query);
  return row?.[0];
}

async function readMarker(
  session: MysqlSession,
  lock: "" | " FOR UPDATE" | " LOCK IN SHARE MODE" = "",
): Promise<MarkerValue | undefined> {
  const value = await readRow(session, MARKER_NAME, lock);
  if (value === undefined) return undefined;
  try {
    const marker = JSON.parse(value) as MarkerValue;
    // The token becomes a part of statements.
    return /^[\w-]+$/.test(marker.token) ? marker : { ...marker, token: "" };
  } catch {
    return { token: "", host: "an unknown host", process: 0, began: "an unknown time" };
  }
}
