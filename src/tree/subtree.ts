import { ByteWriter, recycle, viewOf } from "../base/bytes.ts";
import { NotFoundError, UsageError } from "../base/errors.ts";
import { FileType } from "../volume/file-type.ts";
import { TRASH_INODE } from "../volume/inode.ts";
import { printablePath } from "../volume/path.ts";
import type { RecordBatch, RecordStream } from "../volume/records.ts";
import {
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_NAME,
  ENTRY_NAME_SIZE,
  ENTRY_ROOT,
  ENTRY_TRASH_ROOT,
  ENTRY_TYPE,
  ITEM_TAG,
  TREE_ENTRY,
  TREE_LEAVE,
} from "../volume/tree-item.ts";

/**
 * Of a tree stream only the directory that `names` leads to from the root, which becomes the root; the trash is left out.
 * Other kinds of records pass. Throws `NotFoundError` or `UsageError`, when the stream has ended, for a path that leads
 * nowhere or to no directory.
 */
export async function* subtree(records: RecordStream, names: readonly Buffer[]): RecordStream {
  const selector = new SubtreeSelector(names);
  for await (const batch of records) {
    if (batch.kind !== "tree") {
      yield batch;
      continue;
    }
    const selected = selector.select(batch.bytes);
    recycle(batch.bytes);
    if (selected !== undefined) yield selected;
  }
  selector.assertFound();
}

/** A tree stream without the tree of the trash. */
export async function* withoutTrash(records: RecordStream): RecordStream {
  let isTrash = false;
  for await (const batch of records) {
    if (batch.kind !== "tree") {
      yield batch;
      continue;
    }
    const { bytes } = batch;
    const out = new ByteWriter(bytes.length);
    let count = 0;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
      if (isRoot(bytes, at)) isTrash = isTrashRoot(bytes, at);
      if (isTrash) continue;
      out.writeSlice(bytes, at, at + bytes.readUInt32BE(at));
      count++;
    }
    recycle(bytes);
    if (count > 0) yield { kind: "tree", count, bytes: out.take() };
  }
}

function isRoot(bytes: Buffer, at: number): boolean {
  return bytes[at + ITEM_TAG] === TREE_ENTRY && (bytes[at + ENTRY_FLAGS]! & ENTRY_ROOT) !== 0;
}

function isTrashRoot(bytes: Buffer, at: number): boolean {
  return (bytes[at + ENTRY_FLAGS]! & ENTRY_TRASH_ROOT) !== 0 || bytes.readBigUInt64BE(at + ENTRY_INODE) === TRASH_INODE;
}

class SubtreeSelector {
  readonly #names: readonly Buffer[];
  /** Open directories. */
  #depth = 0;
  /** How many of them, the root being the first, are on the way to the directory that is looked for. */
  #matched = 0;
  /** Depth of the directory that was found, while it is open. */
  #inside = 0;
  #found = false;
  #isFile = false;

  constructor(names: readonly Buffer[]) {
    this.#names = names;
  }

  assertFound(): void {
    if (this.#found) return;
    const shown = printablePath(this.#names);
    if (this.#isFile) {
      throw new UsageError("DECANT_E_NOT_DIRECTORY", `not a directory: ${shown}`, {
        hint: "--subdir takes a directory of the volume",
      });
    }
    throw new NotFoundError("DECANT_E_NO_PATH", `No such file or directory in the dump: ${shown}`, {
      hint: "The path is that inside the volume, without the mount point",
    });
  }

  select(bytes: Buffer): RecordBatch | undefined {
    const view = viewOf(bytes);
    const out = new ByteWriter(bytes.length);
    let count = 0;
    for (let at = 0; at < bytes.length; at += view.getUint32(at)) {
      const part = this.#take(bytes, view, at);
      if (part === "outside") continue;
      const start = out.length;
      out.writeSlice(bytes, at, at + view.getUint32(at));
      if (part === "root") makeRoot(out, start);
      count++;
    }
    return count === 0 ? undefined : { kind: "tree", count, bytes: out.take() };
  }

  /** What the item is of the directory; the item that ends it is a part. */
  #take(bytes: Buffer, view: DataView, at: number): "root" | "part" | "outside" {
    const tag = view.getUint8(at + ITEM_TAG);
    if (tag === TREE_LEAVE) {
      const wasInside = this.#inside > 0;
      if (this.#inside === this.#depth) this.#inside = 0;
      this.#depth--;
      return wasInside ? "part" : "outside";
    }
    if (tag !== TREE_ENTRY) return this.#inside > 0 ? "part" : "outside";
    const isDirectory = view.getUint8(at + ENTRY_TYPE) === FileType.directory;
    if (this.#inside > 0) {
      if (isDirectory) this.#depth++;
      return "part";
    }
    const isOnTheWay = !this.#found && this.#depth === this.#matched && this.#matches(bytes, at);
    if (isOnTheWay && !isDirectory) this.#isFile = this.#depth === this.#names.length;
    if (!isDirectory) return "outside";
    this.#depth++;
    if (!isOnTheWay) return "outside";
    this.#matched = this.#depth;
    if (this.#depth <= this.#names.length) return "outside";
    this.#found = true;
    this.#inside = this.#depth;
    return "root";
  }

  #matches(bytes: Buffer, at: number): boolean {
    if (this.#depth === 0) return isRoot(bytes, at) && !isTrashRoot(bytes, at);
    const name = this.#names[this.#depth - 1]!;
    const start = at + ENTRY_NAME;
    return name.equals(bytes.subarray(start, start + bytes.readUInt16BE(at + ENTRY_NAME_SIZE)));
  }
}

/** Takes the name of the entry at `start`, the last one in `out`, away. */
function makeRoot(out: ByteWriter, start: number): void {
  const { buffer } = out;
  const nameSize = buffer.readUInt16BE(start + ENTRY_NAME_SIZE);
  buffer.copyWithin(start + ENTRY_NAME, start + ENTRY_NAME + nameSize, out.length);
  out.length -= nameSize;
  buffer.writeUInt16BE(0, start + ENTRY_NAME_SIZE);
  buffer.writeUInt32BE(out.length - start, start);
  buffer[start + ENTRY_FLAGS]! |= ENTRY_ROOT;
}
