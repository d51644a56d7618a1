import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { DataError, type DecantError, NotFoundError } from "../../base/errors.ts";
import { openInput } from "../../formats/container/input.ts";
import { detectDumpFormat } from "../../formats/dump-format.ts";
import type { ObjectStorage } from "../../storage/object-storage.ts";
import { withoutBackupLease } from "../../volume/backup-xattrs.ts";
import { FindingList } from "../../volume/findings.ts";
import { packBatch, type RecordStream, unpackBatch } from "../../volume/records.ts";
import { formatSetting, parseSetting, type Setting } from "../../volume/setting.ts";
import type { OperationContext } from "../context.ts";
import { decodeDump } from "../dump-file.ts";
import { type LoadRequest, load } from "../load.ts";
import type { LoadReport } from "../report.ts";
import { settingOf } from "../volume-setting.ts";
import type { SliceSample } from "./block-sample.ts";
import type { CatalogueEntry } from "./catalogue.ts";

/** The volume that a backup must be of; an empty UUID is not known. */
export interface WantedVolume {
  readonly name: string;
  readonly uuid: string;
}

export interface RestoreLoadRequest extends Pick<LoadRequest, "target" | "clean" | "unsupported" | "verify"> {
  readonly storage: ObjectStorage;
  readonly entry: CatalogueEntry;
  readonly volume: WantedVolume;
  /** Puts the secrets back. */
  readonly change: (setting: Setting) => Setting;
  readonly sample: SliceSample;
}

/**
 * Whether an error says that a backup is of no use, so that an older one may be: not the target, the storage or what the target
 * cannot hold.
 */
export function isBackupError(error: unknown): error is DecantError {
  if (error instanceof NotFoundError) return GONE.has(error.code);
  return error instanceof DataError && !NOT_OF_THE_BACKUP.has(error.code);
}

/** Deleted since the bucket was listed. */
const GONE = new Set(["DECANT_E_OBJECT_NOT_FOUND", "DECANT_E_FILE_NOT_FOUND"]);

const NOT_OF_THE_BACKUP = new Set([
  "DECANT_E_UNSUPPORTED_VALUE",
  "DECANT_E_CLIENT_VERSION",
  "DECANT_E_SECRET",
  "DECANT_E_VERIFY_FAILED",
]);

/**
 * The setting in a backup, from its first bytes: what volume it is of, and which secrets it lacks. Throws as a load does, and
 * `DataError` for a backup of another volume.
 */
export async function readBackupSetting(
  storage: ObjectStorage,
  entry: CatalogueEntry,
  volume: WantedVolume,
  { signal, env }: OperationContext,
): Promise<Setting> {
  const stream = Readable.from(storage.getStream(entry.backup.key, { signal }), { objectMode: false });
  const input = await openInput({ stream }, { signal, env });
  try {
    const { format, bytes } = await detectDumpFormat(input.bytes);
    for await (const batch of decodeDump(format, bytes, new FindingList(), signal)) {
      if (batch.kind !== "setting") continue;
      return ofVolume(settingOf(batch), volume);
    }
    throw new DataError("DECANT_E_NO_SETTING", "The backup has no Setting: it does not say what volume this is");
  } finally {
    await input.close();
  }
}

/**
 * Loads a backup from its bucket into an empty target, without a copy on disk. Size and SHA-256 are compared with what the manifest
 * or the last check says before the target becomes a volume. Throws as `load` does; the target is then as it was.
 */
