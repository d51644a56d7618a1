/**
 * Inodes as JavaScript numbers, exactly: those below 2^53 are themselves; greater ones (the trash, damaged volumes) get
 * stand-ins from 2^53 upwards, remembered here.
 */
export class InodeKeys {
  readonly #standIns: Map<bigint, number> = new Map();
  /** Inodes in the order of their stand-ins. */
  readonly #inodes: bigint[] = [];

  /** The key of the inode whose big-endian bytes begin at `at`. */
  read(bytes: Buffer, at: number): number {
    return this.ofNumber(bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4));
  }

  /** The key of an inode that is given in halves of 32 bits. */
  ofNumber(high: number, low: number): number {
    if (high < 0x20_0000) return high * 0x1_0000_0000 + low;
    return this.of((BigInt(high) << 32n) | BigInt(low));
  }

  of(inode: bigint): number {
    if (inode < 0x20_0000_0000_0000n) return Number(inode);
    let key = this.#standIns.get(inode);
    if (key === undefined) {
      // Above 2^53 every second integer is a number of its own.
      key = FIRST_STAND_IN + 2 * this.#inodes.length;
      this.#standIns.set(inode, key);
      this.#inodes.push(inode);
    }
    return key;
  }

  /** The inode of a key that was given out before. */
  inodeOf(key: number): bigint {
    if (key < FIRST_STAND_IN) return BigInt(key);
    return this.#inodes[(key - FIRST_STAND_IN) / 2] ?? 0n;
  }
}

const FIRST_STAND_IN = 0x20_0000_0000_0000;
