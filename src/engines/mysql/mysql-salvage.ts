import type { Snapshot, SnapshotOptions } from "../engine.ts";
import type { OnLoss } from "../notes.ts";
import { NoteList } from "../sql/note-list.ts";
import { ServerSalvage } from "../sql/server-salvage.ts";
import type { MysqlAddress } from "./mysql-address.ts";
import { readSettingRow } from "./mysql-schema.ts";
import { MysqlSession } from "./mysql-session.ts";
import { noVolume } from "./mysql-snapshot.ts";
import { SalvageReader } from "./salvage-reader.ts";
import { beginSnapshots, consistencyOf } from "./shared-snapshot.ts";

/**
 * What can be read of a damaged volume, in one transaction. Throws `NotFoundError` when the database holds no volume, `DataError` when its
 * setting cannot be read.
 */
export async function openMysqlSalvage(
  address: MysqlAddress,
  env: Readonly<Record<string, string | undefined>>,
  { signal }: SnapshotOptions,
  onLoss: OnLoss,
): Promise<Snapshot> {
  const session = await MysqlSession.open(address, env, signal);
  try {
    const shared = await beginSnapshots(session, 0, env, signal);
    const notes = new NoteList();
    return await ServerSalvage.open({
      session,
      prefix: address.tablePrefix,
      url: address.url,
      tables: new SalvageReader(session, notes),
      notes,
      onLoss,
      readSetting: () => readSettingRow(session),
      consistency: () => consistencyOf(shared),
      noVolume: () => noVolume(session, address),
      close: () => session.close(),
    });
  } catch (error) {
    await session.close();
    throw error;
  }
}
