import { tmpdir } from "node:os";
import { expect } from "vitest";
import { type TreeFindingKind, TreeFindings } from "../../../src/tree/tree-findings.ts";
import { entryParts, treeOrder } from "../../../src/tree/tree-order.ts";
import { decodeAttribute, encodeAttribute, newDirectoryAttribute } from "../../../src/volume/attribute.ts";
import { FILE_TYPE_NAMES, FileType } from "../../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../../src/volume/inode.ts";
import type { EdgeRecord, RecordStream } from "../../../src/volume/records.ts";
import {
  ENTRY_FLAGS,
  ENTRY_INODE,
  ENTRY_TYPE,
  ITEM_TAG,
  TREE_CHUNKS,
  TREE_ENTRY,
} from "../../../src/volume/tree-item.ts";
import { type RecordSet, toBatches } from "../../conformance/engine-records.ts";
import { streamOf } from "../../support/volume-streams.ts";

/** When lost attributes are rebuilt in tests. */
export const NOW = 1_800_000_000n;
/** When those were changed that are there. */
export const BEFORE = 1_700_000_000n;

export interface SalvageCall {
  /** Default true; undefined = nothing is salvaged. */
  readonly lostFound?: boolean | undefined;
  readonly roots?: readonly bigint[];
  readonly maxBytes?: number;
}

export interface SalvagedTree {
  /**
   * One line for each entry, in order: `path inode type`, and `rebuilt MODE LENGTH` of what was; `+N` for N chunks, `->target`,
   * `@name` of an xattr. Flags that are left are in brackets.
   */
  readonly lines: string[];
  readonly findings: TreeFindings;
  /** What the listener was told: `kind inode detail`. */
  readonly told: string[];
}

/** Records in tree order, salvaged. */
export function salvagedOrder(set: RecordSet, findings: TreeFindings, call: SalvageCall = {}): RecordStream {
  const { roots = [ROOT_INODE, TRASH_INODE], maxBytes = 8 * 1024 * 1024 } = call;
  const lostFound = "lostFound" in call ? call.lostFound : true;
  return treeOrder(streamOf(toBatches(set)), {
    roots: roots.map((inode) => ({ inode, type: FileType.directory })),
    maxBytes,
    tmpDir: tmpdir(),
    signal: new AbortController().signal,
    findings,
    salvage: lostFound === undefined ? undefined : { lostFound, seconds: NOW },
  });
}

/** The trees of records that are salvaged. The trash is left out of `lines` when it is empty. */
export async function salvagedTree(set: RecordSet, call: SalvageCall = {}): Promise<SalvagedTree> {
  const told: string[] = [];
  const onEach = (kind: TreeFindingKind, inode: bigint, detail: string): void => {
    told.push(`${kind} ${inode} ${detail}`);
  };
  const findings = new TreeFindings({ onEach });
  const lines: string[] = [];
  const path: string[] = [];
  for await (const { kind, count, bytes } of salvagedOrder(set, findings, call)) {
    if (kind !== "tree") continue;
    let items = 0;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at), items++) {
      if (bytes[at + ITEM_TAG] === TREE_CHUNKS) continue;
      if (bytes[at + ITEM_TAG] !== TREE_ENTRY) {
        path.pop();
        continue;
      }
      lines.push(lineOf(bytes, at, path));
      if (bytes[at + ENTRY_TYPE] === FileType.directory) path.push(entryParts(bytes, at).name.toString("latin1"));
    }
    expect(items).toBe(count);
  }
  expect(path).toEqual([]);
  if (lines.at(-1) === `/ ${TRASH_INODE} directory [5]`) lines.pop();
  return { lines, findings, told };
}

function lineOf(bytes: Buffer, at: number, above: readonly string[]): string {
  const { name, attribute, symlink, xattrs, chunks } = entryParts(bytes, at);
  const path = [...above.slice(1), name.toString("latin1")].join("/");
  const words = [`/${path}`, bytes.readBigUInt64BE(at + ENTRY_INODE), FILE_TYPE_NAMES[bytes[at + ENTRY_TYPE]!]];
  const flags = bytes[at + ENTRY_FLAGS]!;
  if (flags !== (above.length === 0 ? 4 : 0)) words.push(`[${flags}]`);
  if (attribute.length > 0) {
    const { type, mode, uid, gid, mtime, atime, ctime, length } = decodeAttribute(attribute);
    expect(type).toBe(bytes[at + ENTRY_TYPE]);
    if (mtime === NOW) {
      words.push(`rebuilt ${mode.toString(8)} ${length}`);
      expect([uid, gid, atime, ctime]).toEqual([0, 0, NOW, NOW]);
    }
  }
  if (symlink.length > 0) words.push(`->${symlink.toString("latin1")}`);
  for (let x = 0; x < xattrs.length; x += 6 + xattrs.readUInt16BE(x) + xattrs.readUInt32BE(x + 2)) {
    words.push(`@${xattrs.toString("latin1", x + 6, x + 6 + xattrs.readUInt16BE(x))}`);
  }
  if (chunks.length > 0 && (flags & 2) === 0) {
    let count = 0;
    for (let c = 0; c < chunks.length; c += 8 + chunks.readUInt32BE(c + 4)) count++;
    words.push(`+${count}`);
  }
  return words.join(" ");
}

export function node(inode: bigint, type: number = FileType.regular): { inode: bigint; attribute: Buffer } {
  const isDirectory = type === FileType.directory;
  const attribute = { ...newDirectoryAttribute(isDirectory ? 0o755 : 0o644, BEFORE), type, nlink: isDirectory ? 2 : 1 };
  return { inode, attribute: encodeAttribute(attribute) };
}

export function directory(inode: bigint): { inode: bigint; attribute: Buffer } {
  return node(inode, FileType.directory);
}

export function edge(parent: bigint, name: string, inode: bigint, type: number = FileType.regular): EdgeRecord {
  return { parent, name: Buffer.from(name, "latin1"), inode, type };
}

/** A directory's entry. */
export function below(parent: bigint, name: string, inode: bigint): EdgeRecord {
  return edge(parent, name, inode, FileType.directory);
}
