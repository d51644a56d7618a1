import { describe, expect, test } from "vitest";
import { encodeAclRule } from "../../../src/volume/acl.ts";
import { type Attribute, encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import type { FlatKind, RecordTypes } from "../../../src/volume/records.ts";
import { encodeSlices } from "../../../src/volume/slices.ts";
import { type CheckCall, checkRecords, errorsOf, summaryOf } from "../../support/check-records.ts";

const SECONDS = 1_700_000_000n;

function attribute(type: number, parent: bigint, changes: Partial<Attribute> = {}): Buffer {
  const isDirectory = type === FileType.directory;
  return encodeAttribute({
    ...newDirectoryAttribute(0o644, SECONDS),
    type,
    parent,
    nlink: isDirectory ? 2 : 1,
    length: isDirectory ? 4096n : 0n,
    ...changes,
  });
}

function edge(parent: bigint, name: string, inode: bigint, type: number = FileType.regular): RecordTypes["edge"] {
  return { parent, name: Buffer.from(name), inode, type };
}

const slice = (id: bigint, changes = {}) => ({ pos: 0, id, size: 100, off: 0, len: 100, ...changes });

type Records = { [K in FlatKind]: RecordTypes[K][] };

/** `/d/file`, `/d/link`, `/hard` twice, `/sub/`, a trashed and an open file, a file waiting for deletion. */
function volume(): Records {
  const node = (inode: bigint, bytes: Buffer) => ({ inode, attribute: bytes });
  return {
    setting: [],
    counter: [
      { name: "usedSpace", value: 8n * 4096n },
      { name: "totalInodes", value: 8n },
      { name: "nextInode", value: 100n },
      { name: "nextChunk", value: 100n },
      { name: "nextSession", value: 2n },
      { name: "nextTrash", value: 1n },
    ],
    node: [
      node(1n, attribute(FileType.directory, 1n, { nlink: 4 })),
      node(TRASH_INODE, attribute(FileType.directory, 1n)),
      node(TRASH_INODE + 1n, attribute(FileType.directory, TRASH_INODE)),
      node(2n, attribute(FileType.directory, 1n)),
      node(3n, attribute(FileType.regular, 2n, { length: 100n })),
      node(4n, attribute(FileType.symlink, 2n, { length: 6n })),
      node(5n, attribute(FileType.regular, 0n, { nlink: 2, length: 50n, accessAclId: 1 })),
      node(6n, attribute(FileType.directory, 1n)),
      node(7n, attribute(FileType.regular, TRASH_INODE + 1n)),
      node(8n, attribute(FileType.regular, 2n, { nlink: 0 })),
    ],
    edge: [
      edge(TRASH_INODE, "2026-01-01-00", TRASH_INODE + 1n, FileType.directory),
      edge(TRASH_INODE + 1n, "2-7-old", 7n),
      edge(1n, "d", 2n, FileType.directory),
      edge(2n, "file", 3n),
      edge(2n, "link", 4n, FileType.symlink),
      edge(1n, "hard", 5n),
      edge(2n, "hard", 5n),
      edge(1n, "sub", 6n, FileType.directory),
    ],
    chunk: [
      { inode: 3n, index: 0, slices: encodeSlices([slice(10n), slice(0n, { size: 0, len: 5 })]) },
      { inode: 5n, index: 0, slices: encodeSlices([slice(11n), slice(11n, { pos: 100 })]) },
      { inode: 9n, index: 0, slices: encodeSlices([slice(12n)]) },
    ],
    symlink: [{ inode: 4n, target: Buffer.from("target") }],
    xattr: [{ inode: 3n, name: Buffer.from("user.a"), value: Buffer.from("1") }],
    parent: [
      { inode: 5n, parent: 1n, count: 1n },
      { inode: 5n, parent: 2n, count: 1n },
    ],
    sliceRef: [{ id: 11n, size: 100, refs: 2n }],
    acl: [{ id: 1, rule: encodeAclRule({ owner: 6, group: 4, mask: 4, other: 4, users: [], groups: [] }) }],
    sustained: [
      { sid: 1n, inode: 8n },
      { sid: 2n, inode: 8n },
    ],
    delFile: [{ inode: 9n, length: 100n, expire: SECONDS }],
    dirStat: [
      { inode: 1n, dataLength: 50n, usedSpace: 3n * 4096n, usedInodes: 3n },
      { inode: 2n, dataLength: 150n, usedSpace: 3n * 4096n, usedInodes: 3n },
    ],
    quota: [{ key: 2n, maxSpace: -1n, maxInodes: 10n, usedSpace: 3n * 4096n, usedInodes: 3n }],
    userQuota: [{ key: 0n, maxSpace: 1n, maxInodes: -1n, usedSpace: 0n, usedInodes: 0n }],
    groupQuota: [],
    changeLog: [{ version: 1n, entry: Buffer.from("entry") }],
  };
}

const NOTES = ["open-files 1", "pending-deletion 1"];

/** What is found when the records were changed, without the notes that the volume has anyway. */
async function found(change: (records: Records) => unknown, call: CheckCall = {}): Promise<string[]> {
  const records = volume();
  change(records);
  return summaryOf(await checkRecords(records, call)).filter((line) => !NOTES.includes(line));
}

async function examples(kind: string, change: (records: Records) => unknown): Promise<readonly string[]> {
  const records = volume();
  change(records);
  return (await checkRecords(records)).find((problem) => problem.kind === kind)?.examples ?? [];
}

/** Changes the record of an inode. */
function setNode(
  records: Records,
  inode: bigint,
  type: number,
  parent: bigint,
  changes: Partial<Attribute> = {},
): void {
  const at = records.node.findIndex((node) => node.inode === inode);
  records.node[at] = { inode, attribute: attribute(type, parent, changes) };
}

test("a healthy volume has notes at the most", async () => {
  expect(summaryOf(await checkRecords(volume(), { strict: true }))).toEqual(NOTES);
});

describe("links and entries", () => {
  test("a link count that is not the number of entries, with the path of the file", async () => {
    expect(await found((v) => setNode(v, 3n, FileType.regular, 2n, { nlink: 2, length: 100n }))).toEqual([
      "link-count 1!",
    ]);
    const places = await examples("link-count", (v) =>
      setNode(v, 3n, FileType.regular, 2n, { nlink: 2, length: 100n }),
    );
    expect(places).toEqual(["/d/file: 2 links, 1 entries"]);
  });

  test("a link count that is not the number of subdirectories", async () => {
    expect(await found((v) => setNode(v, 6n, FileType.directory, 1n, { nlink: 3 }))).toEqual(["link-count 1!"]);
  });

  test("spare links of a symbolic link, as clones have them, are a note", async () => {
    const change = (v: Records) => setNode(v, 4n, FileType.symlink, 2n, { nlink: 2, length: 6n });
    expect(await found(change)).toEqual(["spare-links 1"]);
    expect(await found(change, { strict: true })).toEqual(["spare-links 1!"]);
  });

  test("an entry whose inode is missing, with its path", async () => {
    const change = (v: Records) => v.edge.push(edge(2n, "ghost", 77n));
    expect(await found(change)).toEqual(["missing-node 1!", "statistics-differ 1", "quota-usage-differs 1"]);
    expect(await examples("missing-node", change)).toEqual(["/d/ghost"]);
  });

  test("an entry whose directory is missing or a file", async () => {
    expect(await found((v) => v.edge.push(edge(77n, "x", 3n)))).toContain("missing-directory 1!");
    expect(await found((v) => v.edge.push(edge(5n, "x", 3n)))).toContain("missing-directory 1!");
    expect(await examples("missing-directory", (v) => v.edge.push(edge(5n, "x", 3n)))).toEqual(["/d/hard: 1 entries"]);
  });

  test("one name twice in a directory", async () => {
    const change = (v: Records) => v.edge.push(edge(2n, "file", 7n));
    expect(await found(change)).toContain("duplicate-name 1!");
    expect(await examples("duplicate-name", change)).toEqual(["/d"]);
  });

  test("an entry of another type than its inode", async () => {
    expect(await found((v) => (v.edge[3] = edge(2n, "file", 3n, FileType.symlink)))).toEqual(["entry-type 1!"]);
  });

  test.each(["", ".", "..", "a/b", "a\0b", "x".repeat(256)])("the impossible name %j", async (name) => {
    expect(await found((v) => (v.edge[3] = edge(2n, name, 3n)))).toEqual(["bad-name 1!"]);
  });

  test("another parent in the record of an inode than its entry", async () => {
    expect(await found((v) => setNode(v, 3n, FileType.regular, 6n, { length: 100n }))).toEqual(["wrong-parent 1!"]);
    expect(await found((v) => setNode(v, 6n, FileType.directory, 2n))).toEqual(["wrong-parent 1!"]);
  });

  test("the first parent in the record of a file with several entries, as old clients left it", async () => {
    const change = (v: Records) => {
      setNode(v, 5n, FileType.regular, 1n, { nlink: 2, length: 50n, accessAclId: 1 });
      v.parent = [];
    };
    expect(await found(change)).toEqual([]);
  });

  test("parent records that do not fit, and none where the source has none", async () => {
    expect(await found((v) => v.parent.pop())).toEqual(["parent-record 1!"]);
    expect(await found((v) => (v.parent[0] = { inode: 5n, parent: 1n, count: 2n }))).toEqual(["parent-record 1!"]);
    expect(await found((v) => (v.parent = []), { hasParents: false })).toEqual([]);
    expect(await found((v) => v.parent.push({ inode: 3n, parent: 2n, count: 0n }))).toEqual([]);
  });
});

describe("directories", () => {
  test("one in two places", async () => {
    expect(await found((v) => v.edge.push(edge(2n, "again", 6n, FileType.directory)))).toContain(
      "directory-repeated 2!",
    );
  });

  test("a cycle that hangs on the tree", async () => {
    const change = (v: Records) => v.edge.push(edge(2n, "up", 1n, FileType.directory));
    expect(await found(change)).toContain("directory-cycle 1!");
    expect(await examples("directory-cycle", change)).toEqual(["/d/up"]);
  });

  test("a cycle that hangs on nothing", async () => {
    const change = (v: Records) => {
      for (const [inode, parent] of [
        [20n, 21n],
        [21n, 20n],
      ] as const) {
        v.node.push({ inode, attribute: attribute(FileType.directory, parent, { nlink: 3 }) });
        v.edge.push(edge(parent, "round", inode, FileType.directory));
      }
    };
    expect(await found(change)).toEqual(["unreachable-directory 2!", "usage-differs 2"]);
  });

  test("a clone under way is a note, with all that is below it", async () => {
    const change = (v: Records) => {
      v.node.push({ inode: 20n, attribute: attribute(FileType.directory, 6n, { nlink: 3 }) });
      v.node.push({ inode: 21n, attribute: attribute(FileType.directory, 20n) });
      v.node.push({ inode: 22n, attribute: attribute(FileType.regular, 21n) });
      v.edge.push(edge(20n, "below", 21n, FileType.directory), edge(21n, "file", 22n));
    };
    expect(await found(change)).toEqual(["usage-differs 2", "detached-directory 1"]);
  });

  test("a lost entry of a directory shows at the link count above it", async () => {
    expect(await found((v) => (v.edge = v.edge.filter(({ inode }) => inode !== 6n)))).toEqual([
      "link-count 1!",
      "statistics-differ 1",
      "detached-directory 1",
    ]);
  });

  test("a lost entry of an hour directory of the trash", async () => {
    expect(await found((v) => v.edge.shift())).toEqual(["directory-without-entry 1!"]);
  });

  test("roots without a record", async () => {
    expect(await found((v) => v.node.shift())).toEqual(["missing-root 1!", "statistics-without-directory 1"]);
    expect(await found((v) => v.node.splice(1, 1))).toEqual(["missing-trash-root 1!"]);
  });

  test("an inode of the trash outside of it, and another as an hour directory", async () => {
    const move = (v: Records) => {
      v.edge[0] = edge(1n, "2026", TRASH_INODE + 1n, FileType.directory);
      setNode(v, TRASH_INODE + 1n, FileType.directory, 1n);
    };
    expect(await found(move)).toContain("inode-place 1!");
    expect(await found((v) => v.edge.push(edge(TRASH_INODE, "x", 6n, FileType.directory)))).toContain("inode-place 1!");
  });
});

describe("inodes", () => {
  test("without an entry: open, deleted, lost", async () => {
    const lost = (v: Records) => v.node.push({ inode: 20n, attribute: attribute(FileType.regular, 2n) });
    expect(await found(lost)).toEqual(["file-without-entry 1!", "usage-differs 2"]);
    const closed = (v: Records) => (v.sustained = []);
    expect(await found(closed)).toEqual(["unlinked-without-session 1"]);
  });

  test("twice, unknown, too long, at impossible times", async () => {
    expect(await found((v) => v.node.push(v.node[4]!))).toEqual(["duplicate-record 1!"]);
    expect(await found((v) => setNode(v, 7n, 9, TRASH_INODE + 1n))).toContain("unknown-type 1!");
    const long = Buffer.concat([attribute(FileType.regular, TRASH_INODE + 1n), Buffer.alloc(100)]);
    expect(await found((v) => (v.node[8] = { inode: 7n, attribute: long }))).toContain("damaged-node 1!");
    const change = (changes: Partial<Attribute>) => (v: Records) =>
      setNode(v, 7n, FileType.regular, TRASH_INODE + 1n, changes);
    expect(await found(change({ ctime: 1n << 46n }))).toEqual(["impossible-time 1!"]);
    expect(await found(change({ mtimensec: 1_000_000_000 }))).toEqual(["impossible-time 1!"]);
    expect(await found(change({ mtime: 1n << 46n, atime: -5n, atimensec: 4294967000 }))).toEqual([]);
    expect(await found(change({ length: 1n << 63n }))).toContain("impossible-length 1!");
  });

  test("with the empty attributes of a dump of a damaged volume", async () => {
    const empty = { mode: 0, atime: 0n, mtime: 0n, ctime: 0n };
    expect(await found((v) => setNode(v, 7n, FileType.regular, TRASH_INODE + 1n, empty))).toEqual(["empty-node 1!"]);
  });

  test("with what they cannot have, or without what they need", async () => {
    expect(await found((v) => (v.symlink = []))).toEqual(["missing-target 1!"]);
    expect(await found((v) => v.symlink.push({ inode: 3n, target: Buffer.from("x") }))).toEqual([
      "misplaced-record 1!",
    ]);
    expect(await found((v) => (v.chunk[0] = { ...v.chunk[0]!, inode: 6n }))).toEqual(["misplaced-record 1!"]);
    expect(await found((v) => (v.symlink[0] = { inode: 4n, target: Buffer.from("tgt") }))).toEqual([
      "symlink-length 1",
    ]);
    expect(await found((v) => (v.xattr[0] = { ...v.xattr[0]!, name: Buffer.alloc(0) }))).toEqual(["bad-xattr 1!"]);
  });

  test("what is left of an inode that is gone", async () => {
    expect(await found((v) => v.xattr.push({ ...v.xattr[0]!, inode: 50n }))).toEqual(["record-without-inode 1!"]);
    expect(await found((v) => v.symlink.push({ inode: 50n, target: Buffer.from("x") }))).toEqual([
      "record-without-inode 1!",
    ]);
    expect(await found((v) => (v.delFile = []))).toEqual(["record-without-inode 1!"]);
  });

  test("with ACL rules that are not there, or that no client stores", async () => {
    expect(await found((v) => (v.acl = []))).toEqual(["missing-acl 1!"]);
    const rule = (perm: number, ids: number[]) =>
      encodeAclRule({ owner: 6, group: 4, mask: 4, other: 4, users: ids.map((id) => ({ id, perm })), groups: [] });
    for (const bytes of [rule(8, [1]), rule(4, [1, 1]), Buffer.alloc(3)]) {
      expect(await found((v) => (v.acl[0] = { id: 1, rule: bytes }))).toEqual(["bad-acl 1!"]);
    }
  });
});

describe("slices", () => {
  const chunk = (slices: Buffer) => (v: Records) => (v.chunk[0] = { inode: 3n, index: 0, slices });

  test("no whole records", async () => {
    expect(await found(chunk(Buffer.alloc(25)))).toEqual(["damaged-chunk 1!"]);
  });

  test.each([{ pos: 67_108_864 - 99 }, { off: 1 }, { size: 67_108_865 }])(
    "beyond their chunk or object: %j",
    async (changes) => {
      expect(await found(chunk(encodeSlices([slice(10n, changes)])))).toEqual(["slice-bounds 1!"]);
    },
  );

  test("with two sizes, fewer references than uses, and more", async () => {
    expect(await found(chunk(encodeSlices([slice(12n, { size: 200 })])))).toEqual([
      "slice-size 1!",
      "slice-references 1!",
    ]);
    expect(await found((v) => (v.sliceRef = []))).toEqual(["slice-references 1!"]);
    expect(await found((v) => v.sliceRef.push({ id: 10n, size: 100, refs: 0n }))).toEqual(["slice-references 1!"]);
    expect(await found((v) => v.sliceRef.push({ id: 10n, size: 100, refs: 2n }))).toEqual(["spare-references 1"]);
    expect(await found((v) => v.sliceRef.push({ id: 40n, size: 100, refs: 0n }))).toEqual([]);
    expect(await examples("slice-references", (v) => (v.sliceRef = []))).toEqual([
      "/d/hard: slice 11 with 1 for 2 uses",
    ]);
  });

  test("beyond the end of the file are normal after it was cut", async () => {
    expect(await found((v) => v.chunk.push({ inode: 3n, index: 7, slices: encodeSlices([slice(13n)]) }))).toEqual([]);
  });
});

describe("what points to inodes", () => {
  test("an open file that has an entry, or no record", async () => {
    expect(await found((v) => v.sustained.push({ sid: 1n, inode: 3n }))).toEqual([
      "sustained-with-entry 1!",
      "open-files 2",
    ]);
    expect(await found((v) => v.sustained.push({ sid: 1n, inode: 60n }))).toEqual([
      "sustained-without-inode 1!",
      "open-files 2",
    ]);
    expect(await found((v) => v.sustained.push(v.sustained[0]!))).toEqual(["duplicate-record 1!"]);
  });

  test("a file that waits for deletion although it is there", async () => {
    expect(await found((v) => v.delFile.push({ inode: 3n, length: 1n, expire: 1n }))).toEqual([
      "deletion-of-inode 1!",
      "pending-deletion 2",
    ]);
  });

  test("quotas and statistics of directories that are not there, or are none", async () => {
    const quota = (key: bigint) => (v: Records) => (v.quota = [{ ...v.quota[0]!, key }]);
    expect(await found(quota(60n))).toEqual(["quota-without-directory 1!"]);
    expect(await found(quota(3n))).toEqual(["quota-without-directory 1!"]);
    const statistics = (v: Records) => v.dirStat.push({ ...v.dirStat[0]!, inode: 60n });
    expect(await found(statistics)).toEqual(["statistics-without-directory 1"]);
  });

  test("usage that differs", async () => {
    expect(await found((v) => (v.quota[0]!.usedInodes = 4n))).toEqual(["quota-usage-differs 1"]);
    expect(await found((v) => (v.dirStat[0]!.dataLength = 4n))).toEqual(["statistics-differ 1"]);
    expect(await found((v) => (v.counter[0]!.value = 4n))).toEqual(["usage-differs 1"]);
    expect(await found((v) => (v.counter[0]!.value = 4n), { strict: true })).toEqual(["usage-differs 1!"]);
  });

  test.each([
    ["nextInode", 9n],
    ["nextChunk", 12n],
    ["nextSession", 1n],
    ["nextTrash", 0n],
  ])("the counter %s below what is in use", async (name, value) => {
    const set = (v: Records) => (v.counter.find((counter) => counter.name === name)!.value = value);
    expect(await found(set)).toEqual(["counter-too-small 1!"]);
  });

  test.each(["usedSpace", "totalInodes", "nextInode", "nextChunk", "nextSession"])("no counter %s", async (name) => {
    expect(await found((v) => (v.counter = v.counter.filter((counter) => counter.name !== name)))).toEqual([
      "missing-counter 1!",
    ]);
  });
});

test.each(["setting", "counter", "quota", "userQuota", "delFile", "dirStat", "acl", "changeLog", "sliceRef"] as const)(
  "a record of kind %s that is there twice",
  async (kind) => {
    const records = volume();
    records.setting = [{ json: Buffer.from('{"Name":"a","UUID":"b","BlockSize":4096}') }];
    records[kind] = [...records[kind], records[kind][0]!] as never;
    expect(errorsOf(await checkRecords(records))).toEqual(["duplicate-record"]);
  },
);

test("a setting that is missing, or that cannot be used", async () => {
  const setting = (json: string) => (v: Records) => (v.setting = [{ json: Buffer.from(json) }]);
  expect(await found(setting('{"Name":"a"}'))).toEqual(["bad-setting 1!"]);
  expect(await found(setting('{"Name":"a","UUID":"b"}'))).toEqual(["bad-setting 1!"]);
  expect(await found(setting("{"))).toEqual(["bad-setting 1!"]);
  expect(await found(setting('{"Name":"a","UUID":"b","BlockSize":4096,"MetaVersion":9}'))).toEqual(["bad-setting 1!"]);
});

test("more problems than examples are counted, whatever the memory", async () => {
  const records = volume();
  for (let i = 0; i < 1000; i++) records.edge.push(edge(6n, `ghost-${i}`, 1000n + BigInt(i)));
  const problems = await checkRecords(records, { maxBytes: 256 * 1024 });
  const missing = problems.find(({ kind }) => kind === "missing-node")!;
  expect(missing.count).toBe(1000);
  expect(missing.examples).toHaveLength(5);
  for (const example of missing.examples) expect(example).toMatch(/^\/sub\/ghost-\d+$/);
});
