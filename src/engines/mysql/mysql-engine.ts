import type { Engine, MetadataStore, OpenOptions } from "../engine.ts";
import { parseMysqlAddress } from "./mysql-address.ts";
import { withSession } from "./mysql-session.ts";
import { MysqlStore } from "./mysql-store.ts";

/** Volumes in MySQL and MariaDB databases (docs/spec/sql.md): `mysql://user:password@(host:port)/database`. */
export const mysqlEngine: Engine = {
  name: "MySQL",

  async open(address: string, options: OpenOptions): Promise<MetadataStore> {
    const parsed = parseMysqlAddress(address, options.env);
    // Says now rather than later that the server cannot be reached or that the database is missing.
    await withSession(parsed, options.env, options.signal, async () => undefined);
    return new MysqlStore(parsed, options.env);
  },
};
