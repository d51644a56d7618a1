import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { encodeAttribute } from "../../../../src/volume/attribute.ts";
import { type Decoded, decode, decodeText, FIXTURES, fixture, inPieces } from "./reading.ts";
import { type DumpDocument, parse, type ReferenceEntry, referenceEntries, ruleText } from "./reference-reading.ts";

function jsonFiles(directory: string): string[] {
  return readdirSync(`${FIXTURES}${directory}`)
    .filter((name) => name.endsWith(".json") && !name.includes("expected") && !name.includes("status"))
    .map((name) => `${directory}/${name}`);
}

const DUMPS = [
  ...jsonFiles("golden/dumps"),
  ...jsonFiles("golden/changelog"),
  ...jsonFiles("legacy"),
  ...jsonFiles("encrypted"),
  "malformed/base.json",
];

/** Object.entries puts names that look like numbers first, so the order is compared elsewhere. */
function sorted(entries: ReferenceEntry[]): ReferenceEntry[] {
  const key = (entry: ReferenceEntry): string => `${entry.path}\0${entry.inode}`;
  return entries.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function decodedEntries(decoded: Decoded): ReferenceEntry[] {
  const rules = new Map(decoded.acls.map(({ id, rule }) => [id, ruleText(rule)]));
  return decoded.entries.map(({ attribute, flags: _, ...entry }) => ({
    ...entry,
    attribute: encodeAttribute({ ...attribute, accessAclId: 0, defaultAclId: 0 }).toString("hex"),
    access: rules.get(attribute.accessAclId) ?? "",
    default: rules.get(attribute.defaultAclId) ?? "",
  }));
}

function quotas(section: DumpDocument["Quotas"]): { key: bigint }[] {
  const quotasOf = Object.entries(section ?? {});
  return quotasOf.map(([key, limits]) => ({ key: BigInt(key), ...limits, usedSpace: 0n, usedInodes: 0n }));
}

function expectSame(decoded: Decoded, document: DumpDocument): void {
  expect(sorted(decodedEntries(decoded))).toEqual(sorted(referenceEntries(document)));
  expect(parse(decoded.setting!)).toEqual(document.Setting);
  const { usedInodes, nextInodes, ...counters } = document.Counters;
  expect(Object.fromEntries(decoded.counters.map(({ name, value }) => [name, value]))).toEqual({
    ...counters,
    totalInodes: usedInodes,
    nextInode: nextInodes,
  });
  expect(decoded.sustained).toEqual(
    (document.Sustained ?? []).flatMap(({ sid, inodes }) => inodes.map((inode) => ({ sid, inode }))),
  );
  expect(decoded.delFiles).toEqual(document.DelFiles ?? []);
  const byKey = <T extends { key: bigint }>(list: T[]): T[] => list.toSorted((a, b) => Number(a.key - b.key));
  expect(byKey(decoded.quotas)).toEqual(byKey(quotas(document.Quotas)));
  expect(byKey(decoded.userQuotas)).toEqual(byKey(quotas(document.UserQuotas)));
  expect(byKey(decoded.groupQuotas)).toEqual(byKey(quotas(document.GroupQuotas)));
  const latin1 = (text: string): string => Buffer.from(text).toString("latin1");
  expect(decoded.changeLog).toEqual(
    (document.ChangeLog ?? []).map(({ version, entry }) => ({ version, entry: latin1(entry) })),
  );
}

describe("dumps of the reference", () => {
  for (const path of DUMPS) {
    it(`are read as JSON.parse reads them: ${path}`, async () => {
      const bytes = fixture(path);
      const decoded = await decodeText(bytes);
      expectSame(decoded, parse(bytes.toString()) as DumpDocument);
      expect(decoded.warnings).toEqual([]);
    });
  }

  it("give the setting as the text it is", async () => {
    const text = fixture("golden/dumps/golden.json").toString();
    const start = text.indexOf('"Setting": ') + '"Setting": '.length;
    expect((await decodeText(text)).setting).toBe(text.slice(start, text.indexOf("\n  }", start) + 4));
  });

  it("give the same records for every size of the pieces they come in", async () => {
    const bytes = fixture("golden/dumps/golden.json");
    const whole = await decodeText(bytes);
    for (const size of [1, 2, 3, 7, 64, 1000, 65536]) {
      const decoded = await decode(inPieces(bytes, size), { refillBytes: Math.max(size, 64) });
      expect(decoded.batches, `pieces of ${size} bytes`).toEqual(whole.batches);
    }
  });

  it("give the same records when they are cut in two anywhere", async () => {
    const bytes = fixture("malformed/base.json");
    const whole = await decodeText(bytes);
    for (let at = 1; at < bytes.length; at++) {
      const decoded = await decode([bytes.subarray(0, at), bytes.subarray(at)], { refillBytes: 1 });
      expect(decoded.batches, `cut at byte ${at}`).toEqual(whole.batches);
    }
  });

  it("number equal ACL rules alike, in order of their first appearance", async () => {
    const decoded = await decodeText(fixture("golden/dumps/golden.json"));
    expect(decoded.acls.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(new Set(decoded.acls.map(({ rule }) => ruleText(rule))).size).toBe(8);
    const used = decoded.entries.flatMap(({ attribute }) => [attribute.accessAclId, attribute.defaultAclId]);
    const firstUses = [...new Set(used.filter((id) => id !== 0))];
    expect(firstUses).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const kinds = decoded.batches.map(({ kind }) => kind);
    expect(kinds.indexOf("acl")).toBeLessThan(kinds.indexOf("tree"));
  });

  it("mark the roots of both trees", async () => {
    const decoded = await decodeText(fixture("malformed/base.json"));
    expect(decoded.entries.filter(({ flags }) => flags !== 0).map(({ flags, inode }) => [flags, inode])).toEqual([
      [4, 1n],
      [4 | 16, 9223372032828243968n],
    ]);
  });
});

/** `JSON.stringify` that keeps BigInt and, when asked, sorts members as `jq -S` does. */
function rewrite(value: unknown, indent: string, sort: boolean, level: string = "\n"): string {
  if (value === null || typeof value !== "object")
    return typeof value === "bigint" ? String(value) : JSON.stringify(value);
  const inner = indent === "" ? "" : level + indent;
  const outer = indent === "" ? "" : level;
  const wrap = (open: string, parts: string[], close: string): string =>
    parts.length === 0 ? open + close : `${open}${inner}${parts.join(`,${inner}`)}${outer}${close}`;
  if (Array.isArray(value))
    return wrap(
      "[",
      value.map((element) => rewrite(element, indent, sort, level + indent)),
      "]",
    );
  const names = sort ? Object.keys(value).sort() : Object.keys(value);
  const member = (name: string): string =>
    `${JSON.stringify(name)}:${indent === "" ? "" : " "}${rewrite((value as Record<string, unknown>)[name], indent, sort, level + indent)}`;
  return wrap("{", names.map(member), "}");
}

describe("documents that went through another tool", () => {
  const layouts: [string, string, boolean][] = [
    ["indented", "  ", false],
    ["indented with tabs", "\t", false],
    ["compact", "", false],
    ["sorted", "  ", true],
    ["compact and sorted", "", true],
  ];
  for (const [name, indent, sort] of layouts) {
    for (const path of ["golden/dumps/golden.json", "legacy/legacy-1-3-0.json"]) {
      it(`give the same records: ${name} ${path}`, async () => {
        const document = parse(fixture(path).toString()) as DumpDocument;
        expectSame(await decodeText(rewrite(document, indent, sort)), document);
      });
    }
  }

  it("give the same records with carriage returns and with a byte order mark", async () => {
    const text = fixture("golden/dumps/golden.json").toString();
    const plain = await decodeText(text);
    const decoded = await decodeText(`\ufeff${text.replaceAll("\n", "\r\n")}`);
    expect(decoded.entries).toEqual(plain.entries);
  });

  it("give the same records with every character of a string escaped", async () => {
    const text = fixture("golden/dumps/golden.json").toString();
    const escaped = text.replace(/"(?:[^"\\]|\\.)*"/g, (quoted) => {
      const inner = JSON.parse(quoted) as string;
      const units = Array.from({ length: inner.length }, (_, i) => inner.charCodeAt(i));
      return `"${units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("")}"`;
    });
    const plain = await decodeText(text);
    const decoded = await decodeText(escaped);
    expect(decoded.entries).toEqual(plain.entries);
    expect(decoded.acls).toEqual(plain.acls);
  });
});
