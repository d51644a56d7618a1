import { tmpdir } from "node:os";
import { decodeJsonDump } from "../../src/formats/json/decode.ts";
import { type Problem, ProblemList } from "../../src/tree/check-problems.ts";
import { checkFlatVolume, checkTreeVolume } from "../../src/tree/check-volume.ts";
import { packBatch, type RecordBatch } from "../../src/volume/records.ts";
import { type RecordSet, SAMPLE_SETTING, toBatches } from "../conformance/engine-records.ts";
import { pieces, streamOf } from "./volume-streams.ts";

const signal: AbortSignal = new AbortController().signal;

export interface CheckCall {
  readonly maxBytes?: number;
  readonly strict?: boolean;
  /** False for records of engines that compute parents. */
  readonly hasParents?: boolean;
}

/** The problems of flat records, as a binary dump has them. A setting is added where there is none. */
export async function checkRecords(set: RecordSet, call: CheckCall = {}): Promise<Problem[]> {
  const problems = new ProblemList();
  const setting = (set.setting ?? []).length > 0 ? [] : [packBatch("setting", [{ json: SAMPLE_SETTING }])];
  await checkFlatVolume(streamOf([...setting, ...toBatches(set)]), {
    maxBytes: call.maxBytes ?? 16 * 1024 * 1024,
    tmpDir: tmpdir(),
    signal,
    problems,
    hasParents: call.hasParents ?? true,
  });
  return problems.all(call.strict ?? false);
}

/** The problems of batches in tree order; a setting and counters are added. */
export async function checkTree(batches: readonly RecordBatch[], call: CheckCall = {}): Promise<Problem[]> {
  const problems = new ProblemList();
  const all = [packBatch("setting", [{ json: SAMPLE_SETTING }]), ...batches];
  const copies = (): RecordBatch[] => all.map((batch) => ({ ...batch, bytes: Buffer.from(batch.bytes) }));
  await checkTreeVolume(streamOf(copies()), {
    maxBytes: call.maxBytes ?? 16 * 1024 * 1024,
    tmpDir: tmpdir(),
    signal,
    problems,
    readAgain: () => streamOf(copies()),
  });
  return problems.all(call.strict ?? false);
}

/** The problems of the text of a JSON dump. Throws what the decoder throws. */
export async function checkText(text: Buffer, call: CheckCall = {}): Promise<Problem[]> {
  const problems = new ProblemList();
  const decode = () => decodeJsonDump(pieces(text, 65536), { signal, onWarning: () => undefined });
  await checkTreeVolume(decode(), {
    maxBytes: call.maxBytes ?? 16 * 1024 * 1024,
    tmpDir: tmpdir(),
    signal,
    problems,
    readAgain: decode,
  });
  return problems.all(call.strict ?? false);
}

/** `kind count`, with `!` for an error. */
export function summaryOf(problems: readonly Problem[]): string[] {
  return problems.map(({ kind, count, severity }) => `${kind} ${count}${severity === "error" ? "!" : ""}`);
}

/** Kinds that are errors. */
export function errorsOf(problems: readonly Problem[]): string[] {
  return problems.filter(({ severity }) => severity === "error").map(({ kind }) => kind);
}
