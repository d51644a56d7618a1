import { tmpdir } from "node:os";
import type { Engine } from "../../engine.ts";
import { parseRdbAddress } from "./rdb-address.ts";
import { RdbFile } from "./rdb-file.ts";
import { RdbStore, readOnly } from "./rdb-store.ts";

/** A file that Redis, Valkey or KeyDB wrote, read without a server (docs/engines/rdb.md). */
export const rdbEngine: Engine = {
  name: "Redis RDB file",

  async open(address, options) {
    const parsed = parseRdbAddress(address);
    if (options.create) throw readOnly(parsed.url);
    const file = await RdbFile.open(parsed.path);
    return new RdbStore(parsed, file, options.tmpDir ?? tmpdir(), options.logger);
  },
};
