import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { verify } from "../../src/operations/verify.ts";
import { encodeAttribute, newDirectoryAttribute } from "../../src/volume/attribute.ts";
import { FileType } from "../../src/volume/file-type.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import { type FlatKind, packBatch, type RecordTypes } from "../../src/volume/records.ts";
import { decodeSlices } from "../../src/volume/slices.ts";
import { SAMPLE_SETTING, toBatches } from "../conformance/engine-records.ts";
import { decodeAll, encodeAll, segmentBytes, splitSegments } from "../support/binary-segments.ts";
import { checkRecords, checkText, errorsOf, summaryOf } from "../support/check-records.ts";
import { fixture } from "../support/repository.ts";
import { quietContext } from "../support/volume-files.ts";
import { type VolumeRecords, volumeRecords } from "../support/volume-model.ts";
import { type VolumePlan, volumePlans } from "../support/volume-plan.ts";
import { encodeRecords } from "../support/volume-streams.ts";
import { runsOf } from "./runs.ts";

const MEMORY = 16 * 1024 * 1024;

/** Notes that every healthy volume may have. */
const HEALTHY: readonly string[] = ["pending-deletion", "open-files"];

function kinds(problems: readonly { readonly kind: string }[]): string[] {
  return problems.map(({ kind }) => kind).filter((kind) => !HEALTHY.includes(kind));
}

/** An inode that a session holds although it is deleted, beyond those of any plan. */
const OPEN_INODE = 1n << 62n;
const SETTING = { json: Buffer.from(SAMPLE_SETTING) };

/**
 * A volume as a binary dump has it: references of 1 are left out, and there is a deleted file that is open, and a change log,
 * so that no kind of record is missing.
 */
function binaryRecords(plan: VolumePlan): VolumeRecords {
  const records = volumeRecords(plan);
  const attribute = { ...newDirectoryAttribute(0o600, 1n), type: FileType.regular, nlink: 0, length: 0n, parent: 0n };
  const more: Readonly<Record<string, bigint>> = { usedSpace: 4096n, totalInodes: 1n };
  const least: Readonly<Record<string, bigint>> = { nextInode: OPEN_INODE + 1n, nextSession: 5n };
  return {
    ...records,
    setting: [SETTING],
    sliceRef: records.sliceRef.filter(({ refs }) => refs !== 1n),
    node: [...records.node, { inode: OPEN_INODE, attribute: encodeAttribute(attribute) }],
    sustained: [{ sid: 4n, inode: OPEN_INODE }],
    changeLog: [1n, 2n].map((version) => ({ version, entry: Buffer.from(`entry ${version}`) })),
    counter: [
      ...records.counter.map(({ name, value }) => ({ name, value: least[name] ?? value + (more[name] ?? 0n) })),
      { name: "lastChangelog", value: 2n },
    ],
  };
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
    setting: () => undefined, // `checkRecords` adds one
    counter: ({ name, value }) =>
      name === "lastChangelog"
        ? undefined
        : name !== "nextTrash"
          ? "missing-counter"
          : value > 0n
            ? "counter-too-small"
            : undefined,
    node: ({ inode }) =>
      inode === 1n
        ? "missing-root"
        : inode === TRASH_INODE
          ? "missing-trash-root"
          : inode === OPEN_INODE
            ? "sustained-without-inode"
            : "missing-node",
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
    sustained: () => "unlinked-without-session",
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
            } else if (expected === "unlinked-without-session") {
              expect(found.map(({ kind }) => kind)).toContain(expected);
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

/** The fields of a message, all of which are bytes after their size; tags of one or two bytes. */
function fieldsOf(body: Buffer): Buffer[] {
  const fields: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    let position = at + (body[at]! < 0x80 ? 1 : 2);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = body[position++]!;
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    fields.push(body.subarray(at, position + size));
    at = position + size;
  }
  return fields;
}

async function isFoundWhole(dump: Buffer): Promise<boolean> {
  const report = await verify({ source: { stream: Readable.from([dump]) } }, quietContext());
  return report.ok;
}

/** Takes one record of each segment out, and puts it in twice, with the footer as it was. Gives the types of the segments. */
async function expectToBeFound(dump: Buffer, pick: number): Promise<number[]> {
  const types: number[] = [];
  expect(await isFoundWhole(dump)).toBe(true);
  for (const { type, offset, body } of splitSegments(dump).segments) {
    const records = fieldsOf(body);
    if (records.length === 0) continue;
    types.push(type);
    const at = pick % records.length;
    const behind = dump.subarray(offset + 12 + body.length);
    const changed = (list: Buffer[]): Buffer =>
      Buffer.concat([dump.subarray(0, offset), segmentBytes(type, Buffer.concat(list)), behind]);
    expect(changed(records).equals(dump)).toBe(true);
    expect(await isFoundWhole(changed(records.toSpliced(at, 1))), `type ${type}, ${at} lost`).toBe(false);
    expect(await isFoundWhole(changed(records.toSpliced(at, 0, records[at]!))), `type ${type}, ${at} twice`).toBe(
      false,
    );
  }
  return types;
}

