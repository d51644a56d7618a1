/**
 * Inodes as JavaScript numbers, exactly: those below 2^53 are themselves; greater ones (the trash, damaged volumes) get
 * stand-ins from 2^53 upwards, remembered here.
 */
export class InodeKeys {
  readonly #standIns: Map<bigint, number> = new Map();

  /** The key of the inode whose big-endian bytes begin at `at`. */
  read(bytes: Buffer, at: number): number {
    const high = bytes.readUInt32BE(at);
    if (high < 0x20_0000) return high * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
    return this.of(bytes.readBigUInt64BE(at));
  }

  of(inode: bigint): number {
    if (inode < 0x20_0000_0000_0000n) return Number(inode);
    let key = this.#standIns.get(inode);
    if (key === undefined) {
      // Above 2^53 every second integer is a number of its own.
      key = 0x20_0000_0000_0000 + 2 * this.#standIns.size;
      this.#standIns.set(inode, key);
    }
    return key;
  }

  /** The inode of a key that was given out before. */
  inodeOf(key: number): bigint {
    if (key < 0x20_0000_0000_0000) return BigInt(key);
    for (const [inode, standIn] of this.#standIns) if (standIn === key) return inode;
    return 0n;
  }
}
