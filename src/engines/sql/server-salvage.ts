import type { RecordKind, RecordStream } from "../../volume/records.ts";
import type { Consistency, RecordSelection, Snapshot, SnapshotNote } from "../engine.ts";
import { lostSetting } from "../lost-setting.ts";
import type { OnLoss } from "../notes.ts";
import type { SqlSession } from "./catalog.ts";
import { expectedRecords } from "./estimates.ts";
import type { NoteList } from "./note-list.ts";
import {
  type Attempt,
  countInodes,
  findEntry,
  findNode,
  type SalvageSource,
  type SalvageTables,
  salvageRecords,
} from "./salvage-records.ts";
import { tableName } from "./schema.ts";

/** A transaction that has begun on a server whose volume may be damaged. */
export interface SalvageTransaction {
  readonly session: SqlSession;
  readonly prefix: string;
  /** The address, without password. */
  readonly url: string;
  readonly tables: SalvageTables;
  readonly notes: NoteList;
  readonly onLoss: OnLoss;
  /** The first read, which fixes the view where `BEGIN` does not. */
  readSetting(): Promise<Buffer | undefined>;
  /** Asked for when the setting was read. */
  consistency(): Consistency;
  /** What to throw where there is no setting. */
  noVolume(): Error | Promise<Error>;
  close(): Promise<void>;
}

/** What can be read of a damaged volume on a server, in one transaction that a failed statement does not end. */
export class ServerSalvage implements Snapshot {
  readonly setting: Buffer;
  readonly consistency: Consistency;
  readonly #transaction: SalvageTransaction;
  readonly #source: SalvageSource;
  #estimates: ReadonlyMap<RecordKind, number> = new Map();

  /** Throws `noVolume`, or `DataError` when the setting cannot be read; the transaction is then still open. */
  static async open(transaction: SalvageTransaction): Promise<ServerSalvage> {
    const setting = await transaction.tables.attempt(() => transaction.readSetting());
    const salvage = new ServerSalvage(transaction, await wholeSetting(setting, transaction));
    salvage.#estimates = expectedRecords(await countInodes(salvage.#source));
    return salvage;
  }

  private constructor(transaction: SalvageTransaction, setting: Buffer) {
    const { session, prefix, tables } = transaction;
    this.#transaction = transaction;
    this.setting = setting;
    this.consistency = transaction.consistency();
    this.#source = { session, prefix, setting, tables };
  }

  get notes(): readonly SnapshotNote[] {
    return this.#transaction.notes.list();
  }

  get estimates(): ReadonlyMap<RecordKind, number> {
    return this.#estimates;
  }

  records({ kinds }: RecordSelection): RecordStream {
    return salvageRecords(this.#source, kinds, this.#transaction.onLoss);
  }

  lookup(parent: bigint, name: Buffer): Promise<{ inode: bigint; type: number } | undefined> {
    return findEntry(this.#source, parent, name);
  }

  readNode(inode: bigint): Promise<Buffer | undefined> {
    return findNode(this.#source, inode);
  }

  close(): Promise<void> {
    return this.#transaction.close();
  }
}

async function wholeSetting(
  setting: Attempt<Buffer | undefined>,
  { url, prefix, noVolume }: SalvageTransaction,
): Promise<Buffer> {
  if ("damage" in setting) throw lostSetting(`${url}, table ${tableName(prefix, "setting")}`, setting.damage);
  if (setting.result === undefined) throw await noVolume();
  return setting.result;
}
