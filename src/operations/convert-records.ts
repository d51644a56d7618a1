import { DUMP_ORDER } from "../formats/binary/segment-types.ts";
import { type EncodeResult, encodeJsonDump } from "../formats/json/encode.ts";
import { type Consolidated, consolidate } from "../tree/consolidate.ts";
import { KindOrder } from "../tree/kind-order.ts";
import type { FindingList } from "../volume/findings.ts";
import { type FlatKind, packBatch, type RecordStream } from "../volume/records.ts";
import { formatSetting, type Setting } from "../volume/setting.ts";
import type { OperationContext } from "./context.ts";
import { encodeInOrder, sharedSlices } from "./encode-binary.ts";
import type { RecordCounts } from "./report.ts";
import { flatTree } from "./snapshot-tree.ts";

/** Filled while a document is made. */
export interface ConvertResult {
  setting: Setting | undefined;
  counts: RecordCounts;
  bytes: number;
}

export interface ConvertOptions {
  readonly setting: Setting;
  readonly context: OperationContext;
  readonly findings: FindingList;
  readonly result: ConvertResult;
  readonly rawXattrNames: boolean;
}

type Pieces = AsyncGenerator<Buffer>;

/** A JSON document of records in tree order. */
export async function* jsonFromTree(records: RecordStream, options: ConvertOptions): Pieces {
  const { setting, findings, result, context } = options;
  const encoded: EncodeResult = { entries: 0, directories: 0, bytes: 0 };
  const writing = context.progress.begin("Writing entries");
  yield* encodeJsonDump(
    withoutPlace(records, findings),
    {
      setting,
      partial: false,
      unlimitedDirQuotas: "dump",
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
}

/** A JSON document of flat records. */
export async function* jsonFromFlat(records: RecordStream, options: ConvertOptions): Pieces {
  const { context, findings } = options;
  yield* jsonFromTree(flatTree(records, context, { withTrash: true, findings }), options);
  const left = findings.all.find(({ kind }) => kind === "node-without-entry");
  if (left !== undefined) {
    findings.addOther(
      "files-left-out",
      "Inodes that no directory names, and their data, are not in the JSON dump",
      true,
      left.examples[0] === undefined ? undefined : () => left.examples.join(", "),
      left.count,
    );
  }
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

/** A binary document of flat records, as they are. */
export async function* binaryFromFlat(records: RecordStream, options: ConvertOptions): Pieces {
  const { maxBytes, tmpDir } = options.context.memory;
  const order = new KindOrder({ kinds: DUMP_ORDER, maxBytes, tmpDir });
  try {
    for await (const batch of records) {
      options.context.signal.throwIfAborted();
      order.add(batch);
    }
    yield* encode(order, options);
  } finally {
    order.close();
  }
}

/** A binary document of records in tree order: the volume that loading them would make, with the source's own counters. */
export async function* binaryFromTree(records: RecordStream, options: ConvertOptions): Pieces {
  const { context, findings, setting } = options;
  const { tmpDir } = context.memory;
  const maxBytes = Math.floor(context.memory.maxBytes / 2);
  const order = new KindOrder({ kinds: DUMP_ORDER, maxBytes, tmpDir });
  const consolidated: Consolidated = { source: new Map(), loaded: new Map(), entries: 0, directories: 0, roots: 0 };
  try {
    const flat = consolidate(
      keptAsTheyAre(records, order),
      { maxBytes, tmpDir, findings, repair: order.repair, trashDays: () => setting.trashDays, linkCounts: "keep" },
      consolidated,
    );
    for await (const batch of flat) {
      context.signal.throwIfAborted();
      if (batch.kind === "sliceRef") order.add(sharedSlices(batch));
      else if (batch.kind !== "counter") order.add(batch);
    }
    order.add(packBatch("counter", sourceCounters(consolidated)));
    yield* encode(order, options);
  } finally {
    order.close();
  }
}

/** Sessions' files and the change log go past the consolidation, which loads nothing of them. */
async function* keptAsTheyAre(records: RecordStream, order: KindOrder): RecordStream {
  for await (const batch of records) {
    if (batch.kind === "sustained" || batch.kind === "changeLog") order.add(batch);
    else yield batch;
  }
}

/** The counters of the source, so that converting back gives them again; a load raises those that are too low. */
function sourceCounters({ source, loaded }: Consolidated): { name: string; value: bigint }[] {
  return [...loaded.keys(), "lastChangelog"]
    .filter((name) => name !== "lastChangelog" || source.has(name))
    .map((name) => ({ name, value: source.get(name) ?? 0n }));
}

async function* encode(
  order: KindOrder,
  { context, findings, result, setting, rawXattrNames }: ConvertOptions,
): Pieces {
  const encoded = { counts: new Map<FlatKind, number>(), bytes: 0 };
  const stored = Buffer.from(formatSetting(setting, { form: "stored" }));
  yield* encodeInOrder(order, { setting: stored, rawXattrNames, findings }, context, encoded);
  result.bytes = encoded.bytes;
  result.counts = Object.fromEntries(encoded.counts);
}
