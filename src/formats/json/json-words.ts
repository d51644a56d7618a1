/**
 * Short ASCII texts as 32-bit words, for comparing them with the window without making strings: a text of 6 to 12 bytes
 * is equal when its first four bytes, four in the middle and its last four are.
 */
export interface Words {
  readonly first: number;
  readonly middle: number;
  readonly middleAt: number;
  readonly last: number;
  readonly size: number;
}

/** Four characters of an ASCII text as a big-endian number. */
export function packWord(text: string, at: number): number {
  return Buffer.from(text, "latin1").readUInt32BE(at);
}

export function wordsOf(text: string): Words {
  const middleAt = Math.min(4, text.length - 4);
  return {
    first: packWord(text, 0),
    middle: packWord(text, middleAt),
    middleAt,
    last: packWord(text, text.length - 4),
    size: text.length,
  };
}

/** Whether the text stands at `at`. */
export function areWords(view: DataView, at: number, words: Words): boolean {
  return (
    view.getUint32(at) === words.first &&
    view.getUint32(at + words.middleAt) === words.middle &&
    view.getUint32(at + words.size - 4) === words.last
  );
}
