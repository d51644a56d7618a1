import { ATTR_LENGTH, ATTR_NLINK, ATTR_PARENT } from "../volume/attribute.ts";
import type { FindingList } from "../volume/findings.ts";
import { BatchBuilder, type NodeRecord, packBatch, packRecord, type RecordBatch } from "../volume/records.ts";
import { hashBytes } from "./hash-bytes.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import type { SpillFile } from "./spill-file.ts";

/**
 * One place of a file that has, or may have, several.
 *
 *   0 u32 size   4 u64 inode   12 u64 number of the place, in document order   20 u64 parent
 *   28 u32 `hashAttribute`   32 u32 hash of the rest of its description   36 u32 link count in the source   40 attribute record
 *
 * Only a first place that was not written yet has the attribute record: its link count and parent are open.
 */
const INODE = 4;
const NUMBER = 12;
const PARENT = 20;
const HASHES = 28;
const NLINK = 36;
const ATTRIBUTE = 40;

/** Reads and overwrites records that were written before their second place was met. */
export interface NodeRepair {
  readNodes(inodes: readonly bigint[]): Promise<(Buffer | undefined)[]>;
  replaceNodes(batch: RecordBatch): Promise<void>;
}

/** Whether link counts are those of the tree, or the source's own whatever the tree says. */
export type LinkCounts = "compute" | "keep";

/** Notes a link count that is not that of the tree, and puts it right when that is wanted. */
export function putLinkCount(
  attribute: Buffer,
  links: number,
  linkCounts: LinkCounts,
  findings: FindingList,
  place: () => string,
): void {
  if (attribute.readUInt32BE(ATTR_NLINK) === links) return;
  if (linkCounts === "keep") {
    findings.addOther("link-count-kept", "Link counts that do not fit the tree were kept as they are", false, place);
    return;
  }
  findings.add("link-count", place);
  attribute.writeUInt32BE(links, ATTR_NLINK);
}

/** What is known of one file with several places. */
interface Group {
  inode: bigint;
  attribute: Buffer | undefined;
  hashes: bigint;
  links: number;
  sourceLinks: number;
  readonly parents: Map<bigint, bigint>;
}

/** Files with several places: link counts and parents, in memory bounded by the ceiling, not by their number. */
export class LinkTable {
  readonly #places: RecordSorter;
  readonly #findings: FindingList;
  readonly #linkCounts: LinkCounts;
  #next = 0;

  constructor(
    budget: MemoryBudget,
    spill: SpillFile,
    pieceBytes: number,
    findings: FindingList,
    linkCounts: LinkCounts = "compute",
  ) {
    this.#linkCounts = linkCounts;
    this.#places = new RecordSorter({ budget, spill, pieceBytes });
    this.#findings = findings;
  }

