import { tmpdir } from "node:os";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TreeFindings } from "../../../src/tree/tree-findings.ts";
import { entryParts, treeOrder } from "../../../src/tree/tree-order.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { TRASH_INODE } from "../../../src/volume/inode.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../../src/volume/records.ts";
import {
  CHUNKS_LIST,
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_NODE_MISSING,
  ENTRY_REPEATED,
  ITEM_TAG,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../../../src/volume/tree-item.ts";

/** What a walk gave, one line per item. */
async function walk(
  batches: Iterable<RecordBatch>,
  maxBytes: number,
): Promise<{ lines: string[]; findings: TreeFindings }> {
  const findings = new TreeFindings();
  const lines: string[] = [];
  const path: string[] = [];
  const source = (async function* () {
    yield* batches;
  })();
  const options = {
    roots: [
      { inode: 1n, type: 2 },
      { inode: TRASH_INODE, type: 2 },
    ],
    maxBytes,
    tmpDir: tmpdir(),
    signal: new AbortController().signal,
    findings,
  };
  for await (const batch of treeOrder(source, options)) {
    const { bytes } = batch;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
      const tag = bytes[at + ITEM_TAG]!;
      if (tag === TREE_ENTRY) {
        const parts = entryParts(bytes, at);
        const flags = bytes[at + ENTRY_FLAGS]!;
        const marks = (flags & ENTRY_NODE_MISSING ? "!" : "") + (flags & ENTRY_REPEATED ? "*" : "");
        const inode = bytes.readBigUInt64BE(at + ENTRY_INODE);
        const name = parts.name.toString("latin1");
        lines.push(`${path.join("/")}/${name} ${inode}${marks} ${parts.chunks.length}`);
        if (bytes[at + 5] === 2) path.push(name);
      } else if (tag === TREE_CHUNKS) {
        lines.push(`chunks ${bytes.readUInt32BE(at) - CHUNKS_LIST}`);
      } else {
        path.pop();
      }
    }
  }
  expect(path).toEqual([]);
  return { lines, findings };
}

const batch = <K extends FlatKind>(kind: K, ...records: RecordTypes[K][]): RecordBatch => packBatch(kind, records);
const directory = (inode: bigint) => ({ inode, attribute: encodeAttribute(newDirectoryAttribute(0o755, 0n)) });
const file = (inode: bigint) => ({
  inode,
  attribute: encodeAttribute({ ...newDirectoryAttribute(0o644, 0n), type: 1, nlink: 1 }),
});
const edge = (parent: bigint, name: string, inode: bigint, type = 1) => ({
  parent,
  inode,
  type,
  name: Buffer.from(name, "latin1"),
});

/** The same walk, straight from maps. */
function modelWalk(edges: ReturnType<typeof edge>[], directories: Set<bigint>): string[] {
  const children = new Map<bigint, ReturnType<typeof edge>[]>();
  for (const one of edges) children.set(one.parent, [...(children.get(one.parent) ?? []), one]);
  const lines: string[] = [];
  const visit = (prefix: string, inode: bigint) => {
    for (const child of (children.get(inode) ?? []).sort((a, b) => Buffer.compare(a.name, b.name))) {
      lines.push(`${prefix}/${child.name.toString("latin1")} ${child.inode} 0`);
      if (directories.has(child.inode)) visit(`${prefix}/${child.name.toString("latin1")}`, child.inode);
    }
  };
  for (const root of [1n, TRASH_INODE]) {
    lines.push(`/ ${root} 0`);
    visit("", root);
  }
  return lines;
}

