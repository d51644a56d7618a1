/** What a client sees of a value. */
export type RedisType = "string" | "list" | "set" | "hash" | "zset" | "other";

/**
 * How the bytes of a value are laid out:
 *   string      one string
 *   strings     a count, then that many strings; of hashes field and value by turns
 *   scored      a count, then member and score by turns; `text` (u8 size, ASCII) or `double` (8 bytes, little-endian)
 *   expiring    of hashes whose fields may expire: see `FieldExpiry`
 *   container   one string that holds all (containers.ts)
 *   containers  a count, then that many of these
 *   nodes       a count, then that many of: u8 1 = one plain element, 2 = listpack; string
 *   stream, module: skipped by their structure
 */
export type ValueLayout =
  | "string"
  | "strings"
  | "scored-text"
  | "scored-double"
  | "expiring"
  | "container"
  | "containers"
  | "nodes"
  | "stream"
  | "module";

export type ContainerKind = "listpack" | "ziplist" | "zipmap" | "intset";

/**
 * Where the times stand at which fields expire, in Unix milliseconds, 0 or -1 = never:
 *   absolute   a length before each field                                   Redis 7.4 before its release
 *   relative   u64 little-endian smallest time, then a length before each field: 0, or time - smallest + 1
 *   trailing   i64 little-endian behind each value                          Valkey 9
 * In listpacks the time is a third entry for each field, absolute in any case; with `relative`, a smallest time that nobody needs
 * comes before the listpack.
 */
export type FieldExpiry = "absolute" | "relative" | "trailing";

export interface RdbValueType {
  readonly type: RedisType;
  readonly layout: ValueLayout;
  readonly container?: ContainerKind;
  readonly expiry?: FieldExpiry;
  /** Of streams: what versions 2 and 3 have more. */
  readonly version?: number;
}

const COMMON: Readonly<Record<number, RdbValueType>> = {
  0: { type: "string", layout: "string" },
  1: { type: "list", layout: "strings" },
  2: { type: "set", layout: "strings" },
  3: { type: "zset", layout: "scored-text" },
  4: { type: "hash", layout: "strings" },
  5: { type: "zset", layout: "scored-double" },
  7: { type: "other", layout: "module" },
  9: { type: "hash", layout: "container", container: "zipmap" },
  10: { type: "list", layout: "container", container: "ziplist" },
  11: { type: "set", layout: "container", container: "intset" },
  12: { type: "zset", layout: "container", container: "ziplist" },
  13: { type: "hash", layout: "container", container: "ziplist" },
  14: { type: "list", layout: "containers", container: "ziplist" },
  15: { type: "other", layout: "stream", version: 1 },
  16: { type: "hash", layout: "container", container: "listpack" },
  17: { type: "zset", layout: "container", container: "listpack" },
  18: { type: "list", layout: "nodes", container: "listpack" },
  19: { type: "other", layout: "stream", version: 2 },
  20: { type: "set", layout: "container", container: "listpack" },
  21: { type: "other", layout: "stream", version: 3 },
};

const OF_REDIS: Readonly<Record<number, RdbValueType>> = {
  22: { type: "hash", layout: "expiring", expiry: "absolute" },
  23: { type: "hash", layout: "container", container: "listpack", expiry: "absolute" },
  24: { type: "hash", layout: "expiring", expiry: "relative" },
  25: { type: "hash", layout: "container", container: "listpack", expiry: "relative" },
};

const OF_VALKEY: Readonly<Record<number, RdbValueType>> = {
  22: { type: "hash", layout: "expiring", expiry: "trailing" },
};

/** The types of values by their number, which means something else in files of Redis and of Valkey from 22 on. */
export function valueTypes(magic: "REDIS" | "VALKEY"): readonly (RdbValueType | undefined)[] {
  const table: (RdbValueType | undefined)[] = new Array(256).fill(undefined);
  const all = { ...COMMON, ...(magic === "REDIS" ? OF_REDIS : OF_VALKEY) };
  for (const [number, type] of Object.entries(all)) table[Number(number)] = type;
  return table;
}

export const OPCODE_SLOT_INFO = 244;
export const OPCODE_FUNCTION = 245;
export const OPCODE_MODULE_AUX = 247;
export const OPCODE_IDLE = 248;
export const OPCODE_FREQUENCY = 249;
export const OPCODE_AUX = 250;
export const OPCODE_RESIZE = 251;
export const OPCODE_EXPIRE_MS = 252;
export const OPCODE_EXPIRE = 253;
export const OPCODE_DATABASE = 254;
export const OPCODE_END = 255;

/** Newest versions that are known: Redis 8, Valkey 9. Valkey 7 and 8 write files of version 11 of Redis. */
export const MAX_VERSION: Readonly<Record<"REDIS" | "VALKEY", number>> = { REDIS: 12, VALKEY: 80 };
/** Since this version a checksum stands at the end. */
export const CHECKSUM_VERSION = 5;
