import { encodeAclRule } from "../../src/volume/acl.ts";
import { type Attribute, encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import {
  type FlatKind,
  packBatch,
  type QuotaRecord,
  type RecordBatch,
  type RecordTypes,
  type SliceRefRecord,
} from "../../src/volume/records.ts";
import { encodeSlices, type Slice } from "../../src/volume/slices.ts";

/** Records by kind: what a loader is given and a snapshot must return. */
export type RecordSet = { [K in FlatKind]?: RecordTypes[K][] };

/** Above 2^53 and above 2^63: numbers that a JavaScript number, or a signed one, would change. */
export const INODE_PAST_DOUBLE: bigint = (1n << 53n) + 1n;
export const INODE_PAST_SIGNED: bigint = (1n << 63n) + 5n;

const SECONDS = 1_700_000_000n;
const LARGE_LIST_SLICES = 6000;

export const SAMPLE_SETTING: Buffer = Buffer.from(
  '{\n"Name": "conformance",\n"UUID": "11111111-2222-4333-8444-555555555555",\n"Storage": "file",\n"Tiers": null,\n' +
    '"Bucket": "/srv/jfs/",\n"BlockSize": 4096,\n"Compression": "none",\n"TrashDays": 1,\n"MetaVersion": 1,\n' +
    '"DirStats": true,\n"UserGroupQuota": true,\n"EnableACL": true\n}',
);

export function attribute(type: number, parent: bigint, changes: Partial<Attribute> = {}): Buffer {
  const isDirectory = type === FileType.directory;
  return encodeAttribute({
    ...newDirectoryAttribute(0o755, SECONDS),
    type,
    parent,
    nlink: isDirectory ? 2 : 1,
    length: isDirectory ? 4096n : 0n,
    ...changes,
  });
}

/** Names that text handling would change: not UTF-8, control bytes, blanks, case, composition, the longest one. */
export const ODD_NAMES: readonly Buffer[] = [
  Buffer.from("plain"),
  Buffer.from("PLAIN"),
  Buffer.from("trailing blank "),
  Buffer.from(" "),
  Buffer.from("q\"uo'te\\back%41"),
  Buffer.from("line\nfeed\ttab\rreturn"),
  Buffer.from([0x62, 0x61, 0x64, 0xff, 0xfe]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xe6, 0xb1]),
  Buffer.from("caf\u00e9"),
  Buffer.from("cafe\u0301"),
  Buffer.from("\ufffd"),
  Buffer.from("日本語"),
  Buffer.from([0x01, 0x7f, 0x80]),
  Buffer.from("10"),
  Buffer.from("9"),
  Buffer.alloc(255, "x"),
];

const ODD_DIRECTORY = 20n;
const FIRST_ODD_FILE = 100n;

/** What an engine has room for where others have more (docs/spec/sql.md §6). */
export interface SampleLimits {
  /** The largest uid, gid, rdev and slice size. */
  readonly maxNumber: number;
  /** The largest number of slices in one chunk. */
  readonly maxSlices: number;
  /** Whether names of extended attributes may be any bytes. */
  readonly byteNames: boolean;
  /** Whether extended attributes must have at least one byte. */
  readonly noEmptyValues?: boolean;
}

const NO_LIMITS: SampleLimits = { maxNumber: 4294967295, maxSlices: LARGE_LIST_SLICES, byteNames: true };

/** One small volume with every kind of record and the values at the edges of each. Its parts fit each other. */
export function sampleRecords(limits: SampleLimits = NO_LIMITS): RecordSet {
  const { chunk, sliceRef } = sampleData(limits);
  return {
    counter: [
      { name: "usedSpace", value: (1n << 62n) + 4096n },
      { name: "totalInodes", value: 47n },
      { name: "nextInode", value: 1026n },
      { name: "nextChunk", value: (1n << 53n) + 3n },
      { name: "nextSession", value: 9n },
      { name: "nextTrash", value: 2n },
    ],
    node: sampleNodes(limits),
    edge: sampleEdges(),
    chunk,
    sliceRef,
    symlink: [
      { inode: 4n, target: Buffer.from("../target with blank") },
      { inode: 5n, target: Buffer.from([0x2f, 0xff, 0x0a, 0x22, ...Buffer.alloc(4000, "t")]) },
    ],
    xattr: sampleXattrs(limits),
    parent: [
      { inode: 3n, parent: 1n, count: 2n },
      { inode: 3n, parent: 2n, count: 1n },
    ],
    acl: [
      { id: 1, rule: encodeAclRule({ owner: 6, group: 4, mask: 0xffff, other: 0, users: [], groups: [] }) },
      { id: 7, rule: encodeAclRule(largeRule()) },
    ],
    ...rareRecords(),
  };
}

function largeRule() {
  const users = Array.from({ length: 40 }, (_, i) => ({ id: 4294967295 - i, perm: i % 8 }));
  return { owner: 7, group: 5, mask: 7, other: 5, users, groups: [{ id: 0, perm: 0 }] };
}