describe("treeOrder", () => {
  it("gives every entry once, depth first, names in byte order, for any tree and any memory ceiling", async () => {
    const name = fc.oneof(
      fc.string({
        minLength: 1,
        maxLength: 12,
        unit: fc.integer({ min: 1, max: 255 }).map((c) => String.fromCharCode(c)),
      }),
      fc.integer({ min: 0, max: 99 }).map((n) => `common-prefix-of-names-${n}`),
    );
    const plan = fc.array(fc.record({ parent: fc.nat(), name, isDirectory: fc.boolean(), high: fc.boolean() }), {
      maxLength: 300,
    });
    await fc.assert(
      fc.asyncProperty(plan, fc.constantFrom(256 * 1024, 64 * 1024 * 1024), async (steps, maxBytes) => {
        const directories = [1n, TRASH_INODE];
        const used = new Set<string>();
        const edges: ReturnType<typeof edge>[] = [];
        const nodes = [directory(1n), directory(TRASH_INODE)];
        steps.forEach((step, i) => {
          const parent = directories[step.parent % directories.length]!;
          if (used.has(`${parent} ${step.name}`)) return;
          used.add(`${parent} ${step.name}`);
          const inode = BigInt(i + 2) * (step.high ? 0x1_0000_0000_0001n : 257n);
          edges.push(edge(parent, step.name, inode, step.isDirectory ? 2 : 1));
          nodes.push(step.isDirectory ? directory(inode) : file(inode));
          if (step.isDirectory) directories.push(inode);
        });
        const { lines } = await walk([batch("edge", ...edges), batch("node", ...nodes.reverse())], maxBytes);
        expect(lines).toEqual(modelWalk(edges, new Set(directories)));
      }),
      { numRuns: 60 },
    );
  });

  it("spills and merges a directory that is larger than its memory", async () => {
    const batches: RecordBatch[] = [batch("node", directory(1n))];
    const count = 60_000;
    for (let i = 0; i < count; i++) {
      // 7919 is prime to the count: names arrive in no order.
      const n = (i * 7919) % count;
      batches.push(batch("edge", edge(1n, `file-${String(n).padStart(8, "0")}`, BigInt(n + 2))));
      batches.push(batch("node", file(BigInt(n + 2))));
    }
    const { lines } = await walk(batches, 1024 * 1024);
    expect(lines.length).toBe(count + 2);
    expect(lines.slice(1, count + 1)).toEqual(
      Array.from({ length: count }, (_, n) => `/file-${String(n).padStart(8, "0")} ${n + 2} 0`),
    );
  });

  it("cuts a long chunk list into items of bounded size and keeps its order", async () => {
    const chunks = Array.from({ length: 4000 }, (_, i) => ({
      inode: 2n,
      index: i,
      slices: Buffer.alloc(24),
    })).reverse();
    const { lines } = await walk(
      [
        batch("node", directory(1n), file(2n)),
        batch("edge", edge(1n, "a", 2n), edge(1n, "b", 2n)),
        batch("chunk", ...chunks),
      ],
      8 * 1024 * 1024,
    );
    const pieces = lines.filter((line) => line.startsWith("chunks ")).map((line) => Number(line.slice(7)));
    expect(pieces.reduce((sum, size) => sum + size, 0)).toBe(2 * 4000 * 32);
    expect(Math.max(...pieces)).toBeLessThan(80 * 1024);
  });

  it("ends in a volume whose directories contain each other, and says what cannot be reached", async () => {
    const { lines, findings } = await walk(
      [
        batch("node", directory(1n), directory(2n), directory(3n), directory(4n)),
        batch("edge", edge(1n, "a", 2n, 2), edge(2n, "loop", 1n, 2), edge(3n, "x", 4n, 2), edge(4n, "y", 3n, 2)),
      ],
      8 * 1024 * 1024,
    );
    expect(lines).toEqual(["/ 1 0", "/a 2 0", "/a/loop 1* 0", "/ 9223372032828243968! 0"]);
    expect(findings.unreachableDirectories).toBe(2);
    expect(findings.unreachableEntries).toBe(2);
  });

  it("marks an entry whose inode has no record, and counts records that no entry names", async () => {
    const { lines, findings } = await walk(
      [
        batch("node", directory(1n), file(9n)),
        batch("edge", edge(1n, "gone", 5n)),
        batch("chunk", { inode: 8n, index: 0, slices: Buffer.alloc(24) }),
      ],
      8 * 1024 * 1024,
    );
    expect(lines.slice(0, 2)).toEqual(["/ 1 0", "/gone 5! 0"]);
    expect(findings.nodesWithoutEntry).toBe(1);
    expect(findings.remains).toBe(1);
  });
});
