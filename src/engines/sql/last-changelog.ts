import { packBatch, type RecordBatch, unpackBatch } from "../../volume/records.ts";

const LAST_CHANGELOG = "lastChangelog";

/**
 * In SQL the last version of the change log is no counter: a row of that name would collide with the one that the reference
 * adds to a binary dump. It is where the numbering of the table goes on (docs/spec/sql.md §10.3). Returns the `counter`
 * batch without it, and the version where the batch has it.
 */
export function takeLastChangelog(batch: RecordBatch): { counters: RecordBatch; lastChangelog: bigint | undefined } {
  const records = [...unpackBatch("counter", batch)];
  const last = records.find(({ name }) => name === LAST_CHANGELOG);
  if (last === undefined) return { counters: batch, lastChangelog: undefined };
  const counters = packBatch(
    "counter",
    records.filter((record) => record !== last),
  );
  return { counters, lastChangelog: last.value };
}
