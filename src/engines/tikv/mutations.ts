import { ByteWriter, viewOf } from "../../base/bytes.ts";
import { bytesFieldSize, type ProtobufWriter } from "../../base/protobuf.ts";
import type { KvPage } from "../kv/kv-store.ts";

/** kvrpcpb.Op. */
export const OP_PUT = 0;
export const OP_DELETE = 1;
/** Changes nothing, but conflicts with others that write the key: for what a transaction has read. */
export const OP_LOCK = 2;

const PAIR_HEAD = 8;

/** Changes of one transaction, ascending by key, each key once: pairs as in a `KvPage`, with the prefix of the volume. */
export class Mutations {
  readonly bytes: Buffer;
  readonly #view: DataView;
  readonly #offsets: Uint32Array;
  /** By position; all put when there is none. */
  readonly #operations: Uint8Array | undefined;

  constructor(bytes: Buffer, offsets: Uint32Array, operations?: Uint8Array) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    this.#offsets = offsets;
    this.#operations = operations;
  }

  get count(): number {
    return this.#offsets.length;
  }

  /** A view. */
  key(i: number): Buffer {
    const at = this.#offsets[i]! + PAIR_HEAD;
    return this.bytes.subarray(at, at + this.#keySize(i));
  }

  /** Order of a key and another one. */
  compareKey(i: number, other: Uint8Array, start: number = 0, end: number = other.length): number {
    const at = this.#offsets[i]! + PAIR_HEAD;
    return this.bytes.compare(other, start, end, at, at + this.#keySize(i));
  }

  /** Bytes of key and value. */
  size(i: number): number {
    return this.#keySize(i) + this.#view.getUint32(this.#offsets[i]! + 4);
  }

  /** Writes a kvrpcpb.Mutation as field 2. */
  write(i: number, message: ProtobufWriter): void {
    const keySize = this.#keySize(i);
    const valueSize = this.#view.getUint32(this.#offsets[i]! + 4);
    const operation = this.#operations?.[i] ?? OP_PUT;
    const size =
      bytesFieldSize(keySize) + (valueSize > 0 ? bytesFieldSize(valueSize) : 0) + (operation === OP_PUT ? 0 : 2);
    const key = this.#offsets[i]! + PAIR_HEAD;
    message
      .open(2, size)
      .number(1, operation)
      .slice(2, this.bytes, key, key + keySize);
    if (valueSize > 0) message.slice(3, this.bytes, key + keySize, key + keySize + valueSize);
  }

  /** Whether both have a key in common. */
  overlaps(other: Mutations): boolean {
    for (let i = 0, j = 0; i < this.count && j < other.count; ) {
      const at = other.#offsets[j]! + PAIR_HEAD;
      const order = this.compareKey(i, other.bytes, at, at + other.#keySize(j));
      if (order === 0) return true;
      if (order < 0) i++;
      else j++;
    }
    return false;
  }

  #keySize(i: number): number {
    return this.#view.getUint32(this.#offsets[i]!);
  }
}

/** Collects changes in any order; of several of one key the last one counts. */
export class MutationsBuilder {
  readonly #prefix: Uint8Array;
  readonly #out: ByteWriter;
  #offsets: number[] = [];
  #operations: number[] = [];

  constructor(prefix: Uint8Array, capacity: number = 1024) {
    this.#prefix = prefix;
    this.#out = new ByteWriter(capacity);
  }

  get count(): number {
    return this.#offsets.length;
  }

  get size(): number {
    return this.#out.length;
  }

  /** A key without its prefix. */
  add(operation: number, key: Uint8Array, value?: Uint8Array): void {
    this.#begin(operation, key.length, value?.length ?? 0);
    this.#out.writeBytes(key);
    if (value !== undefined) this.#out.writeBytes(value);
  }

  /** Puts pairs of `page` from `offset` on until there are `maxBytes` here; gives where the next one begins. */
  addPage(page: KvPage, offset: number, maxBytes: number): number {
    const { bytes } = page;
    let at = offset;
    while (at < bytes.length && this.size < maxBytes) {
      const [keySize, valueSize] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];
      const end = at + PAIR_HEAD + keySize + valueSize;
      this.#begin(OP_PUT, keySize, valueSize);
      this.#out.writeSlice(bytes, at + PAIR_HEAD, end);
      at = end;
    }
    return at;
  }

  finish(): Mutations {
    const bytes = this.#out.written();
    const unsorted = new Mutations(bytes, Uint32Array.from(this.#offsets));
    // equal keys keep the order in which they came, so the last one of them counts
    const order = this.#offsets.map((_, i) => i).sort((a, b) => unsorted.compareKey(a, unsorted.key(b)) || a - b);
    const kept = order.filter((i, at) => {
      const next = order[at + 1];
      return next === undefined || unsorted.compareKey(i, unsorted.key(next)) !== 0;
    });
    const offsets = Uint32Array.from(kept, (i) => this.#offsets[i]!);
    const allPut = this.#operations.every((operation) => operation === OP_PUT);
    return new Mutations(bytes, offsets, allPut ? undefined : Uint8Array.from(kept, (i) => this.#operations[i]!));
  }

  #begin(operation: number, keySize: number, valueSize: number): void {
    this.#offsets.push(this.#out.length);
    this.#operations.push(operation);
    this.#out.writeU32(this.#prefix.length + keySize);
    this.#out.writeU32(valueSize);
    this.#out.writeBytes(this.#prefix);
  }
}
