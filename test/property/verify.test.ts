import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import type { FlatKind, RecordTypes } from "../../src/volume/records.ts";
import { decodeSlices } from "../../src/volume/slices.ts";
import { checkRecords, checkText, errorsOf, summaryOf } from "../support/check-records.ts";
import { type VolumeRecords, volumeRecords } from "../support/volume-model.ts";
import { type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const MEMORY = 16 * 1024 * 1024;

/** Notes that every healthy volume may have. */
const HEALTHY: readonly string[] = ["pending-deletion"];

function kinds(problems: readonly { readonly kind: string }[]): string[] {
  return problems.map(({ kind }) => kind).filter((kind) => !HEALTHY.includes(kind));
}

/** A volume as a binary dump has it: references of 1 are left out. */
function binaryRecords(plan: VolumePlan): VolumeRecords {
  const records = volumeRecords(plan);
  return { ...records, sliceRef: records.sliceRef.filter(({ refs }) => refs !== 1n) };
}

describe("a volume of any content", () => {
  test("is found whole, as flat records, as JSON dump, and below tiny memory ceilings", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(60), fc.integer({ min: 256, max: 2048 }), async (plan, kib) => {
        const records = binaryRecords(plan);
        expect(kinds(await checkRecords(records, { strict: true, maxBytes: kib * 1024 }))).toEqual([]);
        const text = await encodeRecords(volumeRecords(plan), MEMORY);
        expect(kinds(await checkText(text, { strict: true, maxBytes: kib * 1024 }))).toEqual([]);
      }),
      runsOf(40),
    );
  });
});

/** What one record can be missed by; the kinds of docs/verify.md. Undefined: nothing in the records says that it was there. */
function lossOf<K extends FlatKind>(kind: K, record: RecordTypes[K], records: VolumeRecords): string | undefined {
  const losses: { [L in FlatKind]: (record: RecordTypes[L]) => string | undefined } = {
    setting: () => "bad-setting",
    counter: ({ name, value }) =>
      name !== "nextTrash" ? "missing-counter" : value > 0n ? "counter-too-small" : undefined,
    node: ({ inode }) =>
      inode === 1n ? "missing-root" : inode === TRASH_INODE ? "missing-trash-root" : "missing-node",
    edge: ({ parent, type, inode }) => {
      if (type !== FileType.directory) {
        return records.edge.filter((edge) => edge.inode === inode).length > 1 ? "link-count" : "file-without-entry";
      }
      return parent >= TRASH_INODE || inode >= TRASH_INODE ? "directory-without-entry" : "link-count";
    },
    chunk: ({ slices }) => (decodeSlices(slices).some(({ id }) => isShared(id, records)) ? "slice" : undefined),
    symlink: () => "missing-target",
    xattr: () => undefined,
    parent: () => "parent-record",
    sliceRef: () => "slice-references",
    acl: ({ id }) => (isNamed(id, records) ? "missing-acl" : undefined),
    sustained: () => undefined,
    delFile: () => undefined,
    dirStat: () => undefined,
    quota: () => undefined,
    userQuota: () => undefined,
    groupQuota: () => undefined,
    changeLog: () => undefined,
  };
  return losses[kind](record);
}

function isShared(id: bigint, records: VolumeRecords): boolean {
  return records.sliceRef.some((reference) => reference.id === id);
}

function isNamed(id: number, records: VolumeRecords): boolean {
  return records.node.some(({ attribute }) => {
    return attribute.length >= 80 && [attribute.readUInt32BE(71), attribute.readUInt32BE(75)].includes(id);
  });
}

describe("one record of a volume", () => {
  test("is missed when it is lost, and seen when it is there twice", async () => {
    const missed = new Set<string>();
    await fc.assert(
      fc.asyncProperty(volumePlans(20), async (plan) => {
        const records = binaryRecords(plan);
        for (const kind of Object.keys(records) as FlatKind[]) {
          for (let i = 0; i < Math.min(records[kind].length, 3); i++) {
            const list = records[kind] as RecordTypes[typeof kind][];
            const at = (i * 7919) % list.length;
            const without = { ...records, [kind]: list.filter((_, other) => other !== at) };
            const twice = { ...records, [kind]: [...list, list[at]!] };
            expect(errorsOf(await checkRecords(twice as VolumeRecords)), `${kind} ${at} twice`).not.toEqual([]);
            const expected = lossOf(kind, list[at]! as never, records);
            const found = await checkRecords(without as VolumeRecords);
            if (expected === undefined) continue;
            missed.add(expected);
            if (expected === "slice") {
              expect(found.map(({ kind }) => kind)).toContain("spare-references");
            } else {
              expect(errorsOf(found), `without ${kind} ${at}`).toContain(expected);
            }
          }
        }
      }),
      runsOf(25),
    );
    expect([...missed]).toEqual(
      expect.arrayContaining(["file-without-entry", "link-count", "missing-node", "missing-counter", "missing-root"]),
    );
  });
});

/** Where the object of each entry of a dump begins and ends in its text, with the comma that separates it. */
function entriesOf(text: string): { from: number; to: number; name: string }[] {
  const entries: { from: number; to: number; name: string }[] = [];
  const lines = text.split("\n");
  let offset = 0;
  const open: { indent: number; from: number; name: string }[] = [];
  for (const line of lines) {
    const indent = line.length - line.trimStart().length;
    const begin = /^ +"(.*)": \{$/.exec(line);
    if (begin !== null && indent >= 6 && begin[1] !== "entries") open.push({ indent, from: offset, name: begin[1]! });
    const last = open.at(-1);
    if (last !== undefined && indent === last.indent && /^ +\},?$/.test(line)) {
      open.pop();
      entries.push({ from: last.from, to: offset + line.length + 1, name: last.name });
    }
    offset += line.length + 1;
  }
  return entries;
}

describe("one entry of a JSON dump", () => {
  test("is missed when it is lost, and seen when it is there twice", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(20), fc.array(fc.nat(), { minLength: 6, maxLength: 6 }), async (plan, picks) => {
        const text = (await encodeRecords(volumeRecords(plan), MEMORY)).toString("latin1");
        const tree = text.indexOf('"FSTree"');
        const entries = entriesOf(text).filter(({ from }) => from > tree);
        for (const pick of entries.length === 0 ? [] : picks) {
          const { from, to, name } = entries[pick % entries.length]!;
          const entry = text.slice(from, to);
          const lost = withoutDoubleCommas(text.slice(0, from) + text.slice(to));
          const found = await checkText(Buffer.from(lost, "latin1"), { strict: true });
          expect(errorsOf(found), `without ${name}: ${summaryOf(found)}`).not.toEqual([]);
          const twice = `${text.slice(0, from)}${entry.replace(/\},?\n$/, "},\n")}${text.slice(from)}`;
          await expect(checkText(Buffer.from(twice, "latin1")), `${name} twice`).rejects.toBeInstanceOf(DataError);
        }
      }),
      runsOf(60),
    );
  });
});

/** A list from which the last element was taken ends with a comma. */
function withoutDoubleCommas(text: string): string {
  return text.replace(/\},\n( +)\}/g, "}\n$1}");
}
