import { DataError } from "../base/errors.ts";
import { resume } from "../base/resume.ts";
import { DUMP_ORDER } from "../formats/binary/segment-types.ts";
import type { DumpFormat } from "../formats/dump-format.ts";
import { type EncodeResult, encodeJsonDump } from "../formats/json/encode.ts";
import { type Consolidated, consolidate } from "../tree/consolidate.ts";
import { KindOrder } from "../tree/kind-order.ts";
import type { FindingList } from "../volume/findings.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordStream, unpackBatch } from "../volume/records.ts";
import { formatSetting, type Setting } from "../volume/setting.ts";
import { type OperationContext, withMemory } from "./context.ts";
import { encodeInOrder, sharedSlices } from "./encode-binary.ts";
import type { RecordCounts } from "./report.ts";
import { flatTree } from "./snapshot-tree.ts";
import { settingOf } from "./volume-setting.ts";

/** Filled while a document is made. */
export interface ConvertResult {
  /** Known when the first piece of the document comes. */
  setting: Setting | undefined;
  counts: RecordCounts;
  bytes: number;
  /** What the entries of a JSON document have. */
  contents?: RecordCounts | undefined;
}

export interface ConvertOptions {
  /** The records come in tree order, as from a JSON dump; else flat. */
  readonly isTree: boolean;
  /** The source is damaged: what a tree says of itself (link counts, counters) is computed anew. */
  readonly isDamaged: boolean;
  readonly context: OperationContext;
  readonly findings: FindingList;
  readonly result: ConvertResult;
  readonly rawXattrNames: boolean;
  /** As a dump of a volume has them; else a JSON document has no change log, and quotas without limits. */
  readonly asDump?: { readonly unlimitedDirQuotas: "dump" | "skip" };
}

type Pieces = AsyncGenerator<Buffer>;

/** The document of a dump's records in a format: the volume that they make. */
export async function* documentOf(format: DumpFormat, records: RecordStream, options: ConvertOptions): Pieces {
  const source = withoutSetting(records, options.result);
  if (format === "json" && !options.isTree) {
    yield* jsonDocument(source, options.context.memory.maxBytes, options);
    return;
  }
  const { maxBytes, tmpDir } = options.context.memory;
  const [share, before] = sharesOf(maxBytes, format, options.isTree);
  const order = new KindOrder({ kinds: DUMP_ORDER, maxBytes: share, tmpDir });
  try {
    const flat = options.isTree ? consolidated(source, order, before, options) : source;
    for await (const batch of flat) {
      options.context.signal.throwIfAborted();
      order.add(batch);
    }
    yield* format === "json" ? jsonDocument(drain(order), share, options) : binaryDocument(order, options);
  } finally {
    order.close();
  }
}

/** The document of what is left of flat records: of the tree that `treeOf` makes of them, as of any tree that is damaged. */
export function salvagedDocument(
  format: DumpFormat,
  treeOf: (context: OperationContext) => RecordStream,
  options: Omit<ConvertOptions, "isTree" | "isDamaged">,
): Pieces {
  const { context } = options;
  const third = Math.floor(context.memory.maxBytes / 3);
  const rest = withMemory(context, context.memory.maxBytes - third);
  return documentOf(format, treeOf(withMemory(context, third)), {
    ...options,
    isTree: true,
    isDamaged: true,
    context: rest,
  });
}

/**
 * Memory of the index that holds all records, and of what stands beside it: a consolidation before, which keeps slices and files
 * of several places, or the index of a tree behind it.
 */
function sharesOf(maxBytes: number, format: DumpFormat, isTree: boolean): [all: number, before: number] {
  if (!isTree) return [maxBytes, 0];
  if (format === "json") return [Math.floor(maxBytes / 3), Math.floor(maxBytes / 3)];
  return [Math.floor((maxBytes * 7) / 8), Math.floor(maxBytes / 8)];
}

/** The setting is not one of the records: it goes into the result. */
async function* withoutSetting(records: RecordStream, result: ConvertResult): RecordStream {
  for await (const batch of records) {
    if (batch.kind === "setting") result.setting = settingOf(batch);
    else yield batch;
  }
}

function requireSetting({ setting }: ConvertResult): Setting {
  if (setting !== undefined) return setting;
  throw new DataError("DECANT_E_NO_SETTING", "The dump has no setting", {
    hint: "Dumps of decant and juicefs do; it says what volume this is",
  });
}

