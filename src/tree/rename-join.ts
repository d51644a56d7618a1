import { compareFacts, typeName } from "./compare-facts.ts";
import { FACT_TYPE } from "./entry-facts.ts";
import type { FactName } from "./fact-names.ts";
import { MemoryBudget, PAGE_BYTES } from "./memory-budget.ts";
import { MAX_PIECE_BYTES } from "./piece-sorter.ts";
import { RecordSorter } from "./record-sorter.ts";
import { SpillFile } from "./spill-file.ts";
import { type ChangeSink, NEW_SIDE, OLD_SIDE, type Place, type Side, type TreeChange } from "./tree-changes.ts";

export interface RenameJoinOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly ignored: ReadonlySet<FactName>;
}

/**
 * Finds out which places that only one side has are one file that was renamed, and gives all differences in the order of
 * paths, in bounded memory: places are sorted by inode, then all lines by position.
 *
 * A place of the same name in the same directory on both sides was not renamed, its directory was (or one above it): only
 * its facts are compared. What else one inode has on both sides is paired, as long as type and tree (files or trash) are the
 * same; a file at two places is so one rename and one that is new. What then remains on both sides of one path is a changed
 * path. Create, fill through the sink, take `changes` once, `close` in any case.
 */
export class RenameJoin implements ChangeSink {
  readonly #ignored: ReadonlySet<FactName>;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #places: RecordSorter;
  readonly #lines: RecordSorter;

