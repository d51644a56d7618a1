import { ATTR_LENGTH } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { DirStatRecord } from "../volume/records.ts";

/**
 * A directory that is being walked, and its sums. Space is counted in blocks of 4096 bytes and lengths in blocks and rest, so
 * that JavaScript numbers stay exact.
 */
export class CheckFrame {
  readonly inode: bigint;
  /** Root directories have none. */
  readonly name: Buffer | undefined;
  readonly inTrash: boolean;
  /** Link count of its record; undefined when there is no record. */
  readonly links: number | undefined;
  subdirectories = 0;
  #children = 0;
  #childBlocks = 0;
  #lengthBlocks = 0;
  #lengthRest = 0;
  /** Of the subdirectories that have ended. */
  #deepBlocks = 0;
  #deepInodes = 0;

  constructor(inode: bigint, name: Buffer | undefined, inTrash: boolean, links: number | undefined) {
    this.inode = inode;
    this.name = name;
    this.inTrash = inTrash;
    this.links = links;
  }

  addDirectory(): void {
    this.subdirectories++;
    this.#children++;
    this.#childBlocks++;
  }

  /** Adds an entry that is no directory, with its attribute record at `at`, and returns its blocks. */
  addFile(view: DataView, at: number, type: number): number {
    const blocks = blocksOf(view, at, type);
    if (type === FileType.regular) {
      this.#lengthBlocks += wholeBlocks(view, at);
      this.#lengthRest += view.getUint32(at + ATTR_LENGTH + 4) & 4095;
    }
    this.#children++;
    this.#childBlocks += blocks;
    return blocks;
  }

  /** Adds this directory's tree to that of its parent. */
  addTo(parent: CheckFrame | undefined): void {
    if (parent === undefined) return;
    parent.#deepBlocks += this.belowBlocks;
    parent.#deepInodes += this.belowInodes;
  }

  /** Everything below, at all levels: what a quota counts. */
  get belowBlocks(): number {
    return this.#deepBlocks + this.#childBlocks;
  }

  get belowInodes(): number {
    return this.#deepInodes + this.#children;
  }

  /** Sums over the direct children (docs/spec/sql.md §4.8). */
  statistics(): DirStatRecord {
    return {
      inode: this.inode,
      dataLength: BigInt(this.#lengthBlocks) * 4096n + BigInt(this.#lengthRest),
      usedSpace: BigInt(this.#childBlocks) * 4096n,
      usedInodes: BigInt(this.#children),
    };
  }
}

/** Blocks of 4096 bytes that a file counts for; its attribute record begins at `at` (docs/spec/sql.md §5). */
export function blocksOf(view: DataView, at: number, type: number): number {
  if (type !== FileType.regular) return 1;
  const hasRest = (view.getUint32(at + ATTR_LENGTH + 4) & 4095) > 0;
  return Math.max(1, wholeBlocks(view, at) + (hasRest ? 1 : 0));
}

function wholeBlocks(view: DataView, at: number): number {
  return view.getUint32(at + ATTR_LENGTH) * 0x10_0000 + (view.getUint32(at + ATTR_LENGTH + 4) >>> 12);
}
