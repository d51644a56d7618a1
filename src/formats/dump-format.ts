import { resume } from "../base/resume.ts";

export type DumpFormat = "json" | "binary";

/** What a dump is, told by its beginning, and the whole of it, from the beginning again. To be iterated once. */
export interface DetectedDump {
  readonly format: DumpFormat;
  readonly bytes: AsyncIterable<Buffer>;
}

/**
 * Tells the format of a dump by its first bytes. A binary dump begins with the type of its first segment, a number of 32 bits;
 * no JSON text begins with a zero byte, except UTF-16, which is nothing that could be loaded either.
 */
export async function detectDumpFormat(input: AsyncIterable<Buffer>): Promise<DetectedDump> {
  const iterator = input[Symbol.asyncIterator]();
  const head: Buffer[] = [];
  let size = 0;
  while (size < 2) {
    const next = await iterator.next();
    if (next.done === true) break;
    head.push(Buffer.from(next.value));
    size += next.value.length;
  }
  const [first, second] = Buffer.concat(head);
  return { format: first === 0 && second !== 0x7b ? "binary" : "json", bytes: resume(head, iterator) };
}
