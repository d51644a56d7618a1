import { describe, expect, test } from "vitest";
import { encodeAclRule } from "../../../src/volume/acl.ts";
import { FileType } from "../../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { packBatch, type QuotaRecord, type RecordBatch } from "../../../src/volume/records.ts";
import { TreeBuilder } from "../../support/tree-builder.ts";
import { consolidated, slice } from "./consolidated.ts";

const HOUR = TRASH_INODE + 7n;

const quota = (key: bigint, maxSpace: bigint = 100n, maxInodes: bigint = -1n): QuotaRecord => ({
  key,
  maxSpace,
  maxInodes,
  usedSpace: 77n, // of the source: never taken over
  usedInodes: 77n,
});

const usage = (quotas: readonly QuotaRecord[]): string[] =>
  quotas.map(({ key, maxSpace, maxInodes, usedSpace, usedInodes }) => {
    return `${key} ${maxSpace}/${maxInodes} ${usedSpace} ${usedInodes}`;
  });

/** Two directories, one below the other, a hard link across them, and one of each odd type; a directory in the trash. */
function sampleTree(): TreeBuilder {
  const shared = { attribute: { nlink: 3, length: 4097n, uid: 1, gid: 10 } };
  return new TreeBuilder()
    .root((tree) => {
      tree.file("a", 9n, shared);
      tree.directory(
        "d",
        2n,
        () => {
          tree.directory("e", 3n, () => tree.file("b", 9n, shared).file("empty", 4n, { attribute: { uid: 2 } }));
          tree.file("link", 5n, { target: "t", attribute: { uid: 3 } }, FileType.symlink);
          tree.file("fifo", 6n, { attribute: { gid: 11 } }, FileType.fifo);
        },
        { attribute: { uid: 1 } },
      );
    })
    .trash((tree) => {
      tree.directory("2026-01-01-00", HOUR, () => {
        tree.file("1-9-c", 9n, shared);
        tree.directory("1-7-f", 7n, () => tree.file("g", 8n, { attribute: { length: 1n, uid: 5 } }));
      });
    });
}

describe("statistics of directories", () => {
  test("sum up the direct children, each place anew, in the trash too", async () => {
    const { all } = await consolidated(sampleTree());
    const text = all("dirStat").map(({ inode, dataLength, usedSpace, usedInodes }) => {
      return `${inode}: ${dataLength} ${usedSpace} ${usedInodes}`;
    });
    expect(text).toEqual([
      `3: 4097 ${3 * 4096} 2`,
      `2: 0 ${3 * 4096} 3`,
      `1: 4097 ${3 * 4096} 2`,
      `7: 1 4096 1`,
      `${HOUR}: 4097 ${3 * 4096} 2`,
      `${TRASH_INODE}: 0 4096 1`,
    ]);
  });

  test("are exact where lengths do not fit a JavaScript number", async () => {
    const length = (1n << 61n) + 1n;
    const tree = new TreeBuilder()
      .root((tree) => tree.file("a", 2n, { attribute: { length } }).file("b", 3n, { attribute: { length } }))
      .trash();
    const { all, counters } = await consolidated(tree);
    expect(all("dirStat")[0]).toEqual({
      inode: 1n,
      dataLength: (1n << 62n) + 2n,
      usedSpace: (1n << 62n) + 8192n,
      usedInodes: 2n,
    });
    expect(counters.usedSpace).toBe((1n << 62n) + 8192n);
  });
});

