import { recycle } from "../../base/bytes.ts";
import {
  type CounterRecord,
  type QuotaRecord,
  type RecordBatch,
  type RecordStream,
  type SustainedRecord,
  unpackBatch,
} from "../../volume/records.ts";
import { formatSetting, type Setting } from "../../volume/setting.ts";
import { type OnTreeFinding, TreeEncoder } from "./encode-tree.ts";
import type { TextWriter } from "./text-writer.ts";

export interface EncodeOptions {
  /** The setting as it is to be written: secrets already removed or kept. */
  readonly setting: Setting;
  /** A dump of a part of the volume has no user and group quotas (docs/spec/json-dump.md §6). */
  readonly partial: boolean;
  /** Redis leaves out directory quotas without any limit, the other engines dump them (docs/spec/json-dump.md §7). */
  readonly unlimitedDirQuotas: "dump" | "skip";
  readonly onFinding: OnTreeFinding;
  /** Called with totals whenever text is handed on. */
  readonly onProgress?: (entries: number, bytes: number) => void;
}

/** Totals of one encoded document. */
export interface EncodeResult {
  entries: number;
  directories: number;
  bytes: number;
  /** What the entries have, at every place of a file that has several. */
  contents?: { readonly symlink: number; readonly xattr: number; readonly chunk: number };
}

/** Text is handed on in pieces of about this size. */
const PIECE_BYTES = 512 * 1024;

/**
 * Encodes a JSON dump (docs/spec/json-dump.md §2-7), byte for byte what the reference writes. `records` must be in tree
 * order, with all other kinds before the first `tree` batch. The pieces belong to whoever takes them, who may `recycle` them.
 */
export async function* encodeJsonDump(
  records: RecordStream,
  options: EncodeOptions,
  result: EncodeResult = { entries: 0, directories: 0, bytes: 0 },
): AsyncGenerator<Buffer> {
  const head = new HeadCollector();
  const tree = new TreeEncoder(head.acls, options.onFinding);
  let isBegun = false;
  const begin = function* (): Generator<Buffer> {
    if (!isBegun) yield* writeHead(head, tree, options, result);
    isBegun = true;
  };
  for await (const batch of records) {
    if (batch.kind !== "tree") {
      head.add(batch);
      continue;
    }
    yield* begin();
    tree.write(batch);
    recycle(batch.bytes);
    if (tree.out.length >= PIECE_BYTES && !tree.pending) yield handOn(tree, options, result);
  }
  yield* begin();
  tree.end();
  tree.out.writeAscii("\n}\n");
  yield handOn(tree, options, result);
}

function* writeHead(
  head: HeadCollector,
  tree: TreeEncoder,
  options: EncodeOptions,
  result: EncodeResult,
): Generator<Buffer> {
  for (const _ of head.write(tree.out, options)) {
    if (tree.out.length >= PIECE_BYTES) yield handOn(tree, options, result);
  }
}

function handOn(tree: TreeEncoder, options: EncodeOptions, result: EncodeResult): Buffer {
  const piece = tree.out.take();
  result.bytes += piece.length;
  result.entries = tree.entries;
  result.directories = tree.directories;
  result.contents = { symlink: tree.symlinks, xattr: tree.xattrs, chunk: tree.chunks };
  options.onProgress?.(tree.entries, result.bytes);
  return piece;
}

/** Everything that stands before the trees. */
class HeadCollector {
  readonly acls: Map<number, Buffer> = new Map();
  readonly #counters: Map<string, bigint> = new Map();
  readonly #sustained: SustainedRecord[] = [];
  /** Packed: a volume in which much is deleted has millions of them. */
  readonly #delFiles: RecordBatch[] = [];
  readonly #quotas: QuotaRecord[] = [];
  readonly #userQuotas: QuotaRecord[] = [];
  readonly #groupQuotas: QuotaRecord[] = [];
  readonly #changeLog: RecordBatch[] = [];

  add(batch: RecordBatch): void {
    switch (batch.kind) {
      case "acl":
        for (const { id, rule } of unpackBatch("acl", batch)) this.acls.set(id, rule);
        return;
      case "counter":
        for (const { name, value } of unpackBatch("counter", batch) as Iterable<CounterRecord>) {
          this.#counters.set(name, value);
        }
        return;
      case "sustained":
        this.#sustained.push(...unpackBatch("sustained", batch));
        return;
      case "delFile":
        this.#delFiles.push(batch);
        return;
      case "quota":
        for (const record of unpackBatch("quota", batch)) this.#quotas.push(record);
        return;
      case "userQuota":
        for (const record of unpackBatch("userQuota", batch)) this.#userQuotas.push(record);
        return;
      case "groupQuota":
        for (const record of unpackBatch("groupQuota", batch)) this.#groupQuotas.push(record);
        return;
      case "changeLog":
        this.#changeLog.push(batch);
        return;
      default:
        return; // What a JSON dump has no place for: usage, statistics, references, setting (given apart).
    }
  }

