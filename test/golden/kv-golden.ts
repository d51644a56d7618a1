import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import { openStore } from "../../src/engines/registry.ts";
import { collectRecords, ENGINE_KINDS } from "../support/collect-records.ts";
import { readReferenceDump, recordTexts } from "../support/reference-binary-dump.ts";
import { fixture } from "../support/repository.ts";
import { type DumpFacts, TRASH_ROOT } from "./reference-load.ts";

/**
 * A dump of the reference's load of `golden.keep.json` has the trees of that, but for the inodes or lines in `changed`: link counts
 * of a cloned hard-linked symlink, a target that the binary dump unescaped (test/fixtures/golden/README.md).
 */
export function expectGoldenTrees(bytes: Buffer, changed: readonly string[]): void {
  const got = treeLines(bytes);
  const wanted = treeLines(readFileSync(fixture("golden/dumps/golden.keep.json")));
  expect(got.length).toBe(wanted.length);
  const differing = got.filter((line, i) => line !== wanted[i]).filter((line) => !/^ *"%EF/.test(line));
  expect(new Set(differing.map((line) => /"inode":(\d+)/.exec(line)?.[1] ?? line.trim()))).toEqual(new Set(changed));
}

/** A volume has the records of the reference's binary dump of it. */
export async function expectRecordsOf(url: string, reference: string): Promise<void> {
  const { signal } = new AbortController();
  const store = await openStore(url, { logger: silentLogger, signal, env: {} });
  const snapshot = await store.openSnapshot({ signal, logger: silentLogger });
  const got = await collectRecords(snapshot.records({ kinds: ENGINE_KINDS }));
  const wanted = readReferenceDump(fixture(reference));
  for (const kind of new Set([...got.keys(), ...wanted.keys()])) {
    if (kind === "symlink") continue; // the reference unescapes targets: docs/spec/kv.md §8
    const [ours, theirs] = [got, wanted].map((records) => recordTexts(records.get(kind) ?? []));
    expect([kind, ours]).toEqual([kind, theirs]);
  }
  await snapshot.close();
  await store.close();
}

/** The lines of a dump from its trees on: what stands before differs by engine. */
function treeLines(bytes: Buffer): string[] {
  const lines = bytes.toString("latin1").split("\n");
  return lines.slice(lines.indexOf('  "FSTree": {'));
}

/** Keys of the reference's load, as lines in hex, as decant must have them (docs/compatibility.md). */
export function expectedPairs(theirs: readonly string[], { counters }: DumpFacts): string[] {
  const uselessReference = `4b${"00".repeat(12)}`; // of the slice 0, which is a hole
  const changeLogLine = /^584c4f47/; // a load into a volume with a change log is noted there, which a restored volume has no use for
  return theirs
    .filter((line) => !line.startsWith(uselessReference) && !changeLogLine.test(line))
    .map((line) => {
      const [key, value] = line.split(" ") as [string, string];
      const name = Buffer.from(key, "hex").toString("latin1");
      const ofFile = name.startsWith("C") ? counters.get(name.slice(1)) : undefined;
      if (ofFile === undefined || ofFile <= Buffer.from(value, "hex").readBigInt64LE()) return line;
      const larger = Buffer.alloc(8);
      larger.writeBigInt64LE(ofFile);
      return `${key} ${larger.toString("hex")}`;
    });
}

/** Without the trash root, which decant adds where a dump has none. */
export function withoutTrashRoot(lines: readonly string[], { hasTrash }: DumpFacts): readonly string[] {
  if (hasTrash) return lines;
  const inode = Buffer.alloc(8);
  inode.writeBigUInt64LE(BigInt(TRASH_ROOT));
  const keys = [`41${inode.toString("hex")}49 `, `55${inode.toString("hex")} `];
  return lines.filter((line) => !keys.some((key) => line.startsWith(key)));
}
