import { NotFoundError } from "../../base/errors.ts";
import type { RecordKind, RecordStream } from "../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote, SnapshotOptions } from "../engine.ts";
import { lostSetting } from "../lost-setting.ts";
import type { OnLoss } from "../notes.ts";
import { expectedRecords } from "../sql/estimates.ts";
import { NoteList } from "../sql/note-list.ts";
import { countInodes, findEntry, findNode, type SalvageSource, salvageRecords } from "../sql/salvage-records.ts";
import { tableName } from "../sql/schema.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { readSettingRow } from "./mysql-schema.ts";
import { MysqlSession } from "./mysql-session.ts";
import { SalvageReader } from "./salvage-reader.ts";
import { beginSnapshots } from "./shared-snapshot.ts";

/** What can be read of a damaged volume, in one transaction. */
export class MysqlSalvage implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly #session: MysqlSession;
  readonly #notes: NoteList;
  readonly #source: SalvageSource;
  readonly #onLoss: OnLoss;
  #estimates: ReadonlyMap<RecordKind, number> = new Map();

  /** Throws `NotFoundError` when the database holds no volume, `DataError` when its setting cannot be read. */
  static async open(
    address: MysqlAddress,
    env: Readonly<Record<string, string | undefined>>,
    { signal }: SnapshotOptions,
    onLoss: OnLoss,
  ): Promise<MysqlSalvage> {
    const session = await MysqlSession.open(address, env, signal);
    try {
      const { asOf, method } = await beginSnapshots(session, 0, env, signal);
      const reader = new SalvageReader(session, new NoteList());
      const setting = await reader.attempt(() => readSettingRow(session));
      if ("damage" in setting) {
        throw lostSetting(`${address.url}, table ${tableName(address.tablePrefix, "setting")}`, setting.damage);
      }
      if (setting.result === undefined) {
        throw new NotFoundError("DECANT_E_NO_VOLUME", `There is no volume in ${address.url}`, {
          hint: "The database is not formatted, or the volume has another table_prefix",
        });
      }
      const outside = session.tables.withoutSnapshot;
      const consistency =
        outside.length === 0
          ? { pointInTime: true, method, asOf }
          : { pointInTime: false, method: `the storage engine of ${outside.join(", ")} knows no snapshots`, asOf };
      const salvage = new MysqlSalvage(session, address.tablePrefix, reader, setting.result, consistency, onLoss);
      salvage.#estimates = expectedRecords(await countInodes(salvage.#source));
      return salvage;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  private constructor(
    session: MysqlSession,
    prefix: string,
    reader: SalvageReader,
    setting: Buffer,
    consistency: Consistency,
    onLoss: OnLoss,
  ) {
    this.#session = session;
    this.#notes = reader.notes;
    this.#onLoss = onLoss;
    this.setting = setting;
    this.consistency = consistency;
    this.#source = {
      session,
      prefix,
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
    return this.#session.close();
  }
}
