import { type CorpusShape, type NameStyle, Salt } from "./corpus-shape.ts";

/** Entry members as a dump has them (docs/spec/json-dump.md §6), each a pure function of the shape and a number. */
export class CorpusText {
  readonly #shape: CorpusShape;
  readonly #suffixes: readonly string[];
  readonly #digits: number;

  constructor(shape: CorpusShape) {
    this.#shape = shape;
    this.#suffixes = NAME_SUFFIXES[shape.options.names];
    const largest = Math.max(shape.options.files, shape.options.trash, shape.allDirectories);
    this.#digits = Math.max(4, largest.toString(36).length);
  }

  /** Names sort as their numbers do: a letter for the kind, the number in fixed width, something for people. */
  name(kind: "d" | "f" | "l", number: number): string {
    const suffix = this.#suffixes[this.#shape.draw(number, Salt.name) & (this.#suffixes.length - 1)]!;
    return kind + number.toString(36).padStart(this.#digits, "0") + suffix;
  }

  directoryAttributes(inode: number | string, number: number, links: number, mode: number): string {
    return `{"inode":${inode},"type":"directory","mode":${mode},${this.#ownerAndTimes(number)},"nlink":${links},"length":0}`;
  }

  /** `attr` and everything after it, with the indentation of the members. */
  fileBody(inode: number, file: number, links: number, indent: string): string {
    const shape = this.#shape;
    if (shape.isSymlink(file)) return this.#symlinkBody(inode, file, links, indent);
    const isLarge = shape.chance(file, Salt.large, shape.options.large);
    const slices = this.#sliceCount(file);
    const length =
      slices === 0 ? 0 : isLarge ? LARGE_BYTES + (file & 0xffff) : 1 + (shape.draw(file, Salt.length) & 0x3f_ffff);
    const mode = shape.draw(file, Salt.mode) & 7 ? 420 : 2541;
    const head = `"attr": {"inode":${inode},"type":"regular","mode":${mode},${this.#ownerAndTimes(inode)},"nlink":${links},"length":${length}}`;
    return head + this.#extras(file, indent) + this.#chunks(file, slices, length, isLarge, indent);
  }

  #symlinkBody(inode: number, file: number, links: number, indent: string): string {
    const head = `"attr": {"inode":${inode},"type":"symlink","mode":511,${this.#ownerAndTimes(inode)},"nlink":${links},"length":0}`;
    return `${head},\n${indent}"symlink": "../target%20of/${file}"`;
  }

  #ownerAndTimes(number: number): string {
    const shape = this.#shape;
    const owner = shape.draw(number, Salt.owner);
    const seconds = 1_600_000_000 + (shape.draw(number, Salt.time) & 0x7ff_ffff);
    const nanoseconds = 1 + (shape.draw(number, Salt.nanoseconds) % 999_999_999);
    return (
      `"uid":${1000 + (owner & 15)},"gid":${1000 + ((owner >>> 4) & 7)},"atime":${seconds + (owner & 0xffff)},` +
      `"mtime":${seconds},"ctime":${seconds + 1},"atimensec":${nanoseconds},"mtimensec":${nanoseconds >> 1 || 1},` +
      `"ctimensec":${nanoseconds ^ 1 || 2}`
    );
  }

  #extras(file: number, indent: string): string {
    const shape = this.#shape;
    let text = "";
    if (shape.chance(file, Salt.xattr, shape.options.xattrs)) {
      const value = shape.draw(file, Salt.xattr).toString(16);
      text = `,\n${indent}"xattrs": [{"name":"user.checksum","value":"sha%20${value}"},{"name":"user.empty","value":""}]`;
    }
    if (shape.chance(file, Salt.acl, shape.options.acls)) {
      const user = 2000 + (shape.draw(file, Salt.acl) % 100);
      text +=
        `,\n${indent}"posix_acl_access": {"owner":6,"group":4,"other":0,"mask":7,` +
        `"users":[{"id":${user},"perm":7}],"groups":null}`;
    }
    return text;
  }

  /** Whole part of the average for every file, the rest by lot. */
  #sliceCount(file: number): number {
    const { slices } = this.#shape.options;
    const whole = Math.floor(slices);
    const more = this.#shape.chance(file, Salt.slices, slices - whole) ? 1 : 0;
    return Math.min(whole + more, this.#shape.sliceIdsPerFile);
  }

  #chunks(file: number, slices: number, length: number, isLarge: boolean, indent: string): string {
    if (slices === 0) return "";
    const firstId = file * this.#shape.sliceIdsPerFile + 1;
    if (!isLarge) return `,\n${indent}"chunks": [${chunk(0, firstId, slices, length)}]`;
    const first = chunk(0, firstId, 1, CHUNK);
    const last = chunk(2, firstId + 1, 1, length - 2 * CHUNK); // the chunk between them is a hole
    return `,\n${indent}"chunks": [\n${indent}  ${first},\n${indent}  ${last}\n${indent}]`;
  }
}

const CHUNK = 64 * 1024 * 1024;
const LARGE_BYTES = 150_000_000;

/** `count` slices one after the other, the first at position 0. */
function chunk(index: number, firstId: number, count: number, length: number): string {
  const size = Math.max(1, Math.floor(length / count));
  let text = `{"index":${index},"slices":[{"id":${firstId},"size":${size},"len":${size}}`;
  for (let i = 1; i < count; i++) text += `,{"id":${firstId + i},"pos":${i * size},"size":${size},"len":${size}}`;
  return `${text}]}`;
}

/** Ends of names, already in the dump's percent escape; their number is a power of two. */
const NAME_SUFFIXES: { readonly [K in NameStyle]: readonly string[] } = {
  short: ["", ".c", ".h", ".txt"],
  words: [
    "-report.pdf",
    "-invoice-2026.xlsx",
    ".jpg",
    "-thumbnail.png",
    "_part-00017.parquet",
    ".json",
    "-backup.tar.gz",
    ".log",
  ],
  long: [48, 64, 80, 100].map((size) => `-${"a-rather-long-name-".repeat(6).slice(0, size)}.data`),
  odd: [
    "%20with%20blanks.txt",
    "-q%22uote%5Cback",
    "-100%25.md",
    "-日本語の名前.txt",
    "-кириллица",
    "-latin%E9%FF",
    "-é<&>",
    "-%01%0A%7F".replace("%7F", "\x7f"),
  ],
};