describe("directory quotas", () => {
  const below = {
    root: `1 100/-1 ${(2 + 1 + 1 + 2 + 1 + 1 + 1) * 4096} 7`,
    upper: `2 100/-1 ${(1 + 2 + 1 + 1 + 1) * 4096} 5`,
    lower: `3 100/-1 ${3 * 4096} 2`,
  };

  test.each([
    ["before", "before" as const],
    ["after", "after" as const],
  ])("that come %s the tree use what is below their directory at all levels", async (_, when) => {
    const quotas = [packBatch("quota", [quota(1n), quota(3n), quota(2n)])];
    const { all, findings } = await consolidated(sampleTree(), { [when]: quotas });
    expect(usage(all("quota")).sort()).toEqual([below.root, below.upper, below.lower]);
    expect(findings.filter((finding) => finding.startsWith("quota"))).toEqual([]);
  });

  test("in the trash use nothing, and one without a directory is kept and said", async () => {
    const quotas = [TRASH_INODE, HOUR, 7n, 1234n].map((inode) => quota(inode, -1n, -1n));
    const { all, findings } = await consolidated(sampleTree(), { after: [packBatch("quota", quotas)] });
    expect(usage(all("quota"))).toEqual([
      `${TRASH_INODE} -1/-1 0 0`,
      `${HOUR} -1/-1 0 0`,
      "7 -1/-1 0 0",
      "1234 -1/-1 0 0",
    ]);
    expect(findings.filter((finding) => finding.startsWith("quota"))).toEqual(["quota-without-directory 1 inode 1234"]);
  });
});

describe("usage of users and groups", () => {
  const limits: RecordBatch[] = [packBatch("userQuota", [quota(1n), quota(99n, -1n, 5n)])];

  test("is not computed without any limit", async () => {
    const without = [packBatch("userQuota", [quota(1n, -1n, -1n)]), packBatch("groupQuota", [quota(1n, -1n, -1n)])];
    const { all } = await consolidated(sampleTree(), { before: without });
    expect([...all("userQuota"), ...all("groupQuota")]).toEqual([]);
  });

  test("counts files and directories once, other types with 0, and the trash while it keeps files", async () => {
    const { all } = await consolidated(sampleTree(), { before: limits });
    expect(usage(all("userQuota"))).toEqual([
      `0 -1/-1 ${3 * 4096} 3`, // directories e, the hour and f; the FIFO counts nothing
      `1 100/-1 ${3 * 4096} 2`, // directory d, and file 9 with its three places
      "2 -1/-1 4096 1",
      "3 -1/-1 0 0",
      "5 -1/-1 4096 1",
      "99 -1/5 0 0",
    ]);
    expect(usage(all("groupQuota"))).toEqual([`0 -1/-1 ${6 * 4096} 6`, `10 -1/-1 ${2 * 4096} 1`, "11 -1/-1 0 0"]);
  });

  test("leaves out the trash when the volume keeps none", async () => {
    const { all } = await consolidated(sampleTree(), { before: limits, trashDays: 0n });
    expect(usage(all("userQuota"))).toEqual([
      "0 -1/-1 4096 1",
      `1 100/-1 ${3 * 4096} 2`,
      "2 -1/-1 4096 1",
      "3 -1/-1 0 0",
      "99 -1/5 0 0",
    ]);
  });

  test("holds for ids of 32 bits", async () => {
    const owner = { attribute: { uid: 4294967295, gid: 4294967294 } };
    const tree = new TreeBuilder().root((tree) => tree.file("a", 2n, owner)).trash();
    const { all } = await consolidated(tree, { before: [packBatch("groupQuota", [quota(4294967294n)])] });
    expect(usage(all("userQuota"))).toEqual(["4294967295 -1/-1 4096 1"]);
    expect(usage(all("groupQuota"))).toEqual(["4294967294 100/-1 4096 1"]);
  });
});

