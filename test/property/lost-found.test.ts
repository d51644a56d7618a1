import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TreeFindings } from "../../src/tree/tree-findings.ts";
import { decodeAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { ROOT_INODE, TRASH_INODE } from "../../src/volume/inode.ts";
import type { EdgeRecord, FlatKind, RecordTypes } from "../../src/volume/records.ts";
import type { RecordSet } from "../conformance/engine-records.ts";
import { checkRecords } from "../support/check-records.ts";
import { type VolumeRecords, volumeRecords } from "../support/volume-model.ts";
import { volumePlans } from "../support/volume-plan.ts";
import { consolidateRecords } from "../support/volume-streams.ts";
import { salvagedOrder } from "../unit/tree/salvaged-tree.ts";
import { runsOf } from "./runs.ts";

/** One thing that happens to the records of a volume. Numbers pick one, modulo the number of candidates. */
type Damage = { readonly kind: (typeof DAMAGES)[number]; readonly first: number; readonly second: number };

const DAMAGES = [
  "lose-node",
  "lose-edge",
  "swap-parents",
  "move-into-directory",
  "move-into-any",
  "move-into-nothing",
] as const;

const damages = fc.array(fc.record({ kind: fc.constantFrom(...DAMAGES), first: fc.nat(), second: fc.nat() }), {
  minLength: 1,
  maxLength: 30,
});

function damage(whole: VolumeRecords, list: readonly Damage[]): VolumeRecords {
  // A quota may be of a directory of the trash that cannot be kept.
  const records = { ...whole, node: [...whole.node], edge: whole.edge.map((edge) => ({ ...edge })), quota: [] };
  const { node, edge } = records;
  const directories = [...new Set(whole.edge.map(({ parent }) => parent))];
  for (const { kind, first, second } of list) {
    const picked = edge[first % edge.length];
    if (kind === "lose-node") node.splice(first % node.length, 1);
    else if (picked === undefined) continue;
    else if (kind === "lose-edge") edge.splice(first % edge.length, 1);
    else if (kind === "swap-parents") {
      const other = edge[second % edge.length]!;
      [picked.parent, other.parent] = [other.parent, picked.parent];
    } else if (kind === "move-into-directory") picked.parent = directories[second % directories.length]!;
    else if (kind === "move-into-any") picked.parent = edge[second % edge.length]!.inode;
    else picked.parent = 5_000_000n + BigInt(second % 3);
  }
  return records;
}

/** The records after they were salvaged and loaded. */
interface Loaded {
  readonly findings: TreeFindings;
  readonly all: <K extends FlatKind>(kind: K) => RecordTypes[K][];
  readonly set: RecordSet;
}

async function salvageAndLoad(records: VolumeRecords, maxBytes: number): Promise<Loaded> {
  const findings = new TreeFindings();
  const loaded = await consolidateRecords(salvagedOrder(records, findings, { maxBytes }), maxBytes);
  const all = <K extends FlatKind>(kind: K) => (loaded.records.get(kind) ?? []) as RecordTypes[K][];
  return { findings, all, set: Object.fromEntries(loaded.records) };
}

const isOrdinary = (inode: bigint): boolean => inode > ROOT_INODE && inode < TRASH_INODE;

/** Everything that must be in the loaded volume: what has a record or data, what is named and what names others. */
function inodesLeft({ node, chunk, symlink, edge }: VolumeRecords): bigint[] {
  const owners = [...node, ...chunk, ...symlink, ...edge].map(({ inode }) => inode);
  // An entry that cannot be says nothing of its directory.
  const all = new Set([...owners, ...edge.filter(({ inode }) => isOrdinary(inode)).map(({ parent }) => parent)]);
  return [...all].filter(isOrdinary).sort((a, b) => (a < b ? -1 : 1));
}

function textOf(records: readonly { inode: bigint }[], fields: (record: never) => unknown[]): string[] {
  return records.map((record) => [record.inode, ...fields(record as never)].join(" ")).sort();
}

/** What a volume keeps of every inode that has a record. */
function nodeText({ inode, attribute }: RecordTypes["node"]): string {
  const { type, mode, uid, gid, flags, atime, mtime, ctime, rdev, tier, length } = decodeAttribute(attribute);
  return [inode, type, mode, uid, gid, flags, atime, mtime, ctime, rdev, tier, length].join(" ");
}

class Names {
  readonly #edges: readonly EdgeRecord[];
  readonly #byName: Map<string, EdgeRecord> = new Map();
  readonly #byInode: Map<bigint, EdgeRecord[]> = new Map();

  constructor(edges: readonly EdgeRecord[]) {
    this.#edges = edges;
    for (const edge of edges) {
      this.#byName.set(nameKey(edge), edge);
      this.#byInode.set(edge.inode, [...(this.#byInode.get(edge.inode) ?? []), edge]);
    }
  }

  get areUnique(): boolean {
    return this.#byName.size === this.#edges.length;
  }

  at(edge: EdgeRecord): EdgeRecord | undefined {
    return this.#byName.get(nameKey(edge));
  }

  of(inode: bigint): readonly EdgeRecord[] {
    return this.#byInode.get(inode) ?? [];
  }

  /** Whether `top` is the directory `inode`, or above it. */
  isBelow(top: bigint, inode: bigint): boolean {
    for (let at: bigint | undefined = inode; at !== undefined; at = this.of(at)[0]?.parent) if (at === top) return true;
    return false;
  }
}

function nameKey({ parent, name }: EdgeRecord): string {
  return `${parent} ${name.toString("latin1")}`;
}

/** Why an entry of the damaged volume is not in the loaded one: undefined = for no good reason. */
function reasonFor(edge: EdgeRecord, names: Names, directories: ReadonlySet<bigint>): string | undefined {
  if (!isOrdinary(edge.inode)) return "number of the trash, or of a root";
  if (!directories.has(edge.parent)) return "its directory is none";
  if (names.at(edge) !== undefined) return "another entry has its name";
  if (!directories.has(edge.inode)) return undefined;
  if (edge.parent === TRASH_INODE) return "an ordinary directory in the root of the trash";
  return names.isBelow(edge.inode, edge.parent) ? "it closes a circle" : undefined;
}

describe("a volume of any content that has lost any of its records", () => {
  test.each([
    ["a large ceiling", 64 * 1024 * 1024, 150],
    ["a tiny ceiling", 256 * 1024, 50],
  ])("keeps everything that is left of it, once, with its names, in a sound volume: %s", async (_, maxBytes, runs) => {
    let [circles, placed, rebuilt] = [0, 0, 0];
    await fc.assert(
      fc.asyncProperty(volumePlans(60), damages, async (plan, list) => {
        const records = damage(volumeRecords(plan), list);
        const { findings, all, set } = await salvageAndLoad(records, maxBytes);
        const problems = await checkRecords(set);
        expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);

        const lostFound = findings.lostFound?.inode;
        const nodes = all("node");
        const kept = nodes.map(({ inode }) => inode).filter((inode) => isOrdinary(inode) && inode !== lostFound);
        expect(kept.sort((a, b) => (a < b ? -1 : 1))).toEqual(inodesLeft(records));

        const directories = new Set(
          nodes
            .filter(({ attribute }) => decodeAttribute(attribute).type === FileType.directory)
            .map(({ inode }) => inode),
        );
        const names = new Names(all("edge"));
        expect(names.areUnique).toBe(true);
        for (const inode of kept) {
          if (directories.has(inode)) expect([inode, names.of(inode).length]).toEqual([inode, 1]);
        }
        for (const edge of records.edge) {
          if (names.at(edge)?.inode === edge.inode) continue;
          const reason = reasonFor(edge, names, directories);
          expect([nameKey(edge), reason]).toEqual([nameKey(edge), expect.any(String)]);
          if (reason === "it closes a circle") circles++;
        }
        // Nothing else is there but what was given a place, whose only name that is.
        const before = new Set(records.edge.map((edge) => `${nameKey(edge)} ${edge.inode}`));
        const added = all("edge").filter((edge) => !before.has(`${nameKey(edge)} ${edge.inode}`));
        const inLostFound = added.filter(({ inode }) => inode !== lostFound);
        expect(added.length - inLostFound.length).toBe(lostFound === undefined ? 0 : 1);
        for (const { parent, name, inode } of inLostFound) {
          expect([parent, name.toString(), names.of(inode).length]).toEqual([lostFound, `#${inode}`, 1]);
        }
        expect(findings.placedInodes).toBe(inLostFound.length);

        const left = new Set(records.node.filter(({ inode }) => isOrdinary(inode)).map(nodeText));
        expect(nodes.map(nodeText).filter((text) => left.has(text)).length).toBe(left.size);
        const owners = new Set(nodes.map(({ inode }) => inode));
        const ofOwners = <T extends { inode: bigint }>(list: readonly T[]): T[] =>
          list.filter(({ inode }) => owners.has(inode));
        const chunkText = ({ index, slices }: RecordTypes["chunk"]) => [index, slices.toString("hex")];
        expect(textOf(all("chunk"), chunkText)).toEqual(textOf(records.chunk, chunkText));
        const targetText = ({ target }: RecordTypes["symlink"]) => [target.toString("hex")];
        expect(textOf(all("symlink"), targetText)).toEqual(textOf(records.symlink, targetText));
        const xattrText = ({ name, value }: RecordTypes["xattr"]) => [name.toString("hex"), value.toString("hex")];
        expect(textOf(all("xattr"), xattrText)).toEqual(textOf(ofOwners(records.xattr), xattrText));
        placed += findings.placedInodes;
        rebuilt += findings.rebuiltNodes;
      }),
      runsOf(runs),
    );
    // Else the property would say nothing of them.
    expect(Math.min(circles, placed, rebuilt)).toBeGreaterThan(0);
  });

  test("loses nothing and has no lost+found when nothing is damaged", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), async (plan) => {
        const records = volumeRecords(plan);
        const { findings, all } = await salvageAndLoad(records, 64 * 1024 * 1024);
        expect(findings.examples).toEqual(new Map());
        const text = (list: readonly RecordTypes["node"][]) => list.map(nodeText).sort();
        expect(text(all("node"))).toEqual(text(records.node));
      }),
      runsOf(50),
    );
  });
});
