import { UsageError } from "../../base/errors.ts";
import type { Engine, MetadataStore, OpenOptions } from "../engine.ts";
import { parsePostgresAddress } from "./postgres-address.ts";
import { withConnection } from "./postgres-connection.ts";
import { findNameClash } from "./postgres-schema.ts";
import { PostgresStore } from "./postgres-store.ts";

/** Volumes on PostgreSQL servers (docs/spec/sql.md): `postgres://user@host:5432/database`. */
export const postgresEngine: Engine = {
  name: "PostgreSQL",

  async open(address: string, options: OpenOptions): Promise<MetadataStore> {
    const parsed = parsePostgresAddress(address, options.env);
    const clash = findNameClash(parsed.tablePrefix);
    if (clash !== undefined) {
      throw new UsageError(
        "DECANT_E_META_URL",
        `Invalid address ${parsed.url}: the table_prefix is too long: cut to 63 bytes, ${clash} is not the only name of its kind`,
      );
    }
    // Says now rather than later that the server cannot be reached.
    await withConnection(parsed, options.signal, async () => undefined);
    return new PostgresStore(parsed);
  },
};
