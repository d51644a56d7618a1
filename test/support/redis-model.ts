import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";

/**
 * A volume that writers change while invariants hold at every instant. Each writer has a range of inodes of its own:
 *
 *   accounts   the sum of their lengths never changes
 *   sequence   one inode, and values of every other kind of key, that all hold the same number
 *   pairs      a node, its entry and its xattr, that come and go together
 */
export const ACCOUNTS = 100;
export const ACCOUNT_LENGTH = 1000;
export const PAIRS = 100;

export function baseOf(writer: number): number {
  return writer * 1_000_000;
}

export interface ModelInodes {
  readonly account: (i: number) => number;
  readonly sequence: number;
  /** Directory of the pairs. */
  readonly directory: number;
  readonly pair: (i: number) => number;
}

export function inodesOf(writer: number): ModelInodes {
  const base = baseOf(writer);
  return {
    account: (i) => base + i,
    sequence: base + 500_000,
    directory: base + 600_000,
    pair: (i) => base + 700_000 + i,
  };
}

/** Attribute record of a regular file with one link. */
export function attributeOf(length: number): Buffer {
  const attribute = Buffer.alloc(72);
  attribute.writeUInt16BE((1 << 12) | 0o644, 1);
  attribute.writeUInt32BE(1, 47);
  attribute.writeBigUInt64BE(BigInt(length), 51);
  attribute.writeBigUInt64BE(1n, 63);
  return attribute;
}

type Records = ReadonlyMap<FlatKind, RecordTypes[FlatKind][]>;

/** What in these records was true at no instant; empty when nothing. */
export function contradictions(records: Records, writers: number): string[] {
  const found: string[] = [];
  const of = <K extends FlatKind>(kind: K): RecordTypes[K][] => (records.get(kind) ?? []) as RecordTypes[K][];
  const lengths = new Map(
    of("node").map(({ inode, attribute }) => [Number(inode), Number(attribute.readBigUInt64BE(51))]),
  );
  if (lengths.size !== of("node").length) found.push("a node comes twice");
  const counters = new Map(of("counter").map(({ name, value }) => [name, Number(value)]));
  let sequences = 0;
  for (let writer = 1; writer <= writers; writer++) {
    const inodes = inodesOf(writer);
    let sum = 0;
    for (let i = 0; i < ACCOUNTS; i++) sum += lengths.get(inodes.account(i)) ?? Number.NaN;
    if (sum !== ACCOUNTS * ACCOUNT_LENGTH) found.push(`writer ${writer}: the sum is ${sum}`);
    const numbers = sequenceNumbers(of, inodes, lengths);
    const [first] = Object.values(numbers);
    if (Object.values(numbers).some((number) => number !== first)) {
      found.push(`writer ${writer}: ${JSON.stringify(numbers)}`);
    }
    sequences += Number(first);
    found.push(...pairContradictions(of, writer, lengths));
  }
  if (counters.get("usedSpace") !== sequences || counters.get("nextChunk") !== sequences + 1) {
    found.push(`counters ${counters.get("usedSpace")} and ${counters.get("nextChunk")}, sequences ${sequences}`);
  }
  return found;
}

type Of = <K extends FlatKind>(kind: K) => RecordTypes[K][];

function sequenceNumbers(of: Of, inodes: ModelInodes, lengths: ReadonlyMap<number, number>): Record<string, unknown> {
  const inode = BigInt(inodes.sequence);
  const stat = of("dirStat").find((record) => record.inode === inode);
  const quota = of("quota").find((record) => record.key === inode);
  const number = (value: bigint | undefined): number | undefined => (value === undefined ? undefined : Number(value));
  return {
    node: lengths.get(inodes.sequence),
    xattr: number(
      of("xattr")
        .find((record) => record.inode === inode)
        ?.value.readBigUInt64BE(0),
    ),
    chunk: number(
      of("chunk")
        .find((record) => record.inode === inode && record.index === 0)
        ?.slices.readBigUInt64BE(4),
    ),
    laterChunk: number(
      of("chunk")
        .find((record) => record.inode === inode && record.index === 40)
        ?.slices.readBigUInt64BE(4),
    ),
    symlink: Number(
      of("symlink")
        .find((record) => record.inode === inode)
        ?.target.toString(),
    ),
    parent: number(of("parent").find((record) => record.inode === inode)?.count),
    edge: number(of("edge").find((record) => record.parent === inode)?.inode),
    dataLength: number(stat?.dataLength),
    usedSpace: number(stat?.usedSpace),
    usedInodes: number(stat?.usedInodes),
    maxSpace: number(quota?.maxSpace),
    quotaSpace: number(quota?.usedSpace),
    quotaInodes: number(quota?.usedInodes),
    delFile: number(of("delFile").find((record) => record.inode === inode)?.expire),
    sliceRef: number((of("sliceRef").find((record) => record.id === inode)?.refs ?? 0n) - 1n),
    sustained: number(of("sustained").find((record) => record.sid === inode)?.inode),
    acl: of("acl")
      .find((record) => record.id === inodes.sequence)
      ?.rule.readUInt32BE(0),
  };
}

function pairContradictions(of: Of, writer: number, lengths: ReadonlyMap<number, number>): string[] {
  const { directory, pair } = inodesOf(writer);
  const entries = of("edge").filter((record) => record.parent === BigInt(directory));
  const named = new Set(entries.map((record) => Number(record.inode)));
  const withXattr = new Set(of("xattr").map((record) => Number(record.inode)));
  const found: string[] = named.size === entries.length ? [] : [`writer ${writer}: an entry comes twice`];
  for (let i = 0; i < PAIRS; i++) {
    const inode = pair(i);
    const there = [lengths.has(inode), named.has(inode), withXattr.has(inode)];
    if (new Set(there).size > 1) found.push(`writer ${writer}: pair ${i} has node, entry, xattr: ${there}`);
  }
  return found;
}