  /** Notes a place. `attribute` is given for a first place whose node record is left to the table. */
  add(place: {
    inode: bigint;
    parent: bigint;
    attributeHash: number;
    contentHash: number;
    sourceLinks: number;
    attribute: Buffer | undefined;
  }): void {
    const at = this.#places.reserve(ATTRIBUTE + (place.attribute?.length ?? 0));
    const page = this.#places.page;
    page.writeBigUInt64BE(place.inode, at + INODE);
    page.writeBigUInt64BE(BigInt(this.#next++), at + NUMBER);
    page.writeBigUInt64BE(place.parent, at + PARENT);
    page.writeUInt32BE(place.attributeHash, at + HASHES);
    page.writeUInt32BE(place.contentHash, at + HASHES + 4);
    page.writeUInt32BE(place.sourceLinks, at + NLINK);
    place.attribute?.copy(page, at + ATTRIBUTE);
  }

  /**
   * The node and parent records of all files in the table. Await the writing of each batch before the next one is taken:
   * `repair` reads what was written.
   */
  async *drain(repair: NodeRepair): AsyncGenerator<RecordBatch> {
    const nodes = new BatchBuilder("node");
    const parents = new BatchBuilder("parent");
    for (let group = this.#nextGroup(); group !== undefined; group = this.#nextGroup()) {
      if (group.attribute === undefined) await this.#repair(group, repair);
      else packRecord("node", nodes.writer, { inode: group.inode, attribute: this.#complete(group, group.attribute) });
      if (group.attribute !== undefined && nodes.commit()) yield nodes.take()!;
      if (group.links < 2) continue;
      for (const [parent, count] of group.parents) {
        packRecord("parent", parents.writer, { inode: group.inode, parent, count });
        if (parents.commit()) yield parents.take()!;
      }
    }
    for (const builder of [nodes, parents]) {
      const rest = builder.take();
      if (rest !== undefined) yield rest;
    }
  }

  /** Whether `#places` stands on a place that belongs to no group yet. */
  #ahead = false;

  #nextGroup(): Group | undefined {
    const places = this.#places;
    if (!this.#ahead && !places.next()) return undefined;
    const group = newGroup(places.bytes, places.start, places.bytes.readBigUInt64BE(places.start + INODE));
    do {
      this.#addPlace(group, places.bytes, places.start);
      this.#ahead = places.next();
    } while (this.#ahead && places.bytes.readBigUInt64BE(places.start + INODE) === group.inode);
    return group;
  }

  #addPlace(group: Group, bytes: Buffer, start: number): void {
    const parent = bytes.readBigUInt64BE(start + PARENT);
    group.links++;
    group.parents.set(parent, (group.parents.get(parent) ?? 0n) + 1n);
    if (bytes.readBigUInt64BE(start + HASHES) !== group.hashes) {
      this.#findings.add("file-differs", () => `inode ${group.inode} in directory ${parent}`);
    }
  }

  #complete(group: Group, attribute: Buffer): Buffer {
    putLinkCount(attribute, group.links, this.#linkCounts, this.#findings, () => `inode ${group.inode}`);
    attribute.writeBigUInt64BE(group.links > 1 ? 0n : [...group.parents.keys()][0]!, ATTR_PARENT);
    return attribute;
  }

  /** The source said that the file has one place, but there are more: the record written for it is corrected. */
  async #repair(group: Group, repair: NodeRepair): Promise<void> {
    const [attribute] = await repair.readNodes([group.inode]);
    if (attribute === undefined) {
      this.#findings.add("link-count", () => `inode ${group.inode}`);
      return; // Nothing is written in a dry run.
    }
    const other = [...group.parents.keys()][0];
    const first = attribute.readBigUInt64BE(ATTR_PARENT);
    group.links++;
    group.parents.set(first, (group.parents.get(first) ?? 0n) + 1n);
    const corrected = Buffer.from(attribute);
    putLinkCount(corrected, group.links, this.#linkCounts, this.#findings, () => `inode ${group.inode}`);
    if (hashAttribute(attribute) !== Number(group.hashes >> 32n)) {
      this.#findings.add("file-differs", () => `inode ${group.inode} in directory ${other}`);
    }
    corrected.writeBigUInt64BE(0n, ATTR_PARENT);
    const node: NodeRecord = { inode: group.inode, attribute: corrected };
    await repair.replaceNodes(packBatch("node", [node]));
  }
}

/**
 * A hash of what a file's places must agree on and a stored record still has as it was read: everything but link count and
 * parent, which are computed, and what follows, where ACL ids are renumbered.
 */
export function hashAttribute(attribute: Buffer): number {
  return hashBytes(hashBytes(0x9747_b28c, attribute, 0, ATTR_NLINK), attribute, ATTR_LENGTH, ATTR_PARENT);
}

function newGroup(bytes: Buffer, start: number, inode: bigint): Group {
  const end = start + bytes.readUInt32BE(start);
  return {
    inode,
    attribute: end > start + ATTRIBUTE ? Buffer.from(bytes.subarray(start + ATTRIBUTE, end)) : undefined,
    hashes: bytes.readBigUInt64BE(start + HASHES),
    links: 0,
    sourceLinks: bytes.readUInt32BE(start + NLINK),
    parents: new Map(),
  };
}
