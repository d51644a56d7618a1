import type { SnapshotLoss } from "../../engine.ts";
import { type OnLoss, printableKey } from "../../notes.ts";
import type { RdbConsumer, ValueHandler } from "./rdb-consumer.ts";
import type { RdbFile } from "./rdb-file.ts";
import { RdbReader } from "./rdb-reader.ts";
import type { RdbText } from "./rdb-text.ts";
import { HashTaker, StringTaker } from "./value-collectors.ts";
import { hasPrefix, type VolumePlace } from "./volume-place.ts";

/** What a pass over the file found of a volume. */
export interface FoundVolume {
  readonly place: VolumePlace;
  readonly setting: Buffer;
  readonly createdAt: number | undefined;
  readonly isAppendOnlyBase: boolean;
}

/**
 * Takes the values of keys that it knows by name, in one pass that stops when all are there. A file has no index, so a pass reads all
 * that stands before them.
 */
export class KeyPass implements RdbConsumer {
  isFull = false;
  readonly #place: VolumePlace;
  readonly #handlerOf: (name: string) => ValueHandler | undefined;

  constructor(place: VolumePlace, handlerOf: (name: string) => ValueHandler | undefined) {
    this.#place = place;
    this.#handlerOf = handlerOf;
  }

  /** `handlerOf` is asked for every key of the volume. The pass ends early when `stop` was called. */
  static async run(
    file: RdbFile,
    place: VolumePlace,
    signal: AbortSignal,
    handlerOf: (name: string, stop: () => void) => ValueHandler | undefined,
    onLoss?: OnLoss,
  ): Promise<void> {
    const pass: KeyPass = new KeyPass(place, (name) => handlerOf(name, () => pass.stop()));
    await runPass(file, pass, signal, true, onLoss);
  }

  stop(): void {
    this.isFull = true;
  }

  wantsDatabase(database: number): boolean {
    return database === this.#place.database;
  }

  handlerFor(key: RdbText): ValueHandler | undefined {
    const { prefix } = this.#place;
    if (!hasPrefix(key, prefix)) return undefined;
    return this.#handlerOf(key.bytes.toString("latin1", key.start + prefix.length, key.end));
  }

  /** As if the key was not there. */
  wrongType(): void {}

  lost(key: RdbText, what: string): SnapshotLoss {
    return lostKey(key, what);
  }

  loseUnknown(): void {}
}

function lostKey(key: RdbText, what: string): SnapshotLoss {
  return { kind: undefined, message: `key ${printableKey(key.bytes, key.start, key.end)}: ${what}` };
}

/** Reads until the consumer has what it wants. The checksum can only be compared by who reads to the end. */
async function runPass(
  file: RdbFile,
  consumer: RdbConsumer,
  signal: AbortSignal,
  checksum: boolean,
  onLoss: OnLoss | undefined,
): Promise<RdbReader> {
  const options = { checksum, ...(onLoss === undefined ? {} : { onLoss }) };
  const reader = new RdbReader(await file.beginPass(signal), consumer, options);
  await reader.read();
  return reader;
}

/** Looks for the setting of a volume: in the database, or under the prefix that keys of a cluster have; undefined when none is there. */
export async function findVolume(
  file: RdbFile,
  database: number,
  signal: AbortSignal,
  onLoss?: OnLoss,
): Promise<FoundVolume | undefined> {
  const finder = new SettingFinder(database);
  const { createdAt, isAppendOnlyBase } = await runPass(file, finder, signal, false, onLoss);
  if (finder.found === undefined) return undefined;
  return { ...finder.found, createdAt, isAppendOnlyBase };
}

/** A cluster has database 0 only, whatever number the volume's address has. */
export const CLUSTER_DATABASE = 0;

class SettingFinder implements RdbConsumer {
  isFull = false;
  found: { place: VolumePlace; setting: Buffer } | undefined;
  readonly #database: number;
  readonly #prefixed: Buffer;
  #current = 0;

  constructor(database: number) {
    this.#database = database;
    this.#prefixed = Buffer.from(`{${database}}setting`);
  }

  wantsDatabase(database: number): boolean {
    this.#current = database;
    return database === this.#database || database === CLUSTER_DATABASE;
  }

  handlerFor(key: RdbText): ValueHandler | undefined {
    const first = key.bytes[key.start];
    if (first === 0x73 && this.#current === this.#database && key.toString() === "setting") {
      return new StringTaker((value) => {
        if (value.length === 0) return;
        this.found = { place: { database: this.#database, prefix: Buffer.alloc(0) }, setting: value.copy() };
        this.isFull = true;
      });
    }
    if (first !== 0x7b || this.#current !== CLUSTER_DATABASE || key.length !== this.#prefixed.length) return undefined;
    if (!hasPrefix(key, this.#prefixed)) return undefined;
    const prefix = Buffer.from(`{${this.#database}}`);
    // goes on: a volume with plain names comes first
    return new StringTaker((value) => {
      if (value.length > 0) this.found = { place: { database: CLUSTER_DATABASE, prefix }, setting: value.copy() };
    });
  }

  wrongType(): void {}

  lost(key: RdbText, what: string): SnapshotLoss {
    return lostKey(key, what);
  }

  loseUnknown(): void {}
}

/** The entry of a directory as it is stored; undefined when there is none. */
export async function findEntry(
  file: RdbFile,
  place: VolumePlace,
  parent: bigint,
  name: Buffer,
  signal: AbortSignal,
  onLoss?: OnLoss,
): Promise<Buffer | undefined> {
  let found: Buffer | undefined;
  const handlerOf = (key: string, stop: () => void): ValueHandler | undefined => {
    if (key !== `d${parent}`) return undefined;
    return new HashTaker((field, value) => {
      if (found !== undefined || field.length !== name.length) return;
      if (name.compare(field.bytes, field.start, field.end) !== 0) return;
      found = value.copy();
      stop();
    }, stop);
  };
  await KeyPass.run(file, place, signal, handlerOf, onLoss);
  return found;
}

/** The value of a key that holds a string. */
export async function findString(
  file: RdbFile,
  place: VolumePlace,
  key: string,
  signal: AbortSignal,
  onLoss?: OnLoss,
): Promise<Buffer | undefined> {
  let found: Buffer | undefined;
  const handlerOf = (name: string, stop: () => void): ValueHandler | undefined => {
    if (name !== key) return undefined;
    return new StringTaker((value) => {
      found = value.copy();
      stop();
    });
  };
  await KeyPass.run(file, place, signal, handlerOf, onLoss);
  return found;
}
