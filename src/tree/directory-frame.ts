import { viewOf } from "../base/bytes.ts";
import { ATTR_LENGTH } from "../volume/attribute.ts";
import { FileType } from "../volume/file-type.ts";
import type { DirStatRecord } from "../volume/records.ts";
import type { Below } from "./quota-usage.ts";

/**
 * A directory whose entries are being consolidated, and its sums. Space is counted in blocks of 4096 bytes and lengths in
 * blocks and rest, so that JavaScript numbers stay exact.
 */
export class DirectoryFrame {
  /** Inode, 8 bytes. */
  readonly inode: Buffer;
  readonly inodeView: DataView;
  /** Root directories have none. */
  readonly name: Buffer | undefined;
  attribute: Buffer;
  readonly inTrash: boolean;
  subdirectories = 0;
  #children = 0;
  #childBlocks = 0;
  #lengthBlocks = 0;
  #lengthRest = 0;
  /** Of the subdirectories that have ended. */
  #deepBlocks = 0;
  #deepInodes = 0;

  constructor(inode: Buffer, name: Buffer | undefined, attribute: Buffer, inTrash: boolean) {
    this.inode = inode;
    this.inodeView = viewOf(inode);
    this.name = name;
    this.attribute = attribute;
    this.inTrash = inTrash;
  }

  get isRoot(): boolean {
    return this.name === undefined;
  }

  addDirectory(): void {
    this.subdirectories++;
    this.#children++;
    this.#childBlocks++;
  }

  /** Adds an entry that is no directory and returns its blocks; types without a length get 0 in `attribute`. */
  addFile(attribute: DataView, type: number): number {
    let blocks = 1;
    if (type === FileType.regular) {
      const high = attribute.getUint32(ATTR_LENGTH);
      const low = attribute.getUint32(ATTR_LENGTH + 4);
      const whole = high * 0x10_0000 + (low >>> 12);
      const rest = low & 4095;
      blocks = Math.max(1, whole + (rest > 0 ? 1 : 0));
      this.#lengthBlocks += whole;
      this.#lengthRest += rest;
    } else if (type !== FileType.symlink) {
      attribute.setBigUint64(ATTR_LENGTH, 0n);
    }
    this.#children++;
    this.#childBlocks += blocks;
    return blocks;
  }

  /** Adds this directory's tree to that of its parent. Quotas do not count the directory itself, its parent's do. */
  addTo(parent: DirectoryFrame | undefined): void {
    if (parent === undefined) return;
    const { blocks, inodes } = this.below;
    parent.#deepBlocks += blocks;
    parent.#deepInodes += inodes;
  }

  /** Everything below, at all levels. */
  get below(): Below {
    return { blocks: this.#deepBlocks + this.#childBlocks, inodes: this.#deepInodes + this.#children };
  }

  /** Sums over the direct children (docs/spec/redis.md §10.1). */
  statistics(): DirStatRecord {
    return {
      inode: this.inode.readBigUInt64BE(0),
      dataLength: BigInt(this.#lengthBlocks) * 4096n + BigInt(this.#lengthRest),
      usedSpace: BigInt(this.#childBlocks) * 4096n,
      usedInodes: BigInt(this.#children),
    };
  }
}
