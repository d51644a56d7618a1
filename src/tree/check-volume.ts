import { recycle, viewOf } from "../base/bytes.ts";
import type { PhaseProgress } from "../base/progress.ts";
import { FileType } from "../volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../volume/inode.ts";
import type { RecordBatch, RecordKind, RecordStream } from "../volume/records.ts";
import type { Setting } from "../volume/setting.ts";
import { FlatChecks } from "./check-flat.ts";
import { HeadChecks } from "./check-head.ts";
import { Ledger, type LedgerContext } from "./check-ledger.ts";
import { PathFinder } from "./check-paths.ts";
import { PlaceChecks } from "./check-places.ts";
import type { ProblemList } from "./check-problems.ts";
import { SliceChecks } from "./check-slices.ts";
import { TreeChecker } from "./check-tree.ts";
import { InodeKeys } from "./inode-key.ts";
import { MemoryBudget } from "./memory-budget.ts";
import { MAX_PIECE_BYTES } from "./piece-sorter.ts";
import { SpillFile } from "./spill-file.ts";
import { TreeFindings } from "./tree-findings.ts";
import { treeOrder } from "./tree-order.ts";

export interface CheckOptions {
  /** Ceiling of memory in bytes; what does not fit is spilled into `tmpDir`. */
  readonly maxBytes: number;
  readonly tmpDir: string;
  readonly signal: AbortSignal;
  readonly problems: ProblemList;
}

export interface FlatCheckVolumeOptions extends CheckOptions {
  /** The source gives parent records for every file with several places; engines that compute them give none. */
  readonly hasParents: boolean;
  /** Called when all has been read and sorting begins. */
  readonly beginSorting?: () => PhaseProgress;
}

export interface TreeCheckVolumeOptions extends CheckOptions {
  /** Gives the same records once more, for the paths of what only shows at the end. */
  readonly readAgain?: () => RecordStream;
}

export interface CheckedVolume {
  readonly setting: Setting | undefined;
  /** Records by kind, and `directory` and `file`: entries that can be reached, roots included. */
  readonly counts: Partial<Record<RecordKind | "directory" | "file", number>>;
}

/**
 * Checks the flat records of a whole volume, as engines and binary dumps have them: that they fit each other and make one
 * tree. Nothing is put right, everything is noted in `problems`.
 */
export async function checkFlatVolume(records: RecordStream, options: FlatCheckVolumeOptions): Promise<CheckedVolume> {
  const { problems, signal, tmpDir } = options;
  const counts = new Map<RecordKind, number>();
  const checks = new Checks(options, options.maxBytes / 2);
  const { head, ledger, keys, slices } = checks;
  let paths: PathFinder | undefined;
  const flat = new FlatChecks({
    problems,
    ledger,
    keys,
    hasAcl: (id) => head.hasAcl(id),
    isSustained: (bytes) => head.isSustained(bytes),
    waitsForDeletion: (bytes) => head.waitsForDeletion(bytes),
    finish: () => {
      tree.end();
      finishFlat(checks, flat, options);
      paths = new PathFinder(problems);
      return !paths.isDone;
    },
  });
  const tree = checks.treeChecker(undefined);
  const tapped = (async function* (): RecordStream {
    for await (const batch of records) {
      counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
      if (batch.kind === "chunk") addChunks(slices, batch);
      yield batch;
    }
  })();
  try {
    const ordered = treeOrder(tapped, {
      roots: [ROOT_INODE, TRASH_INODE].map((inode) => ({ inode, type: FileType.directory })),
      maxBytes: options.maxBytes / 2,
      tmpDir,
      signal,
      findings: new TreeFindings(),
      observer: flat,
      ...(options.beginSorting === undefined ? {} : { beginSorting: options.beginSorting }),
    });
    for await (const batch of ordered) {
      if (batch.kind !== "tree") head.add(batch);
      else {
        if (paths === undefined) tree.write(batch);
        else paths.read(batch);
        recycle(batch.bytes);
      }
    }
    const { directory, file } = tree.counts;
    return { setting: head.setting, counts: { ...Object.fromEntries(counts), directory, file } };
  } finally {
    checks.close();
  }
}

function finishFlat(checks: Checks, flat: FlatChecks, options: FlatCheckVolumeOptions): void {
  const { head, problems } = checks;
  checks.finish(
    {
      hasInode: (inode) => checks.isIn(flat.nodes, inode),
      hasDirectory: (inode) => checks.isIn(flat.directorySet, inode),
      isWhole: true,
      hasParents: options.hasParents,
    },
    true,
  );
  const trashIsOn = (head.setting?.trashDays ?? 0n) > 0n || flat.largestTrash > 0n;
  if (!flat.hasTrashRoot && trashIsOn) problems.add("missing-trash-root", () => ({ path: "/.trash" }));
  head.finish({
    usedSpace: BigInt(flat.blocks) * 4096n,
    inodes: BigInt(flat.inodes),
    largestInode: flat.largestInode,
    largestTrash: flat.largestTrash,
    largestSlice: checks.slices.largestId,
    largestSid: checks.ledger.largestSid,
  });
}

