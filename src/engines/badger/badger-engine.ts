import { statSync } from "node:fs";
import { tmpdir } from "node:os";
import { EngineError, NotFoundError, UsageError } from "../../base/errors.ts";
import { redactUrl } from "../../base/redact-url.ts";
import type { Engine } from "../engine.ts";
import { changeLogRewind } from "../kv/change-log.ts";
import { KvMetadataStore } from "../kv/kv-metadata-store.ts";
import { BadgerStore, LOG_REWIND } from "./badger-store.ts";

const SCHEME = "badger://";

/** BadgerDB v4, a directory that one process has open at a time (docs/spec/kv.md, docs/spec/kv-stores.md §3). */
export const badgerEngine: Engine = {
  name: "BadgerDB",

  async open(address, options) {
    const directory = parseBadgerAddress(address);
    const found = statSync(directory, { throwIfNoEntry: false });
    if (found === undefined && !options.create) {
      throw new NotFoundError("DECANT_E_NO_DATABASE", `There is no directory ${directory}`, { hint: "Check the path" });
    }
    if (found !== undefined && !found.isDirectory()) {
      throw new EngineError("DECANT_E_OPEN_DATABASE", `${directory} is no directory`, {
        hint: "badger:// takes the directory in which BadgerDB keeps its files",
      });
    }
    const rewind = changeLogRewind(options.env, LOG_REWIND);
    return new KvMetadataStore(new BadgerStore(redactUrl(address), directory, options.tmpDir ?? tmpdir(), rewind));
  },
};

/** All behind `://` is the directory, as it stands (docs/spec/kv.md §1). Throws `UsageError` when there is none. */
export function parseBadgerAddress(address: string): string {
  const directory = address.slice(SCHEME.length);
  if (directory === "" || directory.includes("\0")) {
    throw new UsageError("DECANT_E_META_URL", `${redactUrl(address)} names no directory`, {
      hint: "Write badger:///absolute/directory",
    });
  }
  return directory;
}