/** The volume that loading records in tree order would make, with the source's own counters and link counts. */
async function* consolidated(
  records: RecordStream,
  order: KindOrder,
  maxBytes: number,
  { findings, result, context, isDamaged }: ConvertOptions,
): RecordStream {
  const made: Consolidated = { source: new Map(), loaded: new Map(), entries: 0, directories: 0, roots: 0 };
  const flat = consolidate(
    keptAsTheyAre(records, order, made.source),
    {
      maxBytes,
      tmpDir: context.memory.tmpDir,
      findings,
      repair: order.repair,
      trashDays: () => requireSetting(result).trashDays,
      linkCounts: isDamaged ? "compute" : "keep",
    },
    made,
  );
  for await (const batch of flat) {
    if (batch.kind === "sliceRef") yield sharedSlices(batch);
    else if (batch.kind !== "counter") yield batch;
  }
  yield packBatch("counter", counters(made, isDamaged && findings.all.some(({ loss }) => loss)));
}

/**
 * Sessions' files and the change log go past the consolidation, which loads nothing of them. The counter of sessions may be lost: then it
 * is none below theirs.
 */
async function* keptAsTheyAre(records: RecordStream, order: KindOrder, counters: Map<string, bigint>): RecordStream {
  let largestSid = 0n;
  for await (const batch of records) {
    if (batch.kind === "sustained")
      for (const { sid } of unpackBatch("sustained", batch)) largestSid = max(sid, largestSid);
    if (batch.kind === "sustained" || batch.kind === "changeLog") order.add(batch);
    else yield batch;
  }
  counters.set("nextSession", max(counters.get("nextSession") ?? 0n, largestSid));
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** Counters that a load does not compute. */
const KEPT_COUNTERS: readonly string[] = ["nextSession", "lastChangelog"];

/**
 * The counters of the source, so that converting back gives them again; a load raises those that are too low. Of a source of which
 * something is lost, those of what is left of it.
 */
function counters({ source, loaded }: Consolidated, isDamaged: boolean): { name: string; value: bigint }[] {
  return [...loaded.keys(), "lastChangelog"]
    .filter((name) => name !== "lastChangelog" || source.has(name))
    .map((name) => {
      const isKept = !isDamaged || KEPT_COUNTERS.includes(name);
      return { name, value: (isKept ? source : loaded).get(name) ?? 0n };
    });
}

async function* drain(order: KindOrder): RecordStream {
  yield* order.drain();
}

async function* binaryDocument(order: KindOrder, options: ConvertOptions): Pieces {
  const { context, findings, result, rawXattrNames } = options;
  const encoded = { counts: new Map<FlatKind, number>(), bytes: 0 };
  const setting = Buffer.from(formatSetting(requireSetting(result), { form: "stored" }));
  yield* encodeInOrder(order, { setting, rawXattrNames, findings }, context, encoded);
  result.bytes = encoded.bytes;
  result.counts = Object.fromEntries(encoded.counts);
}

async function* jsonDocument(records: RecordStream, maxBytes: number, options: ConvertOptions): Pieces {
  const { findings, result, context, asDump } = options;
  const flat = asDump === undefined ? withoutPlace(records, findings) : records;
  const tree = flatTree(flat, withMemory(context, maxBytes), { withTrash: true, findings });
  const whole = await readAsFarAsTree(tree);
  const encoded: EncodeResult = { entries: 0, directories: 0, bytes: 0 };
  const writing = context.progress.begin("Writing entries");
  yield* encodeJsonDump(
    whole,
    {
      setting: requireSetting(result),
      partial: false,
      unlimitedDirQuotas: asDump?.unlimitedDirQuotas ?? "dump",
      onFinding: (kind, path) => findings.add(kind, path),
      onProgress: (entries, bytes) => {
        writing.records = entries;
        writing.bytes = bytes;
      },
    },
    encoded,
  );
  context.progress.end(writing);
  result.bytes = encoded.bytes;
  result.counts = { directory: encoded.directories, file: encoded.entries - encoded.directories };
  result.contents = encoded.contents;
  noteFilesLeftOut(findings);
}

/** A stream of which all that comes before the trees has been read: its source has then given all there is, the setting too. */
async function readAsFarAsTree(records: RecordStream): Promise<RecordStream> {
  const iterator = records[Symbol.asyncIterator]();
  const before: RecordBatch[] = [];
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) break;
    before.push(next.value);
    if (next.value.kind === "tree") break;
  }
  return resume(before, iterator);
}

/** Notes what a JSON dump has no place for and what cannot be computed again. */
async function* withoutPlace(records: RecordStream, findings: FindingList): RecordStream {
  for await (const batch of records) {
    if (batch.kind === "changeLog") {
      findings.addOther("change-log-left-out", "Entries of the change log were left out", true, undefined, batch.count);
    } else {
      yield batch;
    }
  }
}

function noteFilesLeftOut(findings: FindingList): void {
  const left = findings.all.find(({ kind }) => kind === "node-without-entry");
  if (left === undefined) return;
  findings.addOther(
    "files-left-out",
    "Inodes that no directory names, and their data, are not in the JSON dump",
    true,
    left.examples[0] === undefined ? undefined : () => left.examples.join(", "),
    left.count,
  );
}
