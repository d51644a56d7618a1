import { writeNumberArgument, writePairArgument } from "../decimal.ts";
import { KeyList } from "../key-list.ts";
import { FAMILY_CHUNK } from "../redis-keys.ts";
import { FAMILIES } from "../scan-page.ts";
import type { DirtyKeys } from "./dirty-keys.ts";

/** Makes the lists of keys that commands are written from. */
export class KeyLists {
  readonly #prefixes: ReadonlyMap<number, Buffer>;

  constructor(prefix: Buffer) {
    this.#prefixes = new Map(FAMILIES.map((family) => [family, Buffer.concat([prefix, Buffer.from([family])])]));
  }

  /** All keys of a family, in lists of about `perList`; a list is valid until the next one is asked for. */
  *lists(keys: DirtyKeys, family: number, perList: number): Generator<KeyList> {
    const list = new KeyList();
    const prefix = this.#prefixes.get(family)!;
    const add = (hi: number, lo: number, index: number): void => {
      if (family === FAMILY_CHUNK) writePairArgument(list.args, prefix, hi, lo, 0x5f, 0, index);
      else writeNumberArgument(list.args, prefix, hi, lo);
      list.add(hi, lo, index);
    };
    for (const _ of keys.inodes(family, add)) {
      if (list.count < perList) continue;
      yield list;
      list.clear();
    }
    if (list.count > 0) yield list;
  }
}
