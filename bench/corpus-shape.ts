/**
 * The arithmetic of a made-up volume: everything about an entry follows from its number and the seed, so that nothing need
 * be kept and any part can be computed on its own.
 *
 * Directories are numbered like a heap (0 is the root, the children of i are i*fanout+1 ...), files are dealt out to them in
 * order of number. Inodes are given to a directory, then its files, then the next directory, as if they had been made in
 * this order; names within a directory are in another order than inodes.
 */
export interface CorpusOptions {
  /** Files and symlinks outside of the trash, each counted once. */
  readonly files: number;
  /** Average of files per directory; below 1 gives more directories than files. */
  readonly filesPerDirectory: number;
  /** Subdirectories per directory; 1 gives one long path. */
  readonly fanout: number;
  /** How many of the files are in one directory of their own. */
  readonly huge: number;
  readonly names: NameStyle;
  /** Average slices per file; 0 for empty files. */
  readonly slices: number;
  /** Shares of all files, 0 to 1. */
  readonly links: number;
  readonly xattrs: number;
  readonly symlinks: number;
  readonly acls: number;
  /** Share of files that are longer than one chunk. */
  readonly large: number;
  /** More files, in the trash. */
  readonly trash: number;
  readonly seed: number;
}

/** `short` is 8 to 12 bytes, `long` 60 to 120, `odd` has blanks, quotes, other alphabets and bytes that are not UTF-8. */
export type NameStyle = "short" | "words" | "long" | "odd";

export const DEFAULT_CORPUS: CorpusOptions = {
  files: 100_000,
  filesPerDirectory: 100,
  fanout: 10,
  huge: 0,
  names: "words",
  slices: 1,
  links: 0.01,
  xattrs: 0.02,
  symlinks: 0.01,
  acls: 0.005,
  large: 0.005,
  trash: 0,
  seed: 1,
};

/** What is drawn by lot about a number: each has its own salt, so that they are independent. */
export const Salt = {
  link: 1,
  xattr: 2,
  symlink: 3,
  acl: 4,
  large: 5,
  slices: 6,
  length: 7,
  owner: 8,
  time: 9,
  nanoseconds: 10,
  name: 11,
  mode: 12,
} as const;

export class CorpusShape {
  readonly options: CorpusOptions;
  /** Directories of the heap, root included. */
  readonly directories: number;
  /** Files in the heap's directories; the rest is in the huge one. */
  readonly spread: number;
  readonly #seed: number;

  constructor(options: CorpusOptions) {
    this.options = options;
    this.spread = Math.max(0, options.files - options.huge);
    this.directories = Math.max(1, Math.ceil(this.spread / options.filesPerDirectory));
    this.#seed = Math.imul(options.seed, 0x9e3779b1);
  }

  get hasHuge(): boolean {
    return this.options.huge > 0;
  }

  /** Directories of all kinds outside of the trash, the huge one last. */
  get allDirectories(): number {
    return this.directories + (this.hasHuge ? 1 : 0);
  }

  firstChild(directory: number): number {
    return Math.min(directory * this.options.fanout + 1, this.directories);
  }

  /** One more than the last child. */
  endOfChildren(directory: number): number {
    return Math.min((directory + 1) * this.options.fanout + 1, this.directories);
  }

  firstFile(directory: number): number {
    if (directory >= this.directories) return this.spread;
    return Math.floor((directory * this.spread) / this.directories);
  }

  endOfFiles(directory: number): number {
    return directory >= this.directories ? this.options.files : this.firstFile(directory + 1);
  }

  directoryInode(directory: number): number {
    return 1 + directory + this.firstFile(directory);
  }

  fileInode(directory: number, file: number): number {
    return 2 + directory + file;
  }

  /** The smallest inode in the trash: a power of ten, so that names which begin with it sort as numbers do. */
  get firstTrashInode(): number {
    return 10 ** String(this.options.files + this.allDirectories + 2 + this.options.trash).length;
  }

  /** The most slices that a file can have: slice ids are given in blocks of this size. */
  get sliceIdsPerFile(): number {
    return Math.max(4, Math.ceil(this.options.slices * 2));
  }

  /**
   * The file at a place of a directory's name order: a one-to-one mapping that scatters neighbours, so that neither the
   * engine's nor the dump's order is the other's by luck.
   */
  fileAtPlace(first: number, count: number, place: number): number {
    if (count < 3) return first + place;
    const step = coprimeStep(count);
    return first + ((place * step + (step >> 1)) % count);
  }

  /** 32 bits by lot. */
  draw(number: number, salt: number): number {
    let h = (Math.imul(number, 0x85ebca6b) ^ Math.imul(salt, 0xc2b2ae35) ^ this.#seed) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    return (h ^ (h >>> 16)) >>> 0;
  }

  /** True for that share of all numbers. */
  chance(number: number, salt: number, share: number): boolean {
    return share > 0 && this.draw(number, salt) < share * 0x1_0000_0000;
  }

  isSymlink(file: number): boolean {
    return this.chance(file, Salt.symlink, this.options.symlinks);
  }

  /** Hard-linked files have a second name in the directory after theirs. */
  isLinked(file: number): boolean {
    return this.allDirectories > 1 && this.chance(file, Salt.link, this.options.links);
  }

  /** The directory whose linked files have their second name in this one. */
  linkSource(directory: number): number {
    return (directory + this.allDirectories - 1) % this.allDirectories;
  }
}

function coprimeStep(count: number): number {
  if (count === lastCount) return lastStep;
  let step = Math.max(1, Math.floor(count * 0.618));
  while (greatestCommonDivisor(step, count) !== 1) step++;
  lastCount = count;
  lastStep = step;
  return step;
}

let lastCount = 0;
let lastStep = 1;

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
