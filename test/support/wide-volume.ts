import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import type { RecordTypes } from "../../src/volume/records.ts";
import { encodeSlices } from "../../src/volume/slices.ts";
import type { RecordSet } from "../conformance/engine-records.ts";
import { encodeRecords } from "./volume-streams.ts";

const TEXT_MEMORY = 64 * 1024 * 1024;

/** Records of a volume with `files` files of one slice each, so many in each directory. */
export function wideVolume(files: number, perDirectory: number = 1000): RecordSet {
  const node: RecordTypes["node"][] = [
    directoryNode(ROOT_INODE, 2 + Math.ceil(files / perDirectory)),
    directoryNode(TRASH_INODE),
  ];
  const edge: RecordTypes["edge"][] = [];
  const chunk: RecordTypes["chunk"][] = [];
  const directories = Math.ceil(files / perDirectory);
  for (let i = 0; i < directories; i++) {
    const inode = BigInt(i + 2);
    node.push(directoryNode(inode));
    edge.push({ parent: ROOT_INODE, inode, type: FileType.directory, name: Buffer.from(`directory-${i}`) });
  }
  for (let i = 0; i < files; i++) {
    const inode = BigInt(directories + 2 + i);
    const parent = BigInt(Math.floor(i / perDirectory) + 2);
    const attribute = {
      ...newDirectoryAttribute(0o644, 1_700_000_000n),
      type: FileType.regular,
      nlink: 1,
      length: 10n,
    };
    node.push({ inode, attribute: encodeAttribute(attribute) });
    edge.push({ parent, inode, type: FileType.regular, name: Buffer.from(`a file with the number ${i}`) });
    chunk.push({ inode, index: 0, slices: encodeSlices([{ pos: 0, id: BigInt(i + 1), size: 10, off: 0, len: 10 }]) });
  }
  const inodes = BigInt(directories + files);
  const counter = [
    { name: "usedSpace", value: inodes * 4096n },
    { name: "totalInodes", value: inodes },
    { name: "nextInode", value: inodes + 2n },
    { name: "nextChunk", value: BigInt(files + 1) },
  ];
  return { counter, node, edge, chunk };
}

/** The dump of such a volume. */
export function wideVolumeText(files: number, perDirectory?: number): Promise<Buffer> {
  return encodeRecords(wideVolume(files, perDirectory), TEXT_MEMORY);
}

function directoryNode(inode: bigint, nlink: number = 2): RecordTypes["node"] {
  return { inode, attribute: encodeAttribute({ ...newDirectoryAttribute(0o755, 1_700_000_000n), nlink }) };
}
