import type { ProblemList } from "./check-problems.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RecordSorter } from "./record-sorter.ts";
import type { SpillFile } from "./spill-file.ts";

/** u32 record size, u64 inode, u64 number of the place, u32 + u32 hashes of its description, u32 link count, u8 file type. */
const INODE = 4;
const NUMBER = 12;
const HASHES = 20;
const LINKS = 28;
const TYPE = 32;
const RECORD_BYTES = 33;

/** A place of a file that has, or says it has, several. */
export interface FilePlace {
  readonly inode: bigint;
  readonly attributeHash: number;
  readonly contentHash: number;
  readonly links: number;
  readonly isSpecial: boolean;
}

/** What is known of one file while its places are read. */
interface PlaceGroup {
  readonly inode: bigint;
  readonly hashes: bigint;
  readonly links: number;
  readonly isSpecial: boolean;
  places: number;
}

/** Places of files in a dump that writes a file in full at each of them, in memory bounded by the ceiling. */
export class PlaceChecks {
  readonly #places: RecordSorter;
  readonly #problems: ProblemList;
  #next = 0;

  constructor(budget: MemoryBudget, spill: SpillFile, pieceBytes: number, problems: ProblemList) {
    this.#places = new RecordSorter({ budget, spill, pieceBytes });
    this.#problems = problems;
  }

  add(place: FilePlace): void {
    const at = this.#places.reserve(RECORD_BYTES);
    const page = this.#places.page;
    page.writeBigUInt64BE(place.inode, at + INODE);
    page.writeBigUInt64BE(BigInt(this.#next++), at + NUMBER);
    page.writeUInt32BE(place.attributeHash, at + HASHES);
    page.writeUInt32BE(place.contentHash, at + HASHES + 4);
    page.writeUInt32BE(place.links, at + LINKS);
    page[at + TYPE] = place.isSpecial ? 1 : 0;
  }

  /** Compares everything. `isWhole`: no place can be outside of the dump. Call it once. */
  finish(isWhole: boolean): void {
    const places = this.#places;
    let group: PlaceGroup | undefined;
    while (places.next()) {
      const { bytes, start } = places;
      const inode = bytes.readBigUInt64BE(start + INODE);
      const hashes = bytes.readBigUInt64BE(start + HASHES);
      if (group?.inode !== inode) {
        if (group !== undefined) this.#judge(group, isWhole);
        const links = bytes.readUInt32BE(start + LINKS);
        group = { inode, hashes, links, isSpecial: bytes[start + TYPE] === 1, places: 0 };
      }
      group.places++;
      if (hashes !== group.hashes) this.#problems.add("file-differs", () => ({ inode }));
    }
    if (group !== undefined) this.#judge(group, isWhole);
  }

  /** A file whose first place says one link has that place noted nowhere: one place more, so it never fits. */
  #judge({ inode, links, isSpecial, places }: PlaceGroup, isWhole: boolean): void {
    const found = links === 1 ? places + 1 : places;
    if (found === links || (found < links && !isWhole)) return;
    linkProblem(this.#problems, { inode, links, found, mayBeClone: isSpecial });
  }
}

/** Reports a file whose link count is not the number of its entries. */
export function linkProblem(
  problems: ProblemList,
  file: { inode: bigint; links: number; found: number; mayBeClone: boolean },
): void {
  const { inode, links, found, mayBeClone } = file;
  // A clone of a hard-linked symbolic link keeps its link count (test/fixtures/golden/README.md).
  const kind = mayBeClone && found < links ? "spare-links" : "link-count";
  problems.add(kind, () => ({ inode, detail: `${links} links, ${found} entries` }));
}
