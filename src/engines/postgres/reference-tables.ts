import { tableName } from "../sql/schema.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { DERIVED_REFERENCES, GIVEN_REFERENCES } from "./record-writers.ts";
import { quote } from "./stored-names.ts";

/** Names of the two tables, quoted. */
export function referenceTables(prefix: string): string[] {
  return [GIVEN_REFERENCES, DERIVED_REFERENCES].map((name) => quote(tableName(prefix, name)));
}

/**
 * For a source that names only the slices whose count is not 1: those that the chunks name and those that were given wait in
 * tables of their own, which no client looks for and which are stored with each checkpoint. `mergeReferences` drops them.
 */
export async function createReferenceTables(connection: PostgresConnection): Promise<void> {
  for (const name of referenceTables(connection.address.tablePrefix)) {
    await connection.run(
      `CREATE TABLE ${name} (chunkid BIGINT NOT NULL, size INTEGER NOT NULL, refs INTEGER NOT NULL)`,
    );
  }
}

/** A count that was given beats one that was derived from a chunk. */
export async function mergeReferences(connection: PostgresConnection): Promise<void> {
  const [given, derived] = referenceTables(connection.address.tablePrefix);
  await connection.run(
    `INSERT INTO ${connection.catalog.table("chunk_ref")} (chunkid, size, refs)
       SELECT chunkid, size, refs FROM ${given}
       UNION ALL
       SELECT chunkid, max(size), 1 FROM ${derived} d
        WHERE NOT EXISTS (SELECT 1 FROM ${given} g WHERE g.chunkid = d.chunkid) GROUP BY chunkid`,
  );
  await connection.run(`DROP TABLE ${given}, ${derived}`);
}
