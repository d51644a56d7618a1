import { decodeAttribute } from "../../../src/volume/attribute.ts";
import type { Finding } from "../../../src/volume/findings.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../../src/volume/records.ts";
import type { TreeBuilder } from "../../support/tree-builder.ts";
import { type ConsolidatedRecords, consolidateRecords, streamOf } from "../../support/volume-streams.ts";

/** What consolidation made of a tree, in plain values that a test can name. */
export interface Plain {
  /** `inode: nlink parent length`, ascending. */
  readonly nodes: string[];
  /** `parent/name inode type`, in order of writing. */
  readonly edges: string[];
  readonly counters: Record<string, bigint>;
  /** `kind count example`. */
  readonly findings: string[];
  readonly raw: ConsolidatedRecords;
  all<K extends FlatKind>(kind: K): RecordTypes[K][];
  node(inode: bigint): ReturnType<typeof decodeAttribute>;
}

const MEMORY = 1024 * 1024;

/** Consolidates `before`, the tree, `after`; trash days are 1 unless given. */
export async function consolidated(
  tree: TreeBuilder,
  options: { before?: RecordBatch[]; after?: RecordBatch[]; trashDays?: bigint } = {},
): Promise<Plain> {
  const batches = [...(options.before ?? []), tree.batch(), ...(options.after ?? [])];
  return plain(await consolidateRecords(streamOf(batches), MEMORY, options.trashDays));
}

function plain(raw: ConsolidatedRecords): Plain {
  const all = <K extends FlatKind>(kind: K): RecordTypes[K][] => (raw.records.get(kind) ?? []) as RecordTypes[K][];
  const nodes = all("node").sort((a, b) => (a.inode < b.inode ? -1 : 1));
  return {
    nodes: nodes.map(({ inode, attribute }) => {
      const { nlink, parent, length } = decodeAttribute(attribute);
      return `${inode}: ${nlink} ${parent} ${length}`;
    }),
    edges: all("edge").map(({ parent, name, inode, type }) => `${parent}/${name.toString("latin1")} ${inode} ${type}`),
    counters: Object.fromEntries(all("counter").map(({ name, value }) => [name, value])),
    findings: raw.findings.all.map(findingText),
    raw,
    all,
    node: (inode) => decodeAttribute(nodes.find((node) => node.inode === inode)!.attribute),
  };
}

function findingText({ kind, count, examples }: Finding): string {
  return [kind, count, ...examples].join(" ");
}

/** Counters of a source. */
export function counters(values: Record<string, bigint>): RecordBatch {
  return packBatch(
    "counter",
    Object.entries(values).map(([name, value]) => ({ name, value })),
  );
}

/** A slice of `size` bytes at the beginning of its chunk. */
export function slice(id: bigint, size: number = 10): RecordSlice {
  return { pos: 0, id, size, off: 0, len: size };
}

type RecordSlice = { pos: number; id: bigint; size: number; off: number; len: number };
