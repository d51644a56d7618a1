import { crc32c } from "../../base/crc32c.ts";
import { ProtobufWriter } from "../../base/protobuf.ts";
import { damagedFile, unsupportedFile } from "./badger-errors.ts";
import { readUvarint, uvarintSize } from "./uvarint.ts";

/** How the blocks of a table are compressed. */
export const COMPRESSION_NONE = 0;
export const COMPRESSION_SNAPPY = 1;
export const COMPRESSION_ZSTD = 2;

/** The highest level. */
export const MAX_LEVEL = 6;

/** A table that counts. */
export interface ListedTable {
  readonly id: number;
  readonly level: number;
  readonly compression: number;
}

const HEADER_BYTES = 8;
const MAGIC = 0x42646772; // "Bdgr"
const VERSION = 8;
const MAX_ID = 0xffff_ffff;

/** A change of the list; protobuf fields of docs/spec/kv-stores.md §3.4. */
interface Change extends ListedTable {
  readonly isDeletion: boolean;
}

/**
 * The live tables of a MANIFEST, by id. A change set at the end that is not complete does not count: it was being written when
 * its writer died. Throws `DataError`.
 */
export function decodeManifest(bytes: Buffer, path: string): Map<number, ListedTable> {
  if (bytes.length < HEADER_BYTES) throw damagedFile(path, bytes.length, "it has no header");
  if (bytes.readUInt32BE(0) !== MAGIC) throw damagedFile(path, 0, "it does not begin with Bdgr");
  if (bytes.readUInt16BE(4) !== 0 || bytes.readUInt16BE(6) !== VERSION) {
    throw unsupportedFile(path, `its version is ${bytes.readUInt16BE(4)}.${bytes.readUInt16BE(6)}, not 0.${VERSION}`);
  }
  const tables = new Map<number, ListedTable>();
  let at = HEADER_BYTES;
  while (at + 8 <= bytes.length) {
    const size = bytes.readUInt32BE(at);
    if (size > bytes.length) throw damagedFile(path, at, `a change set of ${size} bytes is longer than the file`);
    const payload = bytes.subarray(at + 8, at + 8 + size);
    if (payload.length < size) break;
    if (crc32c(payload) !== bytes.readUInt32BE(at + 4)) throw damagedFile(path, at, "the checksum is wrong");
    for (const change of decodeChanges(payload, path, at + 8)) apply(tables, change, path, at);
    at += 8 + size;
  }
  return tables;
}

/** Whether a MANIFEST, which `decodeManifest` has found good, ends within a change set. */
export function isCutOff(bytes: Buffer): boolean {
  let at = HEADER_BYTES;
  while (at + 8 <= bytes.length) at += 8 + bytes.readUInt32BE(at);
  return at !== bytes.length;
}

function apply(tables: Map<number, ListedTable>, change: Change, path: string, offset: number): void {
  const { id, level, compression } = change;
  if (!change.isDeletion) {
    if (tables.has(id)) throw damagedFile(path, offset, `table ${id} is created twice`);
    tables.set(id, { id, level, compression });
  } else if (!tables.delete(id)) throw damagedFile(path, offset, `table ${id} is deleted and was never created`);
}

function* decodeChanges(payload: Buffer, path: string, offset: number): Generator<Change> {
  for (const field of protobufFields(payload, path, offset)) {
    if (field.number !== 1 || field.bytes === undefined) continue;
    const members = new Map<number, number>();
    for (const { number, value } of protobufFields(field.bytes, path, offset + field.at)) members.set(number, value);
    const id = members.get(1) ?? 0;
    const level = members.get(3) ?? 0;
    if (id > MAX_ID || level > MAX_LEVEL) throw damagedFile(path, offset + field.at, `table ${id} on level ${level}`);
    if ((members.get(4) ?? 0) !== 0) throw unsupportedFile(path, `table ${id} is encrypted`);
    yield { id, level, compression: members.get(6) ?? 0, isDeletion: members.get(2) === 1 };
  }
}

interface Field {
  readonly number: number;
  readonly value: number;
  readonly bytes: Buffer | undefined;
  readonly at: number;
}

function* protobufFields(bytes: Buffer, path: string, offset: number): Generator<Field> {
  let at = 0;
  const uvarint = (): number => {
    const size = uvarintSize(bytes, at, bytes.length);
    if (size === 0) throw damagedFile(path, offset + at, "a number does not end");
    at += size;
    return readUvarint(bytes, at - size, size);
  };
  while (at < bytes.length) {
    const tag = uvarint();
    const number = Math.floor(tag / 8);
    if (tag % 8 === 0) yield { number, value: uvarint(), bytes: undefined, at };
    else if (tag % 8 === 2) {
      const size = uvarint();
      if (at + size > bytes.length) throw damagedFile(path, offset + at, `a field of ${size} bytes does not end`);
      yield { number, value: 0, bytes: bytes.subarray(at, at + size), at };
      at += size;
    } else throw damagedFile(path, offset + at, `unknown wire type ${tag % 8}`);
  }
}

/** A MANIFEST with one change set that creates the tables. Throws nothing. */
export function encodeManifest(tables: readonly ListedTable[]): Buffer {
  const set = new ProtobufWriter();
  for (const { id, level, compression } of tables) {
    set.message(1, new ProtobufWriter(24).number(1, id).number(3, level).number(6, compression));
  }
  const changes = set.written();
  const head = Buffer.alloc(HEADER_BYTES + 8);
  head.writeUInt32BE(MAGIC, 0);
  head.writeUInt16BE(VERSION, 6);
  head.writeUInt32BE(changes.length, 8);
  head.writeUInt32BE(crc32c(changes), 12);
  return Buffer.concat([head, changes]);
}