  constructor(options: RenameJoinOptions) {
    this.#ignored = options.ignored;
    this.#budget = new MemoryBudget(options.maxBytes);
    this.#spill = new SpillFile(options.tmpDir);
    const pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(PAGE_BYTES * 4, Math.floor(options.maxBytes / 8)));
    const shared = {
      budget: this.#budget,
      spill: this.#spill,
      pieceBytes,
    };
    this.#places = new RecordSorter(shared);
    this.#lines = new RecordSorter(shared);
  }

  changed(position: number, path: Buffer, oldFacts: Buffer, newFacts: Buffer): void {
    this.#line(position, CHANGED, [path, EMPTY, oldFacts, newFacts]);
  }

  /**
   * Record of a place: u32 size, u64 inode, u8 tree, u64 parent, u16 nameSize, name, u8 side, u64 position, u32 pathSize,
   * path, facts: what belongs together stands side by side, the old place before the new one.
   */
  place(place: Place): void {
    const { name, path, facts } = place;
    const size = PLACE_NAME + name.length + PLACE_TAIL + path.length + facts.length;
    const start = this.#places.reserve(size);
    const { page, view } = this.#places;
    facts.copy(page, start + PLACE_INODE, 0, 8);
    page[start + PLACE_TREE] = place.inTrash ? 1 : 0;
    view.setBigUint64(start + PLACE_PARENT, place.parent);
    view.setUint16(start + PLACE_NAME_SIZE, name.length);
    name.copy(page, start + PLACE_NAME);
    const tail = start + PLACE_NAME + name.length;
    page[tail] = place.side;
    putPosition(view, tail + 1, place.position);
    view.setUint32(tail + 9, path.length);
    path.copy(page, tail + PLACE_TAIL);
    facts.copy(page, tail + PLACE_TAIL + path.length);
  }

  /** All differences. Objects and their buffers are the caller's. */
  *changes(): Generator<TreeChange> {
    this.#join();
    yield* this.#report();
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }

  #join(): void {
    const places = this.#places;
    const group = new InodeGroup();
    let before: Buffer | undefined;
    for (let more = places.next(); more; more = places.next()) {
      const size = places.bytes.readUInt32BE(places.start);
      const record = Buffer.from(places.bytes.subarray(places.start, places.start + size));
      if (before !== undefined && isSameEdge(before, record)) {
        this.#keep(before, record);
        before = undefined;
        continue;
      }
      if (before !== undefined) this.#match(group, before);
      if (!group.isOf(record)) this.#flush(group, record);
      before = record;
    }
    if (before !== undefined) this.#match(group, before);
    this.#flush(group, undefined);
  }

  /** The same name in the same directory: where it stands is no difference. */
  #keep(oldPlace: Buffer, newPlace: Buffer): void {
    const from = placeParts(oldPlace);
    const to = placeParts(newPlace);
    if (compareFacts(from.facts, 0, to.facts, 0, this.#ignored).length === 0) return;
    this.#line(to.position, CHANGED, [to.path, EMPTY, from.facts, to.facts]);
  }

  /** Pairs a place with one that the other side has of the same inode, or keeps it for one to come. */
  #match(group: InodeGroup, record: Buffer): void {
    if (!group.isOf(record)) this.#flush(group, record);
    const place = placeParts(record);
    const partner = group.takePartner(place);
    if (partner === undefined) {
      const surplus = group.keep(place);
      if (surplus !== undefined) this.#single(surplus);
      return;
    }
    const [from, to] = place.side === NEW_SIDE ? [partner, place] : [place, partner];
    this.#line(to.position, RENAMED, [to.path, from.path, from.facts, to.facts]);
  }

  #flush(group: InodeGroup, next: Buffer | undefined): void {
    for (const place of group.waiting) this.#single(place);
    group.begin(next);
  }

  #single(place: PlaceParts): void {
    if (place.side === OLD_SIDE) this.#line(place.position, REMOVED, [place.path, EMPTY, place.facts, EMPTY]);
    else this.#line(place.position, ADDED, [place.path, EMPTY, EMPTY, place.facts]);
  }

  /** Record of a line: u32 size, u64 position, u8 kind, then path, old path, old facts, new facts, each after its u32 size. */
  #line(position: number, kind: number, parts: readonly Buffer[]): void {
    let size = LINE_PARTS;
    for (const part of parts) size += 4 + part.length;
    let at = this.#lines.reserve(size);
    const { page, view } = this.#lines;
    putPosition(view, at + 4, position);
    page[at + LINE_KIND] = kind;
    at += LINE_PARTS;
    for (const part of parts) {
      view.setUint32(at, part.length);
      part.copy(page, at + 4);
      at += 4 + part.length;
    }
  }

  *#report(): Generator<TreeChange> {
    const lines = this.#lines;
    let removed: Line | undefined;
    for (let more = lines.next(); more; more = lines.next()) {
      const line = readLine(lines.bytes, lines.start);
      if (removed !== undefined && line.kind === ADDED && line.position === removed.position) {
        // Both are still there after the renames: the path is another file now.
        const replaced = { ...line, kind: CHANGED, oldFacts: removed.oldFacts };
        removed = undefined;
        const change = this.#changeOf(replaced);
        if (change.changes.length > 0) yield change;
        continue;
      }
      if (removed !== undefined) yield this.#changeOf(removed);
      removed = line.kind === REMOVED ? line : undefined;
      if (removed === undefined) yield this.#changeOf(line);
    }
    if (removed !== undefined) yield this.#changeOf(removed);
  }

  #changeOf(line: Line): TreeChange {
    return treeChange(line, this.#ignored);
  }
}

/** The change that `kind` and the facts of both sides make. */
export function treeChange(
  line: {
    readonly kind: number;
    readonly path: Buffer;
    readonly from: Buffer;
    readonly oldFacts: Buffer;
    readonly newFacts: Buffer;
  },
  ignored: ReadonlySet<FactName>,
): TreeChange {
  const { kind, path, from, oldFacts, newFacts } = line;
  const facts = kind === REMOVED ? oldFacts : newFacts;
  const both = kind === CHANGED || kind === RENAMED;
  return {
    kind: KIND_NAMES[kind]!,
    path,
    ...(kind === RENAMED ? { from } : {}),
    inode: facts.readBigUInt64BE(0),
    type: typeName(facts, 0),
    changes: both ? compareFacts(oldFacts, 0, newFacts, 0, ignored) : [],
  };
}

/** Kinds of lines, in their order at one position. */
export const REMOVED = 0;
export const ADDED = 1;
export const RENAMED = 2;
export const CHANGED = 3;
const KIND_NAMES = ["removed", "added", "renamed", "changed"] as const;

const EMPTY: Buffer = Buffer.alloc(0);