function sampleNodes({ maxNumber }: SampleLimits): RecordTypes["node"][] {
  const fullAttribute: Partial<Attribute> = {
    flags: 255,
    mode: 0o7777,
    uid: maxNumber,
    gid: maxNumber - 1,
    atime: -5n,
    mtime: 1n << 33n,
    mtimensec: 999_999_999,
    ctime: SECONDS,
    ctimensec: 123_456_789,
    nlink: 3,
    length: (1n << 62n) + 1n,
    accessAclId: 1,
    defaultAclId: 0,
    tier: 3,
  };
  return [
    { inode: 1n, attribute: attribute(FileType.directory, 1n, { mode: 0o777, nlink: 4 }) },
    { inode: 2n, attribute: attribute(FileType.directory, 1n, { accessAclId: 7, defaultAclId: 1 }) },
    { inode: 3n, attribute: attribute(FileType.regular, 0n, fullAttribute) },
    { inode: 4n, attribute: attribute(FileType.symlink, 1n, { length: 20n }) },
    { inode: 5n, attribute: attribute(FileType.symlink, 1n, { length: 4004n, tier: 1 }) },
    { inode: 6n, attribute: attribute(FileType.fifo, 2n) },
    { inode: 7n, attribute: attribute(FileType.blockdev, 2n, { rdev: 1_050_668 }) },
    { inode: 8n, attribute: attribute(FileType.chardev, 2n, { rdev: maxNumber }) },
    { inode: 9n, attribute: attribute(FileType.socket, 2n) },
    { inode: ODD_DIRECTORY, attribute: attribute(FileType.directory, 2n) },
    ...ODD_NAMES.map((_, i) => ({
      inode: FIRST_ODD_FILE + BigInt(i),
      attribute: attribute(FileType.regular, ODD_DIRECTORY),
    })),
    { inode: INODE_PAST_DOUBLE, attribute: attribute(FileType.regular, 1n, { length: 1n << 53n }) },
    { inode: INODE_PAST_SIGNED, attribute: attribute(FileType.regular, 1n, { length: 10n }) },
    { inode: TRASH_INODE, attribute: attribute(FileType.directory, 1n, { mode: 0o555 }) },
    { inode: TRASH_INODE + 1n, attribute: attribute(FileType.directory, TRASH_INODE, { mode: 0o555 }) },
    { inode: 30n, attribute: attribute(FileType.regular, TRASH_INODE + 1n) },
    { inode: 31n, attribute: attribute(FileType.regular, 2n, { nlink: 0 }) }, // open, but removed
  ];
}

function sampleEdges(): RecordTypes["edge"][] {
  const edge = (parent: bigint, name: string | Buffer, inode: bigint, type: number): RecordTypes["edge"] => ({
    parent,
    name: Buffer.from(name),
    inode,
    type,
  });
  return [
    edge(1n, "directory", 2n, FileType.directory),
    edge(1n, "file", 3n, FileType.regular),
    edge(1n, "file again", 3n, FileType.regular),
    edge(2n, "file elsewhere", 3n, FileType.regular),
    edge(1n, "link", 4n, FileType.symlink),
    edge(1n, "odd link", 5n, FileType.symlink),
    edge(2n, "fifo", 6n, FileType.fifo),
    edge(2n, "block", 7n, FileType.blockdev),
    edge(2n, "character", 8n, FileType.chardev),
    edge(2n, "socket", 9n, FileType.socket),
    edge(2n, "odd", ODD_DIRECTORY, FileType.directory),
    ...ODD_NAMES.map((name, i) => edge(ODD_DIRECTORY, name, FIRST_ODD_FILE + BigInt(i), FileType.regular)),
    edge(1n, "past double", INODE_PAST_DOUBLE, FileType.regular),
    edge(1n, "past signed", INODE_PAST_SIGNED, FileType.regular),
    edge(TRASH_INODE, "2026-01-01-00", TRASH_INODE + 1n, FileType.directory),
    edge(TRASH_INODE + 1n, "1-30-removed", 30n, FileType.regular),
  ];
}

