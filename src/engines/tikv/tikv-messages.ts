import { type ProtobufReader, ProtobufWriter } from "../../base/protobuf.ts";
import { decodeKey } from "./key-codec.ts";

/**
 * The parts of the protocol that several calls share (docs/spec/kv-stores.md §2.3). Numbers of 64 bits are bigints, keys are raw
 * unless it says otherwise.
 */

export interface Peer {
  readonly id: bigint;
  readonly storeId: bigint;
}

/** A range of keys that one group of stores serves; an empty `end` is no boundary. */
export interface Region {
  readonly id: bigint;
  readonly start: Buffer;
  readonly end: Buffer;
  readonly confVer: bigint;
  readonly version: bigint;
  readonly peers: readonly Peer[];
  /** Undefined while the stores have none, or none is known. */
  readonly leader: Peer | undefined;
}

export function readPeer(reader: ProtobufReader): Peer {
  let [id, storeId] = [0n, 0n];
  while (reader.next()) {
    if (reader.field === 1) id = reader.uint64();
    else if (reader.field === 2) storeId = reader.uint64();
  }
  return { id, storeId };
}

export function peerMessage(peer: Peer): ProtobufWriter {
  return new ProtobufWriter(32).number(1, peer.id).number(2, peer.storeId);
}

/** metapb.Region; its boundaries come in the encoded form. */
export function readRegion(reader: ProtobufReader, leader?: Peer): Region {
  let [id, confVer, version] = [0n, 0n, 0n];
  let start = Buffer.alloc(0);
  let end = Buffer.alloc(0);
  const peers: Peer[] = [];
  while (reader.next()) {
    if (reader.field === 1) id = reader.uint64();
    else if (reader.field === 2) start = decodeKey(reader.view()) as Buffer<ArrayBuffer>;
    else if (reader.field === 3) end = decodeKey(reader.view()) as Buffer<ArrayBuffer>;
    else if (reader.field === 5) peers.push(readPeer(reader.message()));
    else if (reader.field === 4) {
      const epoch = reader.message();
      while (epoch.next()) {
        if (epoch.field === 1) confVer = epoch.uint64();
        else if (epoch.field === 2) version = epoch.uint64();
      }
    }
  }
  return { id, start, end, confVer, version, peers, leader };
}

/** A lock of a transaction that has not been cleaned up. */
export interface Lock {
  readonly primary: Buffer;
  /** The start timestamp of its transaction. */
  readonly version: bigint;
  readonly key: Buffer;
  /** Milliseconds from the physical part of `version` on. */
  readonly ttl: number;
  readonly useAsyncCommit: boolean;
  readonly minCommitTs: bigint;
  /** All other keys of the transaction; only in the lock of the primary, with asynchronous commit. */
  readonly secondaries: readonly Buffer[];
}

export function readLock(reader: ProtobufReader): Lock {
  let [primary, key] = [NOTHING, NOTHING];
  let [version, minCommitTs] = [0n, 0n];
  let ttl = 0;
  let useAsyncCommit = false;
  const secondaries: Buffer[] = [];
  while (reader.next()) {
    if (reader.field === 1) primary = Buffer.from(reader.view());
    else if (reader.field === 2) version = reader.uint64();
    else if (reader.field === 3) key = Buffer.from(reader.view());
    else if (reader.field === 4) ttl = reader.number();
    else if (reader.field === 8) useAsyncCommit = reader.bool();
    else if (reader.field === 9) minCommitTs = reader.uint64();
    else if (reader.field === 10) secondaries.push(Buffer.from(reader.view()));
  }
  return { primary, version, key, ttl, useAsyncCommit, minCommitTs, secondaries };
}

const NOTHING: Buffer = Buffer.alloc(0);

/** kvrpcpb.KeyError: why a key could not be read or written. */
export interface KeyError {
  readonly kind: "locked" | "conflict" | "retryable" | "commit-ts-expired" | "txn-not-found" | "other";
  readonly lock: Lock | undefined;
  readonly text: string;
}

const KEY_ERRORS: Readonly<Record<number, { kind: KeyError["kind"]; text: string }>> = {
  2: { kind: "retryable", text: "the transaction has to be repeated" },
  3: { kind: "other", text: "the transaction was aborted" },
  4: { kind: "conflict", text: "another transaction has written the key" },
  5: { kind: "other", text: "the key is there already" },
  6: { kind: "conflict", text: "a deadlock" },
  7: { kind: "commit-ts-expired", text: "the commit timestamp is too low" },
  8: { kind: "txn-not-found", text: "there is no such transaction" },
  9: { kind: "other", text: "the commit timestamp is too high" },
  10: { kind: "other", text: "an assertion failed" },
  11: { kind: "other", text: "the key is not the first one of its transaction" },
};