const PLACE_INODE = 4;
const PLACE_TREE = 12;
const PLACE_PARENT = 13;
const PLACE_NAME_SIZE = 21;
const PLACE_NAME = 23;
/** u8 side, u64 position, u32 pathSize. */
const PLACE_TAIL = 13;

const LINE_KIND = 12;
const LINE_PARTS = 13;

/** Positions are counted in a number: 2^53 differences are out of reach. */
function putPosition(view: DataView, at: number, position: number): void {
  view.setUint32(at, Math.floor(position / 0x1_0000_0000));
  view.setUint32(at + 4, position % 0x1_0000_0000);
}

function getPosition(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
}

interface PlaceParts {
  readonly side: Side;
  readonly position: number;
  readonly path: Buffer;
  readonly facts: Buffer;
}

function placeParts(record: Buffer): PlaceParts {
  const tail = PLACE_NAME + record.readUInt16BE(PLACE_NAME_SIZE);
  const path = tail + PLACE_TAIL;
  const facts = path + record.readUInt32BE(tail + 9);
  return {
    side: record[tail] === OLD_SIDE ? OLD_SIDE : NEW_SIDE,
    position: getPosition(record, tail + 1),
    path: record.subarray(path, facts),
    facts: record.subarray(facts),
  };
}

/** Whether two places in a row are one name in one directory, old and new, of one type. */
function isSameEdge(a: Buffer, b: Buffer): boolean {
  const end = PLACE_NAME + a.readUInt16BE(PLACE_NAME_SIZE);
  // Up to the size of the name first: a shorter record has no such bytes.
  if (a.compare(b, PLACE_INODE, PLACE_NAME, PLACE_INODE, PLACE_NAME) !== 0) return false;
  if (a.compare(b, PLACE_NAME, end, PLACE_NAME, end) !== 0) return false;
  if (a[end] !== OLD_SIDE || b[end] !== NEW_SIDE) return false;
  return placeParts(a).facts[FACT_TYPE] === placeParts(b).facts[FACT_TYPE];
}

/** More places of one inode that wait for a partner are given up: they are then reported as removed and added. */
const MAX_WAITING = 1000;

/** The places of one inode, in one tree, that have no partner yet: all of one side and type at a time. */
class InodeGroup {
  waiting: PlaceParts[] = [];
  readonly #inode: Buffer = Buffer.alloc(PLACE_PARENT - PLACE_INODE, 0xff);

  isOf(record: Buffer): boolean {
    return this.#inode.compare(record, PLACE_INODE, PLACE_PARENT) === 0;
  }

  begin(record: Buffer | undefined): void {
    this.waiting = [];
    record?.copy(this.#inode, 0, PLACE_INODE, PLACE_PARENT);
  }

  takePartner(place: PlaceParts): PlaceParts | undefined {
    const at = this.waiting.findIndex(
      ({ side, facts }) => side !== place.side && facts[FACT_TYPE] === place.facts[FACT_TYPE],
    );
    return at < 0 ? undefined : this.waiting.splice(at, 1)[0];
  }

  /** Keeps a place; returns the one that had to give way to it. */
  keep(place: PlaceParts): PlaceParts | undefined {
    this.waiting.push(place);
    return this.waiting.length > MAX_WAITING ? this.waiting.shift() : undefined;
  }
}

interface Line {
  readonly kind: number;
  readonly position: number;
  readonly path: Buffer;
  readonly from: Buffer;
  readonly oldFacts: Buffer;
  readonly newFacts: Buffer;
}

/** Copies: what a sorter holds is valid until its next record. */
function readLine(bytes: Buffer, start: number): Line {
  const own = Buffer.from(bytes.subarray(start, start + bytes.readUInt32BE(start)));
  let at = LINE_PARTS;
  const part = (): Buffer => {
    const begin = at + 4;
    at = begin + own.readUInt32BE(at);
    return own.subarray(begin, at);
  };
  return {
    kind: own[LINE_KIND]!,
    position: getPosition(own, 4),
    path: part(),
    from: part(),
    oldFacts: part(),
    newFacts: part(),
  };
}
