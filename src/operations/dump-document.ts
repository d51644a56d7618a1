import type { Snapshot } from "../engines/engine.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { type EncodeResult, encodeJsonDump } from "../formats/json/encode.ts";
import type { FindingList } from "../volume/findings.ts";
import { formatSetting, type Setting } from "../volume/setting.ts";
import type { OperationContext } from "./context.ts";
import { type ConvertResult, salvagedDocument } from "./convert-records.ts";
import { type BinaryDocumentResult, binaryDocument } from "./dump-binary.ts";
import type { RecordCounts } from "./report.ts";
import { snapshotTree, type TreeSalvage } from "./snapshot-tree.ts";

export interface DumpDocumentOptions {
  readonly format: DumpFormat;
  /** Directory that becomes the root; undefined = the whole volume. */
  readonly root: bigint | undefined;
  readonly withTrash: boolean;
  /** The setting as it is stored, and as it shall be dumped. */
  readonly stored: Setting;
  readonly setting: Setting;
  /** See `DumpRequest`. */
  readonly rawXattrNames: boolean;
  readonly findings: FindingList;
  /** Take what can be read of a damaged volume. */
  readonly salvage?: TreeSalvage | undefined;
}

/** The document of a dump, before compression. */
export interface DumpDocument {
  /** To be iterated once. A piece belongs to whoever takes it, who may `recycle` it. */
  readonly pieces: AsyncIterable<Buffer>;
  /** What it contains; whole once `pieces` has ended. */
  result(): DumpDocumentResult;
}

export interface DumpDocumentResult {
  readonly counts: RecordCounts;
  /** What the entries of a JSON dump have; a binary dump has it in `counts`. */
  readonly contents: RecordCounts | undefined;
  readonly bytes: number;
}

/** The dump of a snapshot as a stream, for whatever takes one: a file, a pipe, an object. */
export function dumpDocument(
  snapshot: Snapshot,
  options: DumpDocumentOptions,
  context: OperationContext,
): DumpDocument {
  const { root, withTrash, salvage } = options;
  if (salvage !== undefined && root === undefined && withTrash)
    return salvagedDump(snapshot, salvage, options, context);
  return options.format === "binary" ? binaryDump(snapshot, options, context) : jsonDump(snapshot, options, context);
}

function jsonDump(snapshot: Snapshot, options: DumpDocumentOptions, context: OperationContext): DumpDocument {
  const { root, withTrash, setting, findings, salvage } = options;
  const result: EncodeResult = { entries: 0, directories: 0, bytes: 0 };
  const phase = { begun: undefined as ReturnType<typeof context.progress.begin> | undefined };
  const part = root === undefined ? {} : { root };
  const tree = snapshotTree(snapshot, context, { ...part, withTrash, withChangeLog: true, findings, salvage });
  const document = encodeJsonDump(
    tree,
    {
      setting,
      partial: root !== undefined,
      unlimitedDirQuotas: snapshot.unlimitedDirQuotas ?? "dump",
      onFinding: (kind, path) => findings.add(kind, path),
      onProgress: (entries, bytes) => {
        phase.begun ??= context.progress.begin("Writing entries");
        phase.begun.records = entries;
        phase.begun.bytes = bytes;
      },
    },
    result,
  );
  async function* pieces(): AsyncGenerator<Buffer> {
    yield* document;
    if (phase.begun !== undefined) context.progress.end(phase.begun);
  }
  return {
    pieces: pieces(),
    result: () => ({
      counts: { directory: result.directories, file: result.entries - result.directories },
      contents: result.contents,
      bytes: result.bytes,
    }),
  };
}

function binaryDump(snapshot: Snapshot, options: DumpDocumentOptions, context: OperationContext): DumpDocument {
  const { root, withTrash, stored, setting, rawXattrNames, findings, salvage } = options;
  const result: BinaryDocumentResult = { counts: {}, bytes: 0 };
  const parts = {
    root,
    withTrash,
    // Byte by byte as it is stored where nothing was taken out of it.
    setting: setting === stored ? snapshot.setting : Buffer.from(formatSetting(setting, { form: "stored" })),
    trashDays: stored.trashDays,
    rawXattrNames,
    findings,
    salvage,
  };
  return {
    pieces: binaryDocument(snapshot, parts, context, result),
    result: () => ({ counts: result.counts, contents: undefined, bytes: result.bytes }),
  };
}

/** What is left of a damaged volume, made a sound one: link counts, counters and the like are those of what is left. */
function salvagedDump(
  snapshot: Snapshot,
  salvage: TreeSalvage,
  { format, setting, rawXattrNames, findings }: DumpDocumentOptions,
  context: OperationContext,
): DumpDocument {
  const result: ConvertResult = { setting, counts: {}, bytes: 0 };
  const options = { withTrash: true, withChangeLog: true, findings, salvage };
  const pieces = salvagedDocument(format, (share) => snapshotTree(snapshot, share, options), {
    context,
    findings,
    result,
    rawXattrNames,
    asDump: { unlimitedDirQuotas: snapshot.unlimitedDirQuotas ?? "dump" },
  });
  return { pieces, result: () => ({ counts: result.counts, contents: result.contents, bytes: result.bytes }) };
}
