import type { RecordKind } from "../../../volume/records.ts";
import { QUOTA_KINDS } from "../quota-records.ts";
import { COUNTERS } from "../rare-records.ts";
import { classifyKey, FAMILY_FOREIGN, FAMILY_OTHER, type KeyInfo } from "../redis-keys.ts";
import type { InodeFilter } from "../scan-page.ts";
import type { DirtyKeys } from "./dirty-keys.ts";

export const SESSION_KEY: RegExp = /^session[0-9]+$/;

/** The keys whose values make the records of one kind outside the inode families: where one changes, all are read again. */
function keysOfKind(kind: RecordKind, hasChangeLog: boolean): readonly string[] {
  switch (kind) {
    case "counter":
      return [...COUNTERS.map(({ key }) => key), ...(hasChangeLog ? ["txnLastLog"] : [])];
    case "sustained":
      return ["allSessions"];
    case "delFile":
      return ["delfiles"];
    case "sliceRef":
    case "acl":
      return [kind];
    case "dirStat":
      return ["dirDataLength", "dirUsedSpace", "dirUsedInodes"];
    default: {
      const quota = QUOTA_KINDS.find((candidate) => candidate.kind === kind);
      return quota === undefined ? [] : [quota.key, `${quota.key}UsedSpace`, `${quota.key}UsedInodes`];
    }
  }
}

/** Which keys a read of some kinds of records depends on. */
export class KeyFilter {
  /** Kinds outside the inode families that are read, with their keys. */
  readonly rareKeys: ReadonlyMap<RecordKind, readonly string[]>;
  readonly #families: ReadonlySet<number>;
  readonly #prefixBytes: number;
  readonly #kindOfKey: ReadonlyMap<string, RecordKind>;
  readonly #withSessions: boolean;
  readonly #inodes: InodeFilter | undefined;
  readonly #key: KeyInfo = { hi: 0, lo: 0, index: 0 };

  /** `inodes`: only these, when not all are read. One that is added later has not been read before. */
  constructor(
    prefixBytes: number,
    families: ReadonlySet<number>,
    kinds: ReadonlySet<RecordKind>,
    hasChangeLog: boolean,
    inodes?: InodeFilter,
  ) {
    this.#inodes = inodes;
    this.#prefixBytes = prefixBytes;
    this.#families = families;
    const rare = [...kinds].map((kind) => [kind, keysOfKind(kind, hasChangeLog)] as const);
    this.rareKeys = new Map(rare.filter(([, keys]) => keys.length > 0));
    this.#kindOfKey = new Map([...this.rareKeys].flatMap(([kind, keys]) => keys.map((key) => [key, kind] as const)));
    this.#withSessions = kinds.has("sustained");
  }

  /** Adds the key `bytes[start..end)` to `dirty` where it matters. */
  collect(bytes: Buffer, start: number, end: number, dirty: DirtyKeys): void {
    const from = start + this.#prefixBytes;
    const family = classifyKey(bytes, from, end, this.#key);
    if (family === FAMILY_FOREIGN) return;
    if (family !== FAMILY_OTHER) {
      const { hi, lo } = this.#key;
      if (this.#families.has(family) && this.#inodes?.has(hi, lo) !== false) dirty.addInode(family, this.#key);
      return;
    }
    const name = bytes.toString("latin1", from, end);
    if (this.kindOf(name) !== undefined) dirty.addOther(name);
  }

  /** The kind that a key outside the inode families belongs to; undefined when it does not matter. */
  kindOf(name: string): RecordKind | undefined {
    return this.#withSessions && SESSION_KEY.test(name) ? "sustained" : this.#kindOfKey.get(name);
  }
}
