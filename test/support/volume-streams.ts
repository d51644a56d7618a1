import { tmpdir } from "node:os";
import { decodeJsonDump } from "../../src/formats/json/decode.ts";
import { encodeJsonDump } from "../../src/formats/json/encode.ts";
import { type Consolidated, consolidate } from "../../src/tree/consolidate.ts";
import { TreeFindings } from "../../src/tree/tree-findings.ts";
import { treeOrder } from "../../src/tree/tree-order.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { FindingList } from "../../src/volume/findings.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import type { FlatKind, RecordBatch, RecordStream, RecordTypes } from "../../src/volume/records.ts";
import { parseSetting } from "../../src/volume/setting.ts";
import { type RecordSet, SAMPLE_SETTING, toBatches } from "../conformance/engine-records.ts";
import { collectRecords } from "./collect-records.ts";

const signal: AbortSignal = new AbortController().signal;

/** The dump of records without an engine: tree order, then text. */
export async function encodeRecords(set: RecordSet, maxBytes: number): Promise<Buffer> {
  const roots = [ROOT_INODE, TRASH_INODE].map((inode) => ({ inode, type: FileType.directory }));
  const findings = new TreeFindings();
  const tree = treeOrder(streamOf(toBatches(set)), { roots, maxBytes, tmpDir: tmpdir(), signal, findings });
  const pieces: Buffer[] = [];
  const text = encodeJsonDump(tree, {
    setting: parseSetting(SAMPLE_SETTING),
    partial: false,
    unlimitedDirQuotas: "dump",
    onFinding: (kind, path) => {
      throw new Error(`finding ${kind} at ${path()}`);
    },
  });
  for await (const piece of text) pieces.push(piece);
  return Buffer.concat(pieces);
}

export interface ConsolidatedRecords {
  readonly records: Map<FlatKind, RecordTypes[FlatKind][]>;
  readonly result: Consolidated;
  readonly findings: FindingList;
}

/** What loading a stream would store. Repairs of nodes are applied as a loader does it. */
export async function consolidateRecords(
  stream: RecordStream,
  maxBytes: number,
  trashDays: bigint = 1n,
): Promise<ConsolidatedRecords> {
  const findings = new FindingList();
  const result: Consolidated = { source: new Map(), loaded: new Map(), entries: 0, directories: 0, roots: 0 };
  const written = new Map<bigint, RecordTypes["node"]>();
  const repair = {
    readNodes: async (inodes: readonly bigint[]) => inodes.map((inode) => written.get(inode)?.attribute),
    replaceNodes: async (batch: RecordBatch) => keepNodes(written, batch),
  };
  const options = { maxBytes, tmpDir: tmpdir(), findings, repair, trashDays: () => trashDays };
  const flat = (async function* () {
    for await (const batch of consolidate(withoutSetting(stream), options, result)) {
      if (batch.kind === "node") await keepNodes(written, batch);
      else yield batch;
    }
  })();
  const records = await collectRecords(flat);
  records.set("node", [...written.values()]);
  return { records, result, findings };
}

async function keepNodes(written: Map<bigint, RecordTypes["node"]>, batch: RecordBatch): Promise<void> {
  const nodes = await collectRecords(streamOf([batch]));
  for (const node of (nodes.get("node") ?? []) as RecordTypes["node"][]) written.set(node.inode, node);
}

async function* withoutSetting(stream: RecordStream): RecordStream {
  for await (const batch of stream) if (batch.kind !== "setting") yield batch;
}

/** Decodes a dump given in pieces of `pieceBytes`. Warnings are failures. */
export function decodeText(text: Buffer, pieceBytes: number = 65536): RecordStream {
  return decodeJsonDump(pieces(text, pieceBytes), {
    signal,
    onWarning: (kind, text) => {
      throw new Error(`warning ${kind}: ${text}`);
    },
  });
}

/** A buffer as a stream of pieces. */
export async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Batches as a stream. */
export async function* streamOf(batches: Iterable<RecordBatch>): RecordStream {
  yield* batches;
}
