import { NotFoundError } from "../../base/errors.ts";
import type { RecordKind, RecordStream } from "../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { lostSetting } from "../lost-setting.ts";
import type { OnLoss } from "../notes.ts";
import { expectedRecords } from "../sql/estimates.ts";
import { NoteList } from "../sql/note-list.ts";
import { countInodes, findEntry, findNode, type SalvageSource, salvageRecords } from "../sql/salvage-records.ts";
import { tableName } from "../sql/schema.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { SalvageReader } from "./salvage-reader.ts";
import { beginReading } from "./shared-snapshot.ts";

/** What can be read of a damaged volume, in one transaction whose savepoints keep its instant when a statement fails. */
export class PostgresSalvage implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly #notes: NoteList;
  readonly #connection: PostgresConnection;
  readonly #source: SalvageSource;
  readonly #onLoss: OnLoss;
  #estimates: ReadonlyMap<RecordKind, number> = new Map();

  /** Throws `NotFoundError` when the database holds no volume, `DataError` when its setting cannot be read. */
  static async open(address: PostgresAddress, { signal }: SnapshotOptions, onLoss: OnLoss): Promise<PostgresSalvage> {
    const connection = await PostgresConnection.open(address, signal);
    try {
      await beginReading(connection);
      const reader = new SalvageReader(connection, new NoteList());
      await reader.prepare();
      const setting = await reader.attempt(() => readSettingRow(connection)); // the first read fixes the view
      if ("damage" in setting) {
        throw lostSetting(`${address.url}, table ${tableName(address.tablePrefix, "setting")}`, setting.damage);
      }
      if (setting.result === undefined) throw noVolume(address);
      const salvage = new PostgresSalvage(connection, reader, setting.result, onLoss);
      salvage.#estimates = expectedRecords(await countInodes(salvage.#source));
      return salvage;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  private constructor(connection: PostgresConnection, reader: SalvageReader, setting: Buffer, onLoss: OnLoss) {
    this.#connection = connection;
    this.#onLoss = onLoss;
    this.setting = setting;
    this.consistency = { pointInTime: true, method: "one REPEATABLE READ transaction", asOf: new Date() };
    this.#notes = reader.notes;
    this.#source = {
      session: connection,
      prefix: connection.address.tablePrefix,
      setting,
      attempt: (work) => reader.attempt(work),
      read: (scan, tell) => reader.read(scan, tell),
    };
  }

  get notes(): readonly SnapshotNote[] {
    return this.#notes.list();
  }

  get estimates(): ReadonlyMap<RecordKind, number> {
    return this.#estimates;
  }

  records({ kinds }: RecordSelection): RecordStream {
    return salvageRecords(this.#source, kinds, this.#onLoss);
  }

  lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    return findEntry(this.#source, parent, name);
  }

  readNode(inode: bigint): Promise<Buffer | undefined> {
    return findNode(this.#source, inode);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

function noVolume({ url }: PostgresAddress): NotFoundError {
  return new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${url}`, {
    hint: "The database is not formatted, or the volume has another table_prefix or search_path",
  });
}