/** Packed chunk records: u64 inode, u32 index, u32 size, slices. */
function addChunks(slices: SliceChecks, { bytes, count }: RecordBatch): void {
  const source = viewOf(bytes);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const next = at + 16 + source.getUint32(at + 12);
    slices.addUses(source, at + 16, next, source, at);
    at = next;
  }
}

/**
 * Checks records in tree order, as a JSON dump has them. Parts of a volume are recognised, and less is asked of them. What
 * cannot be seen in such a dump is in docs/verify.md.
 */
export async function checkTreeVolume(records: RecordStream, options: TreeCheckVolumeOptions): Promise<CheckedVolume> {
  const { problems, signal } = options;
  const checks = new Checks(options, options.maxBytes);
  const { head } = checks;
  const counts = new Map<RecordKind, number>();
  const tree = checks.treeChecker(checks.places);
  try {
    for await (const batch of records) {
      signal.throwIfAborted();
      if (batch.kind === "tree") {
        tree.write(batch);
        recycle(batch.bytes);
      } else {
        counts.set(batch.kind, (counts.get(batch.kind) ?? 0) + batch.count);
        head.add(batch);
      }
    }
    tree.end();
    finishTree(checks, tree);
    const paths = new PathFinder(problems);
    if (options.readAgain !== undefined && !paths.isDone) {
      for await (const batch of options.readAgain()) {
        if (batch.kind === "tree") paths.read(batch);
        if (paths.isDone) break;
      }
    }
    return { setting: head.setting, counts: { ...Object.fromEntries(counts), ...tree.counts } };
  } finally {
    checks.close();
  }
}

function finishTree(checks: Checks, tree: TreeChecker): void {
  const { head, ledger, problems } = checks;
  const isWhole = tree.hasTrash && tree.rootInode === ROOT_INODE;
  if (tree.hasTrash && tree.rootInode !== ROOT_INODE) {
    problems.add("root-inode", () => ({ path: "/", detail: `inode ${tree.rootInode}` }));
  } else if (!isWhole) {
    const detail = tree.rootInode === ROOT_INODE ? "it has no trash" : `its root is directory ${tree.rootInode}`;
    problems.add("partial-dump", () => ({ detail }));
  }
  checks.places.finish(isWhole);
  checks.finish(
    {
      hasInode: () => undefined,
      hasDirectory: (inode) => checks.isIn(tree.directorySet, inode),
      isWhole,
      hasParents: false,
    },
    false,
  );
  const treeSpace = BigInt(tree.blocks) * 4096n;
  const sustained = BigInt(ledger.sustainedInodes);
  head.finish({
    // Deleted files that are open are counted but not in the dump, nor are their lengths.
    usedSpace: isWhole && sustained === 0n ? treeSpace : undefined,
    inodes: isWhole ? BigInt(tree.inodes) + sustained : undefined,
    largestInode: tree.largestInode,
    largestTrash: tree.largestTrash,
    largestSlice: checks.slices.largestId,
    largestSid: ledger.largestSid,
  });
}

/** What both shapes are checked with. */
class Checks {
  readonly problems: ProblemList;
  readonly keys: InodeKeys = new InodeKeys();
  readonly ledger: Ledger;
  readonly slices: SliceChecks;
  readonly places: PlaceChecks;
  readonly head: HeadChecks;
  readonly #budget: MemoryBudget;
  readonly #spill: SpillFile;
  readonly #inode: Buffer = Buffer.alloc(8);
  #tree: TreeChecker | undefined;

  constructor(options: CheckOptions, maxBytes: number) {
    const { problems } = options;
    this.problems = problems;
    this.#budget = new MemoryBudget(maxBytes);
    this.#spill = new SpillFile(options.tmpDir);
    const pieceBytes = Math.min(MAX_PIECE_BYTES, Math.max(1024 * 1024, Math.floor(maxBytes / 8)));
    this.ledger = new Ledger(this.#budget, this.#spill, pieceBytes, problems);
    this.slices = new SliceChecks(this.#budget, this.#spill, pieceBytes, problems);
    this.places = new PlaceChecks(this.#budget, this.#spill, pieceBytes, problems);
    this.head = new HeadChecks({ problems, ledger: this.ledger, slices: this.slices, keys: this.keys });
  }

  treeChecker(places: PlaceChecks | undefined): TreeChecker {
    const { head, ledger, keys, problems, slices } = this;
    this.#tree = new TreeChecker({
      problems,
      ledger,
      keys,
      hasAcl: (id) => head.hasAcl(id),
      wantsSums: (bytes, at) => places === undefined && head.wantsSums(bytes, at),
      inodes: places === undefined ? undefined : { slices, places },
    });
    return this.#tree;
  }

  isIn(set: { has(bytes: Buffer, at: number): boolean }, inode: bigint): boolean {
    this.#inode.writeBigUInt64BE(inode);
    return set.has(this.#inode, 0);
  }

  finish(context: Omit<LedgerContext, "hasEntry">, hasSliceReferences: boolean): void {
    this.slices.finish(hasSliceReferences);
    this.ledger.finish({ ...context, hasEntry: (inode) => this.isIn(this.#tree!.seen, inode) });
  }

  close(): void {
    this.#spill.close();
    this.#budget.close();
  }
}