  /** Stops wherever the text so far may be handed on. */
  *write(out: TextWriter, options: EncodeOptions): Generator<void> {
    out.writeBytes(Buffer.from(`{\n  "Setting": ${formatSetting(options.setting, { form: "pretty", level: 1 })}`));
    this.#writeCounters(out);
    this.#writeSustained(out);
    yield* this.#writeDelFiles(out);
    const limited = (quota: QuotaRecord): boolean => quota.maxSpace !== -1n || quota.maxInodes !== -1n;
    const dirQuotas = options.unlimitedDirQuotas === "skip" ? this.#quotas.filter(limited) : this.#quotas;
    writeQuotas(out, "Quotas", dirQuotas);
    if (!options.partial) {
      writeQuotas(out, "UserQuotas", this.#userQuotas.filter(limited));
      writeQuotas(out, "GroupQuotas", this.#groupQuotas.filter(limited));
    }
    yield* this.#writeChangeLog(out);
    out.writeAscii(",");
  }

  #writeCounters(out: TextWriter): void {
    const counter = (name: string): bigint => this.#counters.get(name) ?? 0n;
    const members: [string, bigint][] = [
      ["usedSpace", counter("usedSpace")],
      ["usedInodes", counter("totalInodes")],
      ["nextInodes", counter("nextInode")],
      ["nextChunk", counter("nextChunk")],
      ["nextSession", counter("nextSession")],
      ["nextTrash", counter("nextTrash")],
    ];
    if (counter("lastChangelog") !== 0n) members.push(["lastChangelog", counter("lastChangelog")]);
    out.writeAscii(`,\n  "Counters": {\n${members.map(([name, value]) => `    "${name}": ${value}`).join(",\n")}\n  }`);
  }

  /** By session, inodes ascending: the reference's order is random or that of its server (docs/spec/json-dump.md §5). */
  #writeSustained(out: TextWriter): void {
    const sessions = new Map<bigint, bigint[]>();
    for (const { sid, inode } of this.#sustained) {
      const inodes = sessions.get(sid);
      if (inodes === undefined) sessions.set(sid, [inode]);
      else inodes.push(inode);
    }
    const groups = [...sessions].sort(([a], [b]) => compareBigInt(a, b));
    const text = groups.map(([sid, inodes]) => {
      const list = inodes.sort(compareBigInt).map((inode) => `        ${inode}`);
      return `    {\n      "sid": ${sid},\n      "inodes": [\n${list.join(",\n")}\n      ]\n    }`;
    });
    writeList(out, "Sustained", text);
  }

  /** In the order of the source: each engine's is that of the reference on it. */
  *#writeDelFiles(out: TextWriter): Generator<void> {
    out.writeAscii(',\n  "DelFiles": [');
    let separator = "";
    for (const batch of this.#delFiles) {
      for (const { inode, length, expire } of unpackBatch("delFile", batch)) {
        out.writeAscii(
          `${separator}\n    {\n      "inode": ${inode},\n      "length": ${length},\n      "expire": ${expire}\n    }`,
        );
        separator = ",";
        yield;
      }
    }
    out.writeAscii(separator === "" ? "]" : "\n  ]");
  }

  /** Ascending, as the source gives them. */
  *#writeChangeLog(out: TextWriter): Generator<void> {
    let separator = ',\n  "ChangeLog": [';
    for (const batch of this.#changeLog) {
      for (const { version, entry } of unpackBatch("changeLog", batch)) {
        out.writeAscii(`${separator}\n    {\n      "version": ${version},\n      "entry": "`);
        out.writeJson(entry, 0, entry.length);
        out.writeAscii('"\n    }');
        separator = ",";
        yield;
      }
    }
    if (separator === ",") out.writeAscii("\n  ]");
  }
}

function writeList(out: TextWriter, name: string, elements: readonly string[]): void {
  if (elements.length === 0) return out.writeAscii(`,\n  "${name}": []`);
  out.writeAscii(`,\n  "${name}": [`);
  elements.forEach((element, i) => {
    out.writeAscii(`${i > 0 ? "," : ""}\n${element}`);
  });
  out.writeAscii("\n  ]");
}

/** Keys sort as text. */
function writeQuotas(out: TextWriter, name: string, quotas: readonly QuotaRecord[]): void {
  if (quotas.length === 0) return;
  const members = quotas.map((quota) => ({ key: quota.key.toString(), quota }));
  members.sort((a, b) => (a.key < b.key ? -1 : 1));
  out.writeAscii(`,\n  "${name}": {`);
  members.forEach(({ key, quota }, i) => {
    const limits = `      "maxSpace": ${quota.maxSpace},\n      "maxInodes": ${quota.maxInodes}`;
    out.writeAscii(`${i > 0 ? "," : ""}\n    "${key}": {\n${limits}\n    }`);
  });
  out.writeAscii("\n  }");
}

function compareBigInt(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
