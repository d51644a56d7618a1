import { ByteWriter } from "../../base/bytes.ts";
import { type Notes, printableKey } from "../notes.ts";
import type { CommandTarget } from "./command-target.ts";
import { toBigInt } from "./decimal.ts";
import { KIND_OF_FAMILY } from "./family-kinds.ts";
import type { KeyList } from "./key-list.ts";
import type { RawValues } from "./raw-values.ts";
import { missingStrings, TYPE_NOTE } from "./record-mapper.ts";
import { TOKEN_STRIDE } from "./resp-parser.ts";
import { writePerKey } from "./value-commands.ts";

const TYPE_HEAD: Buffer = Buffer.from("*2\r\n$4\r\nTYPE\r\n");
const KEYS_PER_CALL = 5000;

/** Remembers the keys for which MGET said nil: it does not tell a key that is gone from one of a wrong type. */
export function keepMissing(raw: RawValues, missing: KeyList): void {
  for (const at of missingStrings(raw)) missing.addFrom(raw.keys, at);
}

/** Notes those of the keys that exist with another type. */
export async function noteWrongTypes(connection: CommandTarget, keys: KeyList, notes: Notes): Promise<void> {
  const writer = new ByteWriter(4096);
  if (keys.count === 0) return;
  writePerKey(writer, keys, TYPE_HEAD);
  connection.send(writer.take());
  for (let done = 0; done < keys.count; ) {
    const block = await connection.read(Math.min(KEYS_PER_CALL, keys.count - done));
    for (let i = 0; i < block.replies; i++) {
      const start = block.tokens[i * TOKEN_STRIDE + 1]!;
      const type = block.bytes.toString("latin1", start, start + block.tokens[i * TOKEN_STRIDE + 2]!);
      const key = keys.args.buffer.subarray(keys.argStart(done + i), keys.ends[done + i]! - 2);
      if (type === "none" || type === "string") continue;
      const name = printableKey(key, key.indexOf(0x0a) + 1);
      const inode = toBigInt(keys.hi[done + i]!, keys.lo[done + i]!);
      const kind = KIND_OF_FAMILY.get(key[key.length - String(inode).length - 1]!);
      notes.loss(TYPE_NOTE, name, { kind, inode, message: `key ${name}: the value is of another type` });
    }
    done += block.replies;
  }
  keys.clear();
}