/** Chunks, and for every slice id but 0 how many slice records name it. */
function sampleData({ maxNumber, maxSlices }: SampleLimits): {
  chunk: RecordTypes["chunk"][];
  sliceRef: SliceRefRecord[];
} {
  const slice = (id: bigint, changes: Partial<Slice> = {}): Slice => ({
    pos: 0,
    id,
    size: 10,
    off: 0,
    len: 10,
    ...changes,
  });
  const many = Array.from({ length: Math.min(LARGE_LIST_SLICES, maxSlices) }, (_, i) =>
    slice(BigInt(1000 + i), { pos: i * 10 }),
  );
  const lists: [bigint, number, Slice[]][] = [
    [3n, 0, many],
    [3n, 2, [slice(1n, { pos: 67_108_863, size: maxNumber, off: maxNumber - 1, len: 1 })]],
    [3n, 65_536, [slice(0n, { size: 0 }), slice(2n), slice(2n, { pos: 20 }), slice(0n, { size: 0, pos: 5 })]],
    [INODE_PAST_DOUBLE, 0, [slice(2n), slice((1n << 53n) + 1n)]],
    [INODE_PAST_SIGNED, 0, [slice((1n << 63n) + 7n)]],
    [31n, 0, [slice(3n)]],
    [40n, 0, [slice(4n)]], // waits for deletion: it has no node any more
  ];
  const references = new Map<bigint, SliceRefRecord>();
  for (const { id, size } of lists.flatMap(([, , slices]) => slices)) {
    if (id === 0n) continue;
    references.set(id, { id, size, refs: (references.get(id)?.refs ?? 0n) + 1n });
  }
  return {
    chunk: lists.map(([inode, index, slices]) => ({ inode, index, slices: encodeSlices(slices) })),
    sliceRef: [...references.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

const NAME_NOT_UTF8 = Buffer.from([0x75, 0x73, 0x65, 0x72, 0x2e, 0xff, 0xfe]);
const NAME_PAST_ASCII = Buffer.from(`user.${"\u{1f980}".repeat(60)}`);

function sampleXattrs({ byteNames, noEmptyValues = false }: SampleLimits): RecordTypes["xattr"][] {
  const named = (inode: bigint, name: string, value: Buffer) => ({ inode, name: Buffer.from(name), value });
  return [
    named(2n, "user.empty", Buffer.alloc(noEmptyValues ? 1 : 0)),
    named(2n, "user.bytes", Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
    named(2n, "user.large", Buffer.alloc(65_000, 0xfe)),
    { inode: 2n, name: byteNames ? NAME_NOT_UTF8 : NAME_PAST_ASCII, value: Buffer.from("odd name") },
    ...Array.from({ length: 300 }, (_, i) => named(3n, `user.number-${i}`, Buffer.from(String(i)))),
    named(INODE_PAST_SIGNED, "user.a", Buffer.from("1")),
  ];
}

function rareRecords(): RecordSet {
  const quota = (key: bigint, limits: [bigint, bigint], used: [bigint, bigint]): QuotaRecord => ({
    key,
    maxSpace: limits[0],
    maxInodes: limits[1],
    usedSpace: used[0],
    usedInodes: used[1],
  });
  return {
    sustained: [
      { sid: 1n, inode: 31n },
      { sid: (1n << 53n) + 1n, inode: 31n },
    ],
    delFile: [
      { inode: 40n, length: 10n, expire: SECONDS },
      { inode: 41n, length: (1n << 62n) + 1n, expire: SECONDS + 1n },
    ],
    dirStat: [
      { inode: 1n, dataLength: 0n, usedSpace: 1n << 60n, usedInodes: 3n },
      { inode: 2n, dataLength: -10n, usedSpace: -4096n, usedInodes: -1n },
      { inode: TRASH_INODE, dataLength: 0n, usedSpace: 4096n, usedInodes: 1n },
    ],
    quota: [quota(1n, [-1n, -1n], [5n, 6n]), quota(2n, [1n << 60n, 100n], [-4096n, 0n])],
    userQuota: [quota(0n, [-1n, -1n], [4096n, 1n]), quota(4294967295n, [1n << 62n, -1n], [0n, 0n])],
    groupQuota: [quota(0n, [0n, 0n], [8192n, 2n])],
  };
}

/** The records of a set as batches, a few records in each, kinds in the order of `set`. */
export function* toBatches(set: RecordSet, recordsPerBatch: number = 7): Generator<RecordBatch> {
  for (const kind of Object.keys(set) as FlatKind[]) {
    const records = set[kind] as RecordTypes[typeof kind][];
    for (let i = 0; i < records.length; i += recordsPerBatch) {
      yield packBatch(kind, records.slice(i, i + recordsPerBatch) as never);
    }
  }
}

/** Every record of a set as a line of text, by kind, sorted: equal texts are equal sets. */
export function toText(set: RecordSet | ReadonlyMap<string, readonly object[]>): Record<string, string[]> {
  const entries = set instanceof Map ? [...set.entries()] : Object.entries(set);
  return Object.fromEntries(
    entries
      .filter(([, records]) => records.length > 0)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([kind, records]) => [kind, (records as readonly object[]).map(recordText).sort()]),
  );
}

function recordText(record: object): string {
  return Object.entries(record)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${Buffer.isBuffer(value) ? `0x${value.toString("hex")}` : String(value)}`)
    .join(" ");
}

/**
 * What an engine returns of a set: references to a slice that is named once are not stored by every engine, so they are
 * compared only where the count is another.
 */
export function comparable(set: RecordSet | ReadonlyMap<string, readonly object[]>): Record<string, string[]> {
  const text = toText(set);
  if (text.sliceRef !== undefined) text.sliceRef = text.sliceRef.filter((line) => !/\brefs=1\b/.test(line));
  if (text.sliceRef?.length === 0) delete text.sliceRef;
  return text;
}
