/** Where joined records go. */
export interface JoinedSink {
  /** Room for a record of `size` bytes that belongs to the parent at `parentBytes[parentAt..+8)`; returns its offset. */
  reserve(parentBytes: Buffer, parentAt: number, size: number): number;
  /** What the offset of the last `reserve` means. */
  readonly view: DataView;
}
