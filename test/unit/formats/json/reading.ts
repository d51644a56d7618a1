import { readFileSync } from "node:fs";
import { decodeJsonDump, type JsonDecodeTuning } from "../../../../src/formats/json/decode.ts";
import { type AclRule, decodeAclRule } from "../../../../src/volume/acl.ts";
import { type FlatKind, type RecordBatch, type RecordTypes, unpackBatch } from "../../../../src/volume/records.ts";
import { type PlainEntry, plainEntries } from "./tree-items.ts";

export const FIXTURES: string = new URL("../../../fixtures/", import.meta.url).pathname;

export function fixture(path: string): Buffer {
  return readFileSync(`${FIXTURES}${path}`);
}

/** Everything that a decoded document holds, in plain values. */
export interface Reading {
  setting: string | undefined;
  counters: RecordTypes["counter"][];
  sustained: RecordTypes["sustained"][];
  delFiles: RecordTypes["delFile"][];
  quotas: RecordTypes["quota"][];
  userQuotas: RecordTypes["userQuota"][];
  groupQuotas: RecordTypes["groupQuota"][];
  changeLog: { version: bigint; entry: string }[];
  acls: { id: number; rule: AclRule }[];
  entries: PlainEntry[];
  warnings: string[];
}

export interface Decoded extends Reading {
  batches: RecordBatch[];
}

/** Decodes pieces of a document. */
export async function decode(pieces: Iterable<Uint8Array>, tuning: JsonDecodeTuning = {}): Promise<Decoded> {
  const warnings: string[] = [];
  const options = {
    signal: new AbortController().signal,
    onWarning: (kind: string, _text: string, example?: string) => warnings.push(`${kind}: ${example}`),
  };
  const batches: RecordBatch[] = [];
  for await (const batch of decodeJsonDump(stream(pieces), options, tuning)) batches.push(batch);
  const all = <K extends FlatKind>(kind: K): RecordTypes[K][] =>
    batches.filter((batch) => batch.kind === kind).flatMap((batch) => [...unpackBatch(kind, batch)]);
  return {
    batches,
    setting: all("setting")[0]?.json.toString(),
    counters: all("counter"),
    sustained: all("sustained"),
    delFiles: all("delFile"),
    quotas: all("quota"),
    userQuotas: all("userQuota"),
    groupQuotas: all("groupQuota"),
    changeLog: all("changeLog").map(({ version, entry }) => ({ version, entry: entry.toString("latin1") })),
    acls: all("acl").map(({ id, rule }) => ({ id, rule: decodeAclRule(rule) })),
    entries: plainEntries(batches),
    warnings,
  };
}

export function decodeText(text: string | Uint8Array, tuning?: JsonDecodeTuning): Promise<Decoded> {
  return decode([typeof text === "string" ? Buffer.from(text) : text], tuning);
}

async function* stream(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

/** Bytes cut into pieces of `size`. */
export function* inPieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A small whole document around the text of the root's entries. */
export function documentWith(entries: string): string {
  return `{"Setting":{"Name":"t"},"Counters":{"usedSpace":0},"FSTree":{"attr":${attr({ inode: 1, type: "directory" })},"entries":{${entries}}}}`;
}

/** An `attr` object; values are JSON text or numbers. */
export function attr(values: Record<string, string | number>): string {
  const all = {
    inode: 9,
    type: "regular",
    mode: 420,
    uid: 0,
    gid: 0,
    atime: 1,
    mtime: 2,
    ctime: 3,
    nlink: 1,
    length: 0,
    ...values,
  };
  const members = Object.entries(all).map(([name, value]) => `"${name}":${name === "type" ? `"${value}"` : value}`);
  return `{${members.join(",")}}`;
}
