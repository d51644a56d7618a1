import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect } from "vitest";

/**
 * What decant stores for a dump, told from what the reference stores for it and from the dump itself: the documented
 * differences (docs/compatibility.md) are made here and nowhere else, so all the rest must be equal.
 */

/** The facts of a dump that the differences depend on, read with regular expressions: no parser of decant is involved. */
export interface DumpFacts {
  /** Counters of the file, by the name of the SQL counter table. */
  readonly counters: ReadonlyMap<string, bigint>;
  /** Nanoseconds of atime, mtime, ctime by inode. */
  readonly times: ReadonlyMap<string, readonly [bigint, bigint, bigint]>;
  /** Inodes with a time that no signed 64-bit number of nanoseconds can hold, or that was written by such an overflow. */
  readonly oddTimes: ReadonlySet<string>;
  readonly hasTrash: boolean;
}

export const TRASH_ROOT = "9223372032828243968";

export function dumpFacts(file: string): DumpFacts {
  const bytes = readFileSync(file);
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("latin1");
  const counter = (name: string): bigint => BigInt(new RegExp(`"${name}": (-?\\d+)`).exec(text)?.[1] ?? "0");
  const times = new Map<string, readonly [bigint, bigint, bigint]>();
  const oddTimes = new Set<string>();
  const attributes =
    /"attr": \{"inode":(\d+),.*?"atime":(-?\d+),"mtime":(-?\d+),"ctime":(-?\d+)(?:,"atimensec":(\d+))?(?:,"mtimensec":(\d+))?(?:,"ctimensec":(\d+))?/g;
  for (const [, inode, ...numbers] of text.matchAll(attributes)) {
    const [a, m, c, an, mn, cn] = numbers.map((number) => BigInt(number ?? 0));
    if (!times.has(inode!)) times.set(inode!, [instant(a!, an!), instant(m!, mn!), instant(c!, cn!)]);
    if ([a!, m!, c!].some(isBeyond) || [an!, mn!, cn!].some((nsec) => nsec >= 1_000_000_000n)) oddTimes.add(inode!);
  }
  return {
    counters: new Map([
      ["nextInode", counter("nextInodes")],
      ["nextChunk", counter("nextChunk")],
      ["nextTrash", counter("nextTrash")],
    ]),
    times,
    oddTimes,
    hasTrash: text.includes('  "Trash": {'),
  };
}

/** SQL dumps of a time before 1970 have the remainder as a wrapped unsigned number (docs/spec/sql.md §12.4). */
function instant(seconds: bigint, nanoseconds: bigint): bigint {
  const rest = nanoseconds >= 1_000_000_000n ? nanoseconds - 2n ** 32n : nanoseconds;
  return seconds * 1_000_000_000n + rest;
}

function isBeyond(seconds: bigint): boolean {
  return BigInt.asIntN(64, seconds * 1_000_000_000n) !== seconds * 1_000_000_000n;
}

/** Rows of the reference's load, by table as `readTables` gives them, as decant must have them. */
export function expectedTables(theirs: ReadonlyMap<string, string[]>, facts: DumpFacts): Map<string, string[]> {
  const tables = new Map(theirs);
  const change = (name: string, edit: (rows: string[]) => string[]) =>
    tables.set(`jfs_${name}`, edit(tables.get(`jfs_${name}`)!).sort());
  change("counter", (rows) => rows.map((row) => largerCounter(row, facts)));
  change("chunk_ref", () => trueReferences(theirs.get("jfs_chunk")!));
  change("node", (rows) => rows.map((row) => exactTimes(row, facts)));
  change("change_log", () => []);
  return tables;
}

function largerCounter(row: string, { counters }: DumpFacts): string {
  const [, name, value] = /^name='(.*)' value=(-?\d+)$/.exec(row)!;
  const ofFile = counters.get(name!) ?? 0n;
  return `name='${name}' value=${ofFile > BigInt(value!) ? ofFile : value}`;
}

/** Every slice with its true number of uses; none for holes (docs/spec/json-dump.md §13.4). */
function trueReferences(chunkRows: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const row of chunkRows) {
    const slices = Buffer.from(/ slices=X'([0-9A-F]*)'/.exec(row)![1]!, "hex");
    for (let at = 0; at < slices.length; at += 24) {
      const id = slices.readBigUInt64BE(at + 4);
      if (id === 0n) continue;
      const key = `chunkid=${id} size=${slices.readUInt32BE(at + 12)}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return [...counts].map(([key, count]) => `${key} refs=${count}`);
}

/** Microseconds and the rest of nanoseconds, both with the sign of the instant (docs/spec/sql.md §4.1). */
function exactTimes(row: string, { times }: DumpFacts): string {
  const inode = /^inode=(\d+) /.exec(row)![1]!;
  const known = times.get(inode === "1" ? (times.has("1") ? "1" : [...times.keys()][0]!) : inode);
  if (known === undefined) return row;
  return ["atime", "mtime", "ctime"].reduce(
    (text, name, i) =>
      text
        .replace(new RegExp(` ${name}=-?\\d+`), ` ${name}=${known[i]! / 1000n}`)
        .replace(new RegExp(` ${name}nsec=-?\\d+`), ` ${name}nsec=${known[i]! % 1000n}`),
    row,
  );
}

/** Keys of the reference's load, as lines of `readRedisJsonl`, as decant must have them. */
export function expectedKeys(theirs: readonly string[], { counters }: DumpFacts): string[] {
  const lines: string[] = [];
  for (const line of theirs) {
    const { key_b64, type, value } = JSON.parse(line) as { key_b64: string; type: string; value: unknown };
    const key = Buffer.from(key_b64, "base64").toString("latin1");
    if (key === "txnLog" || key === "txnLastLog") continue; // the load's own entry of the change log
    const name = { nextinode: "nextInode", nextchunk: "nextChunk", nextTrash: "nextTrash" }[key];
    if (name !== undefined) {
      const stored = BigInt(Buffer.from(value as string, "base64").toString());
      const ofFile = counters.get(name)! - (key === "nextTrash" ? 0n : 1n);
      const larger = String(ofFile > stored ? ofFile : stored);
      lines.push(pythonLine(key_b64, type, Buffer.from(larger).toString("base64")));
    } else if (key === "sliceRef") {
      const fields = (value as [string, string][]).filter(
        ([field]) => Buffer.from(field, "base64").toString() !== "k0_0",
      );
      if (fields.length > 0) lines.push(pythonLine(key_b64, type, fields));
    } else lines.push(line);
  }
  return lines;
}

function pythonLine(key_b64: string, type: string, value: unknown): string {
  return JSON.stringify({ key_b64, type, value }).replaceAll(",", ", ").replaceAll(":", ": ");
}

/**
 * A dump's lines without what the documented differences change: counters of numbers to give out, the change log's own
 * counter and, of SQL volumes, times that its reader cannot tell (`oddTimes`).
 */
export function comparableLines(dump: Buffer, facts: DumpFacts): string[] {
  const lines = dump.toString("latin1").split("\n");
  return lines
    .filter((line) => !/^ {4}"(nextInodes|nextChunk|nextTrash|lastChangelog)": /.test(line))
    .map((line) => {
      const inode = /"attr": \{"inode":(\d+),/.exec(line)?.[1] ?? "";
      const isOdd = facts.oddTimes.has(inode) || (inode === TRASH_ROOT && !facts.hasTrash);
      return isOdd ? `inode ${inode}` : line.replace(/^( {4}"nextSession": \d+),$/, "$1");
    });
}

/** Takes the row that the reference does not make for a dump without trash out, after a look at it. */
export function removeTrashRoot(tables: Map<string, string[]>): void {
  const nodes = tables.get("jfs_node")!;
  const root = nodes.findIndex((row) => row.startsWith(`inode=${TRASH_ROOT} `));
  expect(nodes[root]).toMatch(/ type=2 flags=0 mode=365 uid=0 gid=0 .* nlink=2 length=4096 rdev=0 parent=1 /);
  nodes.splice(root, 1);
}
