import { type DumpFacts, TRASH_ROOT } from "./reference-load.ts";

/** The lines of a dump from its trees on: what stands before differs by engine. */
export function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}

/** Keys of the reference's load, as lines in hex, as decant must have them (docs/compatibility.md). */
export function expectedPairs(theirs: readonly string[], { counters }: DumpFacts): string[] {
  const uselessReference = `4b${"00".repeat(12)}`; // of the slice 0, which is a hole
  const changeLogLine = /^584c4f47/; // a load into a volume with a change log is noted there, which a restored volume has no use for
  return theirs
    .filter((line) => !line.startsWith(uselessReference) && !changeLogLine.test(line))
    .map((line) => {
      const [key, value] = line.split(" ") as [string, string];
      const name = Buffer.from(key, "hex").toString("latin1");
      const ofFile = name.startsWith("C") ? counters.get(name.slice(1)) : undefined;
      if (ofFile === undefined || ofFile <= Buffer.from(value, "hex").readBigInt64LE()) return line;
      const larger = Buffer.alloc(8);
      larger.writeBigInt64LE(ofFile);
      return `${key} ${larger.toString("hex")}`;
    });
}

/** Without the trash root, which decant adds where a dump has none. */
export function withoutTrashRoot(lines: readonly string[], { hasTrash }: DumpFacts): readonly string[] {
  if (hasTrash) return lines;
  const inode = Buffer.alloc(8);
  inode.writeBigUInt64LE(BigInt(TRASH_ROOT));
  const keys = [`41${inode.toString("hex")}49 `, `55${inode.toString("hex")} `];
  return lines.filter((line) => !keys.some((key) => line.startsWith(key)));
}
