import { EngineError } from "../../../base/errors.ts";
import type { RecordBatch, RecordKind } from "../../../volume/records.ts";
import { parseSetting } from "../../../volume/setting.ts";
import type { Notes, OnLoss } from "../../notes.ts";
import { RecordMapper } from "../record-mapper.ts";
import { SeenSet } from "../seen-set.ts";
import { RdbReader } from "./rdb-reader.ts";
import type { ByteSource } from "./rdb-window.ts";
import { VolumeConsumer } from "./volume-consumer.ts";
import type { VolumePlace } from "./volume-place.ts";

export interface RdbRecordsOptions {
  readonly place: VolumePlace;
  /** What was found before; the file must have the same. */
  readonly setting: Buffer;
  readonly kinds: ReadonlySet<RecordKind>;
  readonly notes: Notes;
  /** For what is sorted and does not fit into memory. */
  readonly tmpDir: string;
  readonly signal: AbortSignal;
  /** What stands behind the RDB in a stream, asked for at its end. */
  readonly trailer?: () => Buffer | undefined;
  /** Gets what is damaged, as that of `RdbReader`. */
  readonly onLoss?: OnLoss | undefined;
  /** Called when the file has been read to its end. */
  readonly onEnd?: (reader: RdbReader) => void;
}

/** The records of a volume, in the order of the file, which is read once and checked to its end. */
export async function* readRdbRecords(source: ByteSource, options: RdbRecordsOptions): AsyncGenerator<RecordBatch> {
  const { notes, signal, trailer, onLoss } = options;
  const mapper = new RecordMapper(notes, source.name, new SeenSet());
  const { changeLog } = parseSetting(options.setting);
  const consumer = new VolumeConsumer({ ...options, changeLog, mapper });
  try {
    const reader = new RdbReader(source, consumer, {
      checksum: true,
      ...(trailer === undefined ? {} : { trailer }),
      ...(onLoss === undefined ? {} : { onLoss }),
    });
    while (await reader.read()) {
      signal.throwIfAborted();
      yield* consumer.takeFull();
    }
    options.onEnd?.(reader);
    // of a damaged file it may stand where that cannot be followed any more
    if (!consumer.rare.isSettingLost) assertSameSetting(consumer.rare.setting, options.setting, source.name);
    for (const batch of consumer.takeRest()) {
      signal.throwIfAborted();
      yield batch;
    }
  } finally {
    consumer.close();
  }
}

function assertSameSetting(found: Buffer | undefined, expected: Buffer, name: string): void {
  if (found?.equals(expected)) return;
  throw new EngineError("DECANT_E_SETTING_CHANGED", `The setting of the volume changed while ${name} was read`, {
    retryable: true,
    hint: "Try again: somebody configured the volume at this moment",
  });
}