/** Newer servers tell more about an error, in fields of which nothing is known here: they are no other error. */
export function readKeyError(reader: ProtobufReader): KeyError {
  let error: KeyError | undefined;
  let unknown = "an error without a reason";
  while (reader.next()) {
    if (reader.field === 1) {
      error = lockedError(readLock(reader.message()));
      continue;
    }
    const known = KEY_ERRORS[reader.field];
    if (known === undefined) {
      unknown = `error ${reader.field}`;
      continue;
    }
    const detail = reader.field === 2 || reader.field === 3 ? `: ${reader.text()}` : "";
    error = { kind: known.kind, lock: undefined, text: known.text + detail };
  }
  return error ?? { kind: "other", lock: undefined, text: unknown };
}

/** Locks that several transactions share, which only TiDB makes, are told of in another way, without a version. */
function lockedError(lock: Lock): KeyError {
  const key = lock.key.toString("hex");
  if (lock.version === 0n) return { kind: "other", lock: undefined, text: `key ${key} has a lock of an unknown kind` };
  return { kind: "locked", lock, text: `key ${key} is locked by transaction ${lock.version}` };
}

/** errorpb.Error: why a store could not serve a region. */
export interface RegionError {
  readonly kind:
    | "not-leader"
    | "stale-region"
    | "stale-store"
    | "busy"
    | "not-ready"
    | "entry-too-large"
    | "disk-full"
    | "flashback"
    | "unknown";
  readonly message: string;
  readonly leader: Peer | undefined;
  /** What the server asks to wait. */
  readonly pauseMs: number;
  /** What the store has in the place of the region; who leads them is not told. */
  readonly regions: readonly Region[];
  /** What was asked for may have been handed to the group of stores before: it may have been done, or be done yet. */
  readonly isUncertain: boolean;
}

const REGION_ERRORS: Readonly<Record<number, RegionError["kind"]>> = {
  2: "not-leader",
  3: "stale-region",
  4: "stale-region",
  5: "stale-region",
  6: "busy",
  7: "not-ready",
  8: "stale-store",
  9: "entry-too-large",
  10: "not-ready",
  11: "not-ready",
  12: "not-ready",
  13: "not-ready",
  14: "stale-region",
  15: "disk-full",
  16: "not-ready",
  17: "flashback",
  18: "flashback",
  19: "stale-region",
  20: "stale-region",
  21: "not-ready",
};
const [NOT_LEADER, REGION_NOT_FOUND, EPOCH_NOT_MATCH, SERVER_IS_BUSY, STALE_COMMAND] = [2, 3, 5, 6, 7];
/** A store that gives up a region, or its leadership, lets go of what others may still carry out. */
const UNCERTAIN: ReadonlySet<number> = new Set([REGION_NOT_FOUND, STALE_COMMAND]);
const MAX_PAUSE_MS = 10_000;

export function readRegionError(reader: ProtobufReader): RegionError {
  let kind: RegionError["kind"] = "unknown";
  let message = "";
  let leader: Peer | undefined;
  let pauseMs = 0;
  let isUncertain = true; // what is not known may mean anything
  const regions: Region[] = [];
  while (reader.next()) {
    if (reader.field === 1) {
      message = reader.text();
      continue;
    }
    const known = REGION_ERRORS[reader.field];
    if (known === undefined) continue;
    kind = known;
    isUncertain = UNCERTAIN.has(reader.field);
    const part = reader.message();
    while (part.next()) {
      if (reader.field === NOT_LEADER && part.field === 2) leader = readPeer(part.message());
      else if (reader.field === SERVER_IS_BUSY && part.field === 2) pauseMs = Math.min(part.number(), MAX_PAUSE_MS);
      else if (reader.field === EPOCH_NOT_MATCH && part.field === 1) regions.push(readRegion(part.message()));
    }
  }
  return { kind, message, leader: leader?.storeId === 0n ? undefined : leader, pauseMs, regions, isUncertain };
}

/** Bits of the counter within a millisecond. */
const LOGICAL_BITS = 18n;

export function composeTimestamp(physicalMs: bigint, logical: bigint): bigint {
  return (physicalMs << LOGICAL_BITS) + logical;
}

/** Milliseconds since 1970. */
export function physicalOf(timestamp: bigint): number {
  return Number(timestamp >> LOGICAL_BITS);
}
