/** A stack or queue of inodes in packed form: a directory may have millions of children that wait. */
export class PendingInodes {
  count = 0;
  hi: Uint32Array<ArrayBuffer> = new Uint32Array(1024);
  lo: Uint32Array<ArrayBuffer> = new Uint32Array(1024);
  /** What the user of the list wants to remember along with it, such as a file type. */
  tag: Uint8Array<ArrayBuffer> = new Uint8Array(1024);

  push(hi: number, lo: number, tag: number): void {
    const at = this.count++;
    if (at === this.hi.length) this.#grow();
    this.hi[at] = hi;
    this.lo[at] = lo;
    this.tag[at] = tag;
  }

  clear(): void {
    this.count = 0;
  }

  #grow(): void {
    const size = this.hi.length * 2;
    const grown = { hi: new Uint32Array(size), lo: new Uint32Array(size), tag: new Uint8Array(size) };
    grown.hi.set(this.hi);
    grown.lo.set(this.lo);
    grown.tag.set(this.tag);
    this.hi = grown.hi;
    this.lo = grown.lo;
    this.tag = grown.tag;
  }
}
