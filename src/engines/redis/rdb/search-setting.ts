import { DataError } from "../../../base/errors.ts";
import { parseSetting } from "../../../volume/setting.ts";
import type { SnapshotLoss } from "../../engine.ts";
import { CLUSTER_DATABASE } from "./point-reads.ts";
import type { RdbConsumer, ValueHandler } from "./rdb-consumer.ts";
import type { RdbFile } from "./rdb-file.ts";
import { RdbReader } from "./rdb-reader.ts";
import type { RdbText } from "./rdb-text.ts";
import type { ByteSource } from "./rdb-window.ts";
import { StringTaker } from "./value-collectors.ts";
import type { VolumePlace } from "./volume-place.ts";

const WINDOW_BYTES = 1024 * 1024;
/** Of a version whose strings are as they ever were. */
const HEAD = Buffer.from("REDIS0011");

export interface SearchedSetting {
  readonly place: VolumePlace;
  readonly setting: Buffer;
  /** Where its entry stands in the file. */
  readonly offset: number;
}

/**
 * Looks for the setting of a volume by its name, in a file that cannot be followed up to there. Nothing says which database it stands
 * in, so that it counts only where the file has no other: undefined then, as where there is none.
 */
export async function searchSetting(
  file: RdbFile,
  database: number,
  signal: AbortSignal,
): Promise<SearchedSetting | undefined> {
  const prefix = `{${database}}`;
  const places: (readonly [entry: Buffer, place: VolumePlace])[] = [
    [entryStart("setting"), { database, prefix: Buffer.alloc(0) }],
    [entryStart(`${prefix}setting`), { database: CLUSTER_DATABASE, prefix: Buffer.from(prefix) }],
  ];
  let found: SearchedSetting | undefined;
  for await (const { offset, place } of occurrences(await file.beginPass(signal), places)) {
    const setting = await settingAt(file, offset, signal);
    if (setting === undefined) continue;
    if (found !== undefined) return undefined;
    found = { place, setting, offset };
  }
  return found;
}

/** The type of a string, and a key. */
function entryStart(key: string): Buffer {
  return Buffer.concat([Buffer.from([0, key.length]), Buffer.from(key)]);
}

async function* occurrences(
  source: ByteSource,
  places: readonly (readonly [entry: Buffer, place: VolumePlace])[],
): AsyncGenerator<{ offset: number; place: VolumePlace }> {
  const longest = Math.max(...places.map(([entry]) => entry.length));
  const window = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  for (let [base, filled] = [0, 0]; ; ) {
    const count = await source.read(window, filled, window.length);
    if (count === 0) return;
    filled += count;
    const bytes = window.subarray(0, filled);
    for (const [entry, place] of places) {
      for (let at = bytes.indexOf(entry); at >= 0; at = bytes.indexOf(entry, at + 1))
        yield { offset: base + at, place };
    }
    // one may stand across the end of the window, but none that was found
    const kept = Math.min(filled, longest - 1);
    window.copyWithin(0, filled - kept, filled);
    base += filled - kept;
    filled = kept;
  }
}

/** The value of the entry at `offset`; undefined when it is no setting. */
async function settingAt(file: RdbFile, offset: number, signal: AbortSignal): Promise<Buffer | undefined> {
  const consumer = new FirstString();
  const source = behind(HEAD, await file.beginPass(signal, offset));
  await new RdbReader(source, consumer, { checksum: false, onLoss: () => undefined }).read();
  return consumer.value !== undefined && isSetting(consumer.value) ? consumer.value : undefined;
}

function isSetting(value: Buffer): boolean {
  try {
    return parseSetting(value).uuid !== "";
  } catch (error) {
    if (error instanceof DataError) return false;
    throw error;
  }
}

/** What a source gives, behind other bytes. */
function behind(first: Buffer, source: ByteSource): ByteSource {
  let isFirst = true;
  return {
    name: source.name,
    totalBytes: undefined,
    read: async (target, start, end) => {
      if (!isFirst) return source.read(target, start, end);
      isFirst = false;
      return first.copy(target, start);
    },
  };
}

/** Takes the first value, a string. */
class FirstString implements RdbConsumer {
  isFull = false;
  value: Buffer | undefined;

  wantsDatabase(): boolean {
    return true;
  }

  handlerFor(): ValueHandler {
    return new StringTaker((value) => {
      this.value = value.copy();
      this.isFull = true;
    });
  }

  wrongType(): void {
    this.isFull = true;
  }

  lost(_key: RdbText, what: string): SnapshotLoss {
    this.isFull = true;
    return { kind: "setting", message: what };
  }

  loseUnknown(): void {
    this.isFull = true;
  }
}
