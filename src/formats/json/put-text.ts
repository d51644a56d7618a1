import { putHalves, putString } from "../../base/digits.ts";

/**
 * The innermost loops of the encoder: each writes at `to`, where the caller has made room, and returns the offset behind what
 * it wrote. They write whole words: up to `SLACK_BYTES` behind that offset may be overwritten too.
 */

/** Room to be kept behind everything that is put. */
export const SLACK_BYTES = 8;

/** Constant ASCII text, in words of eight bytes. As doubles: no ASCII text is a NaN, whose bits might not be kept. */
export interface ConstantText {
  readonly words: Float64Array;
  /** Bytes. */
  readonly size: number;
}

export function constantText(text: string): ConstantText {
  const bytes = Buffer.alloc(Math.ceil(text.length / 8) * 8);
  bytes.write(text, "latin1");
  const words = Float64Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleBE(i * 8));
  return { words, size: text.length };
}

export function putText(view: DataView, to: number, text: ConstantText): number {
  const words = text.words;
  for (let i = 0; i < words.length; i++) view.setFloat64(to + i * 8, words[i]!);
  return to + text.size;
}

/** A 64-bit integer from its big-endian bytes. */
export function putUint64(view: DataView, to: number, source: DataView, at: number): number {
  return putHalves(view, to, source.getUint32(at), source.getUint32(at + 4));
}

/** The same, signed. */
export function putInt64(view: DataView, to: number, source: DataView, at: number): number {
  const high = source.getUint32(at);
  return high < 0x8000_0000
    ? putHalves(view, to, high, source.getUint32(at + 4))
    : putString(view, to, source.getBigInt64(at).toString());
}
