import { openSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { type CorpusOptions, CorpusShape, DEFAULT_CORPUS } from "./corpus-shape.ts";
import { CorpusText } from "./corpus-text.ts";

const CHUNK_CHARACTERS = 1 << 18;
const TRASH_INODE = 0x7fff_ffff_1000_0000n;
const TRASH_FILES_PER_HOUR = 1000;
const FIRST_HOUR = Date.UTC(2026, 0, 1);

/**
 * A JSON dump of a made-up volume, byte for byte in the reference's layout (docs/spec/json-dump.md §2-6): loaded and dumped
 * again, it comes back equal but for the counters. The same options give the same bytes; memory does not depend on them.
 */
export function* generateCorpus(options: Partial<CorpusOptions> = {}): Generator<Buffer> {
  const shape = new CorpusShape({ ...DEFAULT_CORPUS, ...options });
  const text = new CorpusText(shape);
  let pending = documentHead(shape);
  for (const piece of treePieces(shape, text)) {
    pending += piece;
    if (pending.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(pending);
    pending = "";
  }
  yield Buffer.from(`${pending}\n}\n`);
}

function documentHead(shape: CorpusShape): string {
  const { files, trash } = shape.options;
  const hours = Math.ceil(trash / TRASH_FILES_PER_HOUR);
  const counters = {
    usedSpace: files * 4096,
    usedInodes: files + shape.allDirectories - 1 + trash + hours,
    nextInodes: trash > 0 ? shape.firstTrashInode + trash : files + shape.allDirectories + 1,
    nextChunk: (files + trash + 1) * shape.sliceIdsPerFile + 1,
    nextSession: 0,
    nextTrash: hours,
  };
  const head = { Setting: SETTING, Counters: counters, Sustained: [], DelFiles: [] };
  return JSON.stringify(head, undefined, 2).slice(0, -"\n}".length);
}

const SETTING = {
  Name: "corpus",
  UUID: "c0c0c0c0-0000-4000-8000-000000000001",
  Storage: "file",
  Tiers: { 0: { ID: 0, StorageClass: "", Tag: "" } },
  Bucket: "/srv/corpus/",
  BlockSize: 4096,
  Compression: "none",
  EncryptAlgo: "aes256gcm-rsa",
  TrashDays: 1,
  MetaVersion: 1,
  MinClientVersion: "1.2.0-A",
  DirStats: true,
  EnableACL: true,
};

function* treePieces(shape: CorpusShape, text: CorpusText): Generator<string> {
  yield ',\n  "FSTree": {';
  yield* directoryPieces(shape, text);
  yield ',\n  "Trash": {';
  yield* trashPieces(shape, text);
}

/** A directory that is being written: its subdirectories first, then its files, then second names of others' files. */
interface OpenDirectory {
  readonly number: number;
  nextChild: number;
  readonly endOfChildren: number;
  isEmpty: boolean;
}

/** Depth first with a stack of its own: a path may be very long. */
function* directoryPieces(shape: CorpusShape, text: CorpusText): Generator<string> {
  const stack: OpenDirectory[] = [openDirectory(shape, 0)];
  yield directoryHead(shape, text, 0, "    ");
  while (stack.length > 0) {
    const directory = stack.at(-1)!;
    const indent = "  ".repeat(stack.length * 2 + 1);
    const child = nextChild(shape, directory);
    if (child !== undefined) {
      const comma = directory.isEmpty ? "" : ",";
      directory.isEmpty = false;
      yield `${comma}\n${indent}"${text.name("d", child)}": {${directoryHead(shape, text, child, `${indent}  `)}`;
      stack.push(openDirectory(shape, child));
      continue;
    }
    yield* filePieces(shape, text, directory, indent);
    yield* linkPieces(shape, text, directory, indent);
    yield `\n${indent.slice(2)}}\n${indent.slice(4)}}`;
    stack.pop();
  }
}

function openDirectory(shape: CorpusShape, number: number): OpenDirectory {
  const isHuge = number >= shape.directories;
  const nextChild = isHuge ? 0 : shape.firstChild(number);
  return { number, nextChild, endOfChildren: isHuge ? 0 : shape.endOfChildren(number), isEmpty: true };
}

/** The huge directory is the last child of the root. */
function nextChild(shape: CorpusShape, directory: OpenDirectory): number | undefined {
  if (directory.nextChild < directory.endOfChildren) return directory.nextChild++;
  if (directory.number !== 0 || !shape.hasHuge || directory.nextChild > shape.directories) return undefined;
  directory.nextChild = shape.directories + 1;
  return shape.directories;
}

function directoryHead(shape: CorpusShape, text: CorpusText, number: number, indent: string): string {
  const isHuge = number >= shape.directories;
  const children = isHuge ? 0 : shape.endOfChildren(number) - shape.firstChild(number);
  const links = 2 + children + (number === 0 && shape.hasHuge ? 1 : 0);
  const inode = shape.directoryInode(number);
  const attributes = text.directoryAttributes(inode, inode, links, number === 0 ? 511 : 493);
  return `\n${indent}"attr": ${attributes},\n${indent}"entries": {`;
}

function* filePieces(
  shape: CorpusShape,
  text: CorpusText,
  directory: OpenDirectory,
  indent: string,
): Generator<string> {
  const first = shape.firstFile(directory.number);
  const count = shape.endOfFiles(directory.number) - first;
  for (let place = 0; place < count; place++) {
    const file = shape.fileAtPlace(first, count, place);
    const inode = shape.fileInode(directory.number, file);
    const links = shape.isLinked(file) ? 2 : 1;
    yield entry(text.name("f", first + place), text.fileBody(inode, file, links, `${indent}  `), directory, indent);
  }
}

function* linkPieces(
  shape: CorpusShape,
  text: CorpusText,
  directory: OpenDirectory,
  indent: string,
): Generator<string> {
  if (shape.options.links === 0 || shape.allDirectories === 1) return;
  const source = shape.linkSource(directory.number);
  for (let file = shape.firstFile(source); file < shape.endOfFiles(source); file++) {
    if (!shape.isLinked(file)) continue;
    const inode = shape.fileInode(source, file);
    yield entry(text.name("l", file), text.fileBody(inode, file, 2, `${indent}  `), directory, indent);
  }
}

function entry(name: string, body: string, directory: { isEmpty: boolean }, indent: string): string {
  const comma = directory.isEmpty ? "" : ",";
  directory.isEmpty = false;
  return `${comma}\n${indent}"${name}": {\n${indent}  ${body}\n${indent}}`;
}

/** Hour directories with files that were removed from the root. */
function* trashPieces(shape: CorpusShape, text: CorpusText): Generator<string> {
  const { trash, files } = shape.options;
  yield `\n    "attr": ${text.directoryAttributes(String(TRASH_INODE), 0, 2, 365)},\n    "entries": {`;
  for (let start = 0, hour = 1; start < trash; start += TRASH_FILES_PER_HOUR, hour++) {
    const name = new Date(FIRST_HOUR + hour * 3_600_000).toISOString().slice(0, 13).replace("T", "-");
    const attributes = text.directoryAttributes(String(TRASH_INODE + BigInt(hour)), hour, 2, 365);
    const comma = start === 0 ? "" : ",";
    yield `${comma}\n      "${name}": {\n        "attr": ${attributes},\n        "entries": {`;
    const directory = { isEmpty: true };
    for (let i = start; i < Math.min(start + TRASH_FILES_PER_HOUR, trash); i++) {
      const inode = shape.firstTrashInode + i;
      const body = text.fileBody(inode, files + i, 1, " ".repeat(12));
      yield entry(`1-${inode}-${text.name("f", i)}`, body, directory, " ".repeat(10));
    }
    yield "\n        }\n      }";
  }
  yield "\n    }\n  }";
}

/** Writes the whole buffer, also into a pipe that is full. False when nobody reads any more. */
function writeAll(file: number, bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(file, bytes, at);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EPIPE") return false;
      if (code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
  return true;
}

/** `--files 1000000 --per-directory 100 ... [--output FILE]`: one flag for each option of the corpus. */
export function parseCorpusArguments(args: string[]): { options: Partial<CorpusOptions>; output: string | undefined } {
  const names = Object.keys(DEFAULT_CORPUS) as (keyof CorpusOptions)[];
  const flag = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const flags = Object.fromEntries([...names.map(flag), "output"].map((name) => [name, { type: "string" as const }]));
  const { values } = parseArgs({ args, options: flags, strict: true });
  const given = names.flatMap((name) => {
    const value = values[flag(name)];
    if (typeof value !== "string") return [];
    return [[name, name === "names" ? value : Number(value.replaceAll("_", ""))] as const];
  });
  const output = values.output;
  return {
    options: Object.fromEntries(given) as Partial<CorpusOptions>,
    output: typeof output === "string" ? output : undefined,
  };
}

if (import.meta.main) {
  const { options, output } = parseCorpusArguments(process.argv.slice(2));
  const file = output === undefined ? 1 : openSync(output, "w");
  for (const bytes of generateCorpus(options)) if (!writeAll(file, bytes)) break;
}
