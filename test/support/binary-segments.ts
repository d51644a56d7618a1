import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { decodeBinaryDump } from "../../src/formats/binary/decode.ts";
import { encodeBinaryDump } from "../../src/formats/binary/encode.ts";
import { encodeFooter } from "../../src/formats/binary/footer.ts";
import { DUMP_ORDER, SEGMENT_TYPES } from "../../src/formats/binary/segment-types.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../src/volume/records.ts";
import { fixture } from "./repository.ts";
import { streamOf } from "./volume-streams.ts";

const signal: AbortSignal = new AbortController().signal;

/** One segment of a binary dump, cut out by its frame alone (docs/spec/binary-dump.md §1). */
export interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly body: Buffer;
}

/** The segments of a whole dump, and what follows the end mark. */
export function splitSegments(bytes: Buffer): { segments: Segment[]; footer: Buffer } {
  const segments: Segment[] = [];
  let at = 0;
  while (bytes.readUInt32BE(at) !== 0x747083) {
    const size = Number(bytes.readBigUInt64BE(at + 4));
    segments.push({ type: bytes.readUInt32BE(at), offset: at, body: bytes.subarray(at + 12, at + 12 + size) });
    at += 12 + size;
  }
  return { segments, footer: bytes.subarray(at + 4) };
}

/** Bodies of all segments of each type, one behind the other: as messages that is the same as one segment. */
export function bodiesByType(bytes: Buffer): Map<number, Buffer> {
  const bodies = new Map<number, Buffer>();
  for (const { type, body } of splitSegments(bytes).segments) {
    bodies.set(type, Buffer.concat([bodies.get(type) ?? Buffer.alloc(0), body]));
  }
  return bodies;
}

/** A whole dump of these segments, with an end mark and a footer that fits them. */
export function assembleDump(segments: readonly { readonly type: number; readonly body: Buffer }[]): Buffer {
  const infos = new Map<string, { records: number; offsets: number[] }>();
  const parts: Buffer[] = [];
  let offset = 0;
  for (const { type, body } of segments) {
    const { name } = SEGMENT_TYPES[type - 1]!;
    const info = infos.get(name) ?? { records: 0, offsets: [] };
    info.records += countItems(body);
    info.offsets.push(offset);
    infos.set(name, info);
    parts.push(segmentBytes(type, body));
    offset += 12 + body.length;
  }
  return Buffer.concat([...parts, Buffer.from([0, 0x74, 0x70, 0x83]), encodeFooter(infos)]);
}

/** Fields of the outermost message: all are of wire type 2. */
function countItems(body: Buffer): number {
  let at = 0;
  let items = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = body[at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  for (; at < body.length; items++) {
    varint();
    const size = varint();
    at += size;
  }
  return items;
}

/** A segment with its header. */
export function segmentBytes(type: number, body: Buffer): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(type, 0);
  header.writeBigUInt64BE(BigInt(body.length), 4);
  return Buffer.concat([header, body]);
}

export interface Decoded {
  readonly batches: RecordBatch[];
  /** `kind count`, with a `!` for a loss. */
  readonly notes: string[];
}

/** A buffer in pieces that are valid until the next is asked for, as files are read: each is overwritten then. */
async function* passingPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  const piece = Buffer.alloc(size);
  for (let at = 0; at < bytes.length; at += size) {
    piece.fill(0xff);
    yield piece.subarray(0, bytes.copy(piece, 0, at, at + size));
  }
  piece.fill(0xff);
}

/** Decodes a dump that comes in pieces of `pieceBytes`. */
export async function decodeAll(bytes: Buffer, pieceBytes: number = 65536): Promise<Decoded> {
  const batches: RecordBatch[] = [];
  const notes: string[] = [];
  const onNote = (kind: string, _text: string, loss: boolean, example: () => string): void => {
    notes.push(`${kind}${loss ? "!" : ""} ${example()}`);
  };
  for await (const batch of decodeBinaryDump(passingPieces(bytes, pieceBytes), { signal, onNote })) batches.push(batch);
  return { batches, notes };
}

/** Encodes batches in the order of a dump, each kind as it comes. */
export async function encodeAll(
  batches: readonly RecordBatch[],
  options: { rawXattrNames?: boolean; onXattrName?: (inode: bigint, name: Buffer) => void } = {},
  tuning: { segmentRecords?: number; segmentBytes?: number } = {},
): Promise<Buffer> {
  const setting = settingOf(batches);
  const ordered = DUMP_ORDER.flatMap((kind) => batches.filter((batch) => batch.kind === kind));
  const pieces: Buffer[] = [];
  const encoded = encodeBinaryDump(
    streamOf(ordered),
    { setting, rawXattrNames: options.rawXattrNames ?? false, onXattrName: options.onXattrName ?? failOnXattr },
    { counts: new Map(), bytes: 0 },
    tuning,
  );
  for await (const piece of encoded) pieces.push(piece);
  return Buffer.concat(pieces);
}

function settingOf(batches: readonly RecordBatch[]): Buffer {
  const batch = batches.find(({ kind }) => kind === "setting")!;
  return batch.bytes.subarray(4);
}

function failOnXattr(inode: bigint, name: Buffer): never {
  throw new Error(`xattr left out: inode ${inode}, ${name.toString("hex")}`);
}

/** One batch per kind, from decoded records. */
export function batchesOf(records: ReadonlyMap<FlatKind, RecordTypes[FlatKind][]>): RecordBatch[] {
  return [...records].map(([kind, list]) => packBatch(kind, list as RecordTypes[typeof kind][]));
}

/** Every readable binary dump among the fixtures. */
export function binaryFixtures(): string[] {
  const found: string[] = [];
  for (const folder of ["golden", "encrypted", "legacy"]) {
    const names = readdirSync(fixture(folder), { recursive: true, encoding: "utf8" });
    found.push(...names.filter((name) => name.endsWith(".bin")).map((name) => join(folder, name)));
  }
  return [...found, join("malformed", "base.bin")].filter((name) => statSync(fixture(name)).isFile()).sort();
}