describe("ACL rules", () => {
  const rule = (perm: number): Buffer =>
    encodeAclRule({ owner: perm, group: 0, mask: 0xffff, other: 0, users: [], groups: [] });
  const rules = packBatch("acl", [
    { id: 30, rule: rule(3) },
    { id: 40, rule: rule(4) },
    { id: 41, rule: rule(4) },
    { id: 50, rule: rule(5) },
    { id: 60, rule: rule(6) },
  ]);

  test("are numbered from 1 as entries are completed, children first, access before default, equal ones once", async () => {
    const tree = new TreeBuilder()
      .root(
        (tree) => {
          tree.directory("d", 2n, () => tree.file("f", 3n, { attribute: { accessAclId: 50 } }), {
            attribute: { accessAclId: 40, defaultAclId: 30 },
          });
          tree.file("g", 4n, { attribute: { accessAclId: 41 } });
        },
        { attribute: { accessAclId: 30, defaultAclId: 50 } },
      )
      .trash();
    const { all, node } = await consolidated(tree, { before: [rules] });
    expect(all("acl")).toEqual([
      { id: 1, rule: rule(5) },
      { id: 2, rule: rule(4) },
      { id: 3, rule: rule(3) },
    ]);
    const ids = [1n, 2n, 3n, 4n].map((inode) => {
      const { accessAclId, defaultAclId } = node(inode);
      return [accessAclId, defaultAclId];
    });
    expect(ids).toEqual([
      [3, 1],
      [2, 3],
      [1, 0],
      [2, 0],
    ]);
  });

  test("of further places of a file do not count", async () => {
    const at = (accessAclId: number) => ({ attribute: { nlink: 2, accessAclId } });
    const tree = new TreeBuilder().root((tree) => tree.file("a", 2n, at(40)).file("b", 2n, at(60))).trash();
    const { all, node, findings } = await consolidated(tree, { before: [rules] });
    expect(all("acl")).toEqual([{ id: 1, rule: rule(4) }]);
    expect(node(2n).accessAclId).toBe(1);
    expect(findings).toEqual(["file-differs 1 inode 2 in directory 1"]);
  });

  test("that are not there are left out, which is a loss", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.file("a", 2n, { attribute: { accessAclId: 7, tier: 2 } });
        tree.file("b", 3n, { attribute: { accessAclId: 7, defaultAclId: 30 } });
      })
      .trash();
    const { all, node, findings } = await consolidated(tree, { before: [rules] });
    expect(node(2n)).toMatchObject({ accessAclId: 0, defaultAclId: 0, tier: 2 });
    expect(node(3n)).toMatchObject({ accessAclId: 0, defaultAclId: 1 });
    expect(all("node").find(({ inode }) => inode === 2n)?.attribute).toHaveLength(73);
    expect(findings).toEqual(["missing-acl 2 /a /b"]);
  });

  test("and xattrs of a directory may come after its entries", async () => {
    const tree = new TreeBuilder()
      .root((tree) => {
        tree.enter("d", 2n, { xattrs: { early: "1" } }).leave({ accessAclId: 30, xattrs: { late: "2" } });
        tree.enter("e", 3n, { attribute: { accessAclId: 40 } }).leave({ defaultAclId: 50 });
      })
      .trash();
    const { all, node } = await consolidated(tree, { before: [rules] });
    expect(all("xattr").map(({ inode, name, value }) => `${inode} ${name}=${value}`)).toEqual([
      "2 early=1",
      "2 late=2",
    ]);
    expect(node(2n)).toMatchObject({ accessAclId: 1, defaultAclId: 0 });
    expect(node(3n)).toMatchObject({ accessAclId: 2, defaultAclId: 3 });
  });
});

test("references of slices count slice records, not places, and leave holes out", async () => {
  const hole = slice(0n, 0);
  const shared = {
    attribute: { nlink: 2, length: 10n },
    chunks: { 0: [slice(3n), hole, slice(3n)], 1: [hole], 2: [] },
  };
  const tree = new TreeBuilder()
    .root((tree) => {
      tree.file("a", 2n, shared).file("b", 2n, shared);
      tree.file("c", 3n, { chunks: { 0: [slice((1n << 63n) + 1n), slice(1n << 53n), slice(3n), slice(2n)] } });
    })
    .trash();
  const { all } = await consolidated(tree);
  expect(all("sliceRef")).toEqual([
    { id: 2n, size: 10, refs: 1n },
    { id: 3n, size: 10, refs: 3n },
    { id: 1n << 53n, size: 10, refs: 1n },
    { id: (1n << 63n) + 1n, size: 10, refs: 1n },
  ]);
  expect(all("chunk").map(({ inode, index }) => `${inode} ${index}`)).toEqual(["2 0", "2 1", "3 0"]);
});