export async function loadBackup(request: RestoreLoadRequest, context: OperationContext): Promise<LoadReport> {
  const { storage, entry, volume, change, sample, ...options } = request;
  const { backup, size, manifest } = entry;
  let hash = createHash("sha256");
  let read = { bytes: 0, isWhole: false };
  const open = (): AsyncIterable<Buffer> => storage.getStream(backup.key, { signal: context.signal });
  // A load that has to begin again reads it again: what becomes the volume is what is compared.
  async function* shown(): AsyncGenerator<Buffer> {
    hash = createHash("sha256");
    read = { bytes: 0, isWhole: false };
    for await (const piece of open()) {
      hash.update(piece);
      read.bytes += piece.length;
      yield piece;
    }
    read.isWhole = true;
  }
  async function* checked(records: RecordStream): RecordStream {
    yield* records;
    compare(entry, read, hash.digest("hex"), storage);
  }
  let nextChunk: bigint | undefined;
  const noteNextSlice = (value: bigint): void => {
    nextChunk = value;
  };
  const report = await load(
    {
      ...options,
      source: {
        stream: Readable.from(shown(), { objectMode: false }),
        name: storage.displayName + backup.key,
        totalBytes: manifest?.writtenBytes ?? size,
        again: () => Readable.from(shown(), { objectMode: false }),
      },
      through: (records) =>
        checked(withSliceGap(withSetting(sample.watch(withoutBackupLease(records)), change, volume), noteNextSlice)),
    },
    context,
  );
  const { source, loaded } = report.counters;
  return { ...report, counters: { source: { ...source, nextChunk: nextChunk ?? source.nextChunk }, loaded } };
}

function compare(
  { backup, manifest, check }: CatalogueEntry,
  read: { readonly bytes: number; readonly isWhole: boolean },
  sha256: string,
  storage: ObjectStorage,
): void {
  const expected = manifest ?? (check?.ok === true && check.sha256 !== undefined ? check : undefined);
  if (expected === undefined) return;
  const bytes = "writtenBytes" in expected ? expected.writtenBytes : expected.bytes;
  if (read.isWhole && expected.sha256 === sha256 && bytes === read.bytes) return;
  const source = manifest === undefined ? "the check that was made of it" : "its manifest";
  throw new DataError(
    "DECANT_E_BACKUP_DAMAGED",
    `Backup ${storage.displayName}${backup.key} is not what ${source} says: ${read.bytes} bytes with SHA-256 ${sha256}`,
    { hint: `It should have ${bytes} bytes with SHA-256 ${expected.sha256}: it is damaged or was replaced` },
  );
}

/**
 * How many slice numbers a restored volume passes over. Clients have given some since the backup, and blocks of that data are in the
 * bucket, in caches, and waiting for upload in write-back caches, under keys that are made of the number: new data with the same
 * number would be read from those, or be overwritten by them. It is far more than is written between two backups, and far less
 * than a 63-bit counter has.
 */
export const SLICE_GAP: bigint = 1n << 32n;

const MAX_NEXT_SLICE = 1n << 62n;

/** The same records with the next slice number raised by the gap; `onValue` gets the number as it was. */
async function* withSliceGap(records: RecordStream, onValue: (value: bigint) => void): RecordStream {
  for await (const batch of records) {
    if (batch.kind !== "counter") {
      yield batch;
      continue;
    }
    const counters = [...unpackBatch("counter", batch)].map((counter) => {
      if (counter.name !== "nextChunk") return counter;
      onValue(counter.value);
      const raised = counter.value + SLICE_GAP;
      return raised < MAX_NEXT_SLICE ? { name: counter.name, value: raised } : counter;
    });
    yield packBatch("counter", counters);
  }
}

/** The same records with another setting. */
async function* withSetting(
  records: RecordStream,
  change: (setting: Setting) => Setting,
  volume: WantedVolume,
): RecordStream {
  for await (const batch of records) {
    if (batch.kind !== "setting") {
      yield batch;
      continue;
    }
    for (const { json } of unpackBatch("setting", batch)) {
      const stored = ofVolume(parseSetting(json), volume);
      const changed = change(stored);
      const bytes = changed === stored ? json : Buffer.from(formatSetting(changed, { form: "stored" }));
      yield packBatch("setting", [{ json: bytes }]);
    }
  }
}

function ofVolume(setting: Setting, { name, uuid }: WantedVolume): Setting {
  const isOther = setting.name !== name || (uuid !== "" && setting.uuid !== uuid);
  // What has no name is refused by the load, which says so.
  if (!isOther || setting.name === "" || setting.uuid === "") return setting;
  throw new DataError(
    "DECANT_E_BACKUP_OTHER_VOLUME",
    `The backup is of volume ${setting.name} (${setting.uuid}), not of ${name}${uuid === "" ? "" : ` (${uuid})`}`,
    { hint: "Its data lies elsewhere: to load it all the same use decant backups fetch and decant load" },
  );
}
