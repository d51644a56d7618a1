import { ByteWriter } from "../../../base/bytes.ts";
import type { CommandTarget } from "../command-target.ts";
import type { DirectoryReader } from "../directory-reader.ts";
import type { RawValues } from "../raw-values.ts";
import { FAMILY_DIRECTORY } from "../redis-keys.ts";
import { readValues, VALUE_FAMILIES, writeReads } from "../value-commands.ts";
import type { DirtyKeys } from "./dirty-keys.ts";
import type { KeyLists } from "./key-lists.ts";

const KEYS_PER_LIST = 5000;

/**
 * Reads the values of keys of inode families as they are by now, one after the other. Directories come last: which of their entries
 * repeat is told by attributes. A key that is gone has an empty value.
 */
export async function* readAgain(
  connection: CommandTarget,
  keys: DirtyKeys,
  lists: KeyLists,
  directories: DirectoryReader,
): AsyncGenerator<RawValues> {
  for (const family of VALUE_FAMILIES) {
    for (const list of lists.lists(keys, family, KEYS_PER_LIST)) {
      const writer = new ByteWriter(65536);
      writeReads(writer, family, list);
      connection.send(writer.take());
      yield* readValues(connection, family, list);
    }
  }
  for (const list of lists.lists(keys, FAMILY_DIRECTORY, KEYS_PER_LIST)) {
    directories.askSizes(list);
    await directories.readSizes(list);
    yield* directories.drain(false);
  }
  yield* directories.readLarge();
}