describe("one record of a binary dump as a file, whose footer has counted it,", () => {
  test("is missed when it is lost, and seen when it is there twice", async () => {
    await fc.assert(
      fc.asyncProperty(volumePlans(15), fc.nat(), async (plan, pick) => {
        await expectToBeFound(await encodeAll([...toBatches(binaryRecords(plan))]), pick);
      }),
      runsOf(8),
    );
  });

  test("may be of any kind", async () => {
    const { batches } = await decodeAll(readFileSync(fixture("golden/dumps/golden.bin")));
    const log = packBatch("changeLog", [{ version: 1n, entry: Buffer.from("entry") }]);
    const types = await expectToBeFound(await encodeAll([...batches, log]), 1);
    expect([...types].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
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

describe("what belongs to an entry of a JSON dump, or stands before its trees", () => {
  const text = readFileSync(fixture("golden/dumps/golden.json"), "latin1");

  /** Kinds of errors; `unreadable` for what the decoder refuses. */
  async function errorsWith(from: string | RegExp, to: string): Promise<string[]> {
    const other = text.replace(from, to);
    expect(other === text).toBe(false);
    const found = await checkText(Buffer.from(other, "latin1"), { strict: true }).catch((error: unknown) => {
      expect(error).toBeInstanceOf(DataError);
      return undefined;
    });
    return found === undefined ? ["unreadable"] : errorsOf(found).filter((kind) => kind !== "spare-links");
  }

  test.each([
    ["a chunk", /("chunks": \[)(\{"index":0,"slices":\[[^\]]*\]\})\]/, "$1$2,$2]", ["unreadable"]],
    ["an extended attribute", /("xattrs": \[)(\{[^}]*\})/, "$1$2,$2", ["unreadable"]],
    ["an ACL", /( +"posix_acl_access": .*\n)/, "$1$1", ["unreadable"]],
    ["a target", /( +"symlink": .*,)\n/, "$1\n$1\n", ["unreadable"]],
    ["attributes", /("attr": \{.*\},)\n/, "$1\n$1\n", ["unreadable"]],
    ["a counter", /( +"nextChunk": \d+,)\n/, "$1\n$1\n", ["unreadable"]],
    ["a quota", /("Quotas": \{)(\n +"\d+": \{[^}]*\},)/, "$1$2$2", ["unreadable"]],
    ["a user quota", /("UserQuotas": \{)(\n +"\d+": \{[^}]*\})/, "$1$2,$2", ["unreadable"]],
    ["a group quota", /("GroupQuotas": \{)(\n +"\d+": \{[^}]*\})/, "$1$2,$2", ["unreadable"]],
    ["a pending deletion", /("DelFiles": \[)(\n +\{[^}]*\})/, "$1$2,$2", ["duplicate-record"]],
    ["an open file", /("inodes": \[)(\n +\d+)/, "$1$2,$2", ["duplicate-record"]],
    ["the setting", /( {2}"Setting": \{[\s\S]*?\n {2}\},\n)/, "$1$1", ["unreadable"]],
    ["the trash", /\n\}\n$/, ',\n  "Trash": null\n}\n', ["unreadable"]],
  ])("is seen when it is there twice: %s", async (_, from, to, kinds) => {
    expect(await errorsWith(from, to)).toEqual(kinds);
  });

  test.each([
    ["attributes", /"attr": \{"inode":\d+,"type":"regular".*\},\n/, "", ["unreadable"]],
    ["a target", /, *\n +"symlink": [^,\n]*(?=\n)/, "", ["missing-target"]],
    ["a counter", / +"nextChunk": \d+,\n/, "", ["missing-counter"]],
    ["counters", / {2}"Counters": \{[\s\S]*?\n {2}\},\n/, "", ["unreadable"]],
    ["the setting", / {2}"Setting": \{[\s\S]*?\n {2}\},\n/, "", ["unreadable"]],
    ["an open file", /\n +1407\n +\]/, "]", ["usage-differs"]],
  ])("is missed when it is lost: %s", async (_, from, to, kinds) => {
    expect(await errorsWith(from, to)).toEqual(kinds);
  });
});
