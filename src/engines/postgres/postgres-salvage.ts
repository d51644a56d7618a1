import type { Snapshot, SnapshotOptions } from "../engine.ts";
import type { OnLoss } from "../notes.ts";
import { NoteList } from "../sql/note-list.ts";
import { ServerSalvage } from "../sql/server-salvage.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { PostgresConnection } from "./postgres-connection.ts";
import { readSettingRow } from "./postgres-schema.ts";
import { noVolume } from "./postgres-snapshot.ts";
import { SalvageReader } from "./salvage-reader.ts";
import { beginReading } from "./shared-snapshot.ts";

/**
 * What can be read of a damaged volume, in one transaction whose savepoints keep its instant when a statement fails. Throws `NotFoundError`
 * when the database holds no volume, `DataError` when its setting cannot be read.
 */
export async function openPostgresSalvage(
  address: PostgresAddress,
  { signal }: SnapshotOptions,
  onLoss: OnLoss,
): Promise<Snapshot> {
  const connection = await PostgresConnection.open(address, signal);
  try {
    await beginReading(connection);
    const notes = new NoteList();
    const tables = new SalvageReader(connection, notes);
    await tables.prepare();
    return await ServerSalvage.open({
      session: connection,
      prefix: address.tablePrefix,
      url: address.url,
      tables,
      notes,
      onLoss,
      readSetting: () => readSettingRow(connection),
      consistency: () => ({ pointInTime: true, method: "one REPEATABLE READ transaction", asOf: new Date() }),
      noVolume: () => noVolume(address),
      close: () => connection.close(),
    });
  } catch (error) {
    await connection.close();
    throw error;
  }
}
