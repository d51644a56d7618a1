import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeAttribute } from "../../src/volume/attribute.ts";
import { type FlatKind, packBatch, type RecordBatch, type RecordTypes } from "../../src/volume/records.ts";
import { assembleDump, decodeAll, encodeAll, splitSegments } from "../support/binary-segments.ts";
import { collectRecords } from "../support/collect-records.ts";
import { runDecant } from "../support/decant.ts";
import { dumpVolume } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { streamOf } from "../support/volume-streams.ts";
import { NEW_VOLUME } from "./engine-harness.ts";
import { SAMPLE_SETTING, toBatches } from "./engine-records.ts";
import { mysql, TARGETS, VOLUME } from "./unsupported-volume.ts";

/** Records one by one, each in a segment of its own, the last first: extended attributes of an inode do not stand together. */
async function scatteredDump(batches: Iterable<RecordBatch>): Promise<Buffer> {
  const setting: RecordBatch = packBatch("setting", [{ json: SAMPLE_SETTING }]);
  const bytes = await encodeAll([setting, ...batches], { rawXattrNames: true }, { segmentRecords: 1 });
  return assembleDump(splitSegments(bytes).segments.toReversed());
}

function written(bytes: Buffer): string {
  const file = join(temporaryDirectory(), "volume.bin");
  writeFileSync(file, bytes);
  return file;
}

async function dumpFile(): Promise<string> {
  return written(await scatteredDump(toBatches(VOLUME)));
}

async function recordsOf(url: string): Promise<Map<FlatKind, RecordTypes[FlatKind][]>> {
  const { bytes } = await dumpVolume(url, { format: "binary" }, "loaded.bin");
  return collectRecords(streamOf((await decodeAll(bytes)).batches));
}

const sorted = (lines: readonly string[]): string[] => [...lines].sort();

describe.each(TARGETS)("a binary dump that $name cannot hold", (target) => {
  test("is refused as a whole, with everything that cannot be held named by its path, and nothing is left of it", async () => {
    const url = await target.newDatabase();
    const run = await runDecant(["load", url, await dumpFile()]);
    expect(run.code).toBe(6);
    const lines = run.err.split("\n");
    const start = lines.findIndex((line) => line.includes("error:"));
    expect(lines[start]).toBe(
      `decant: error: ${target.name} cannot hold ${target.lines.length} values of this volume; nothing was loaded`,
    );
    const named = lines.slice(start + 1, start + 1 + target.lines.length).map((line) => line.trim());
    expect(sorted(named)).toEqual(sorted(target.lines));
    expect(run.err).toContain("--on-unsupported skip");
    expect(await target.content(url)).toEqual(target.empty);
    expect((await runDecant(["status", url])).code).toBe(4);
  });

  test("is checked by a dry run in the same way", async () => {
    const url = await target.newDatabase();
    const run = await runDecant(["load", url, await dumpFile(), "--dry-run", "--json"]);
    expect(run.code).toBe(6);
    const { error } = JSON.parse(run.out) as { error: { code: string; details: string[] } };
    expect(error.code).toBe("DECANT_E_UNSUPPORTED_VALUE");
    expect(sorted(error.details)).toEqual(sorted(target.lines));
    expect(await target.content(url)).toEqual(target.empty);
  });

  test("is loaded without it when that is asked for, and the report has all that is missing", async () => {
    const url = await target.newDatabase();
    const report = join(temporaryDirectory(), "report.jsonl");
    const args = ["--on-unsupported", "skip", "--unsupported-report", report, "--json"];
    const run = await runDecant(["load", url, await dumpFile(), ...args]);
    expect(run.code).toBe(3);
    const { unsupported, findings } = JSON.parse(run.out) as {
      unsupported: { count: number; values: object[] };
      findings: { kind: string; loss: boolean; count: number; examples: string[] }[];
    };
    expect(unsupported.count).toBe(target.lines.length);
    const lost = findings.filter(({ kind }) => kind.startsWith("unsupported-"));
    expect(lost.reduce((sum, { count }) => sum + count, 0)).toBe(target.lines.length);
    expect(lost.every(({ loss, examples }) => loss && examples.every((path) => path.startsWith("/d")))).toBe(true);
    const lines = readFileSync(report, "utf8").trimEnd().split("\n");
    const values = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(values).toMatchObject(unsupported.values);
    const odd = values.find(({ kind, name }) => kind === "xattr" && name === "user.b%FF");
    expect(odd).toMatchObject({ nameBase64: "dXNlci5i/w==", valueBase64: "Ynl0ZXM=", path: "/d/f", inode: 3 });

    const records = await recordsOf(url);
    const nodes = records.get("node") as RecordTypes["node"][];
    const attributes = nodes.map(({ inode, attribute }) => {
      const { uid, gid, rdev, mode } = decodeAttribute(attribute);
      return [inode, uid, gid, rdev, mode.toString(8)];
    });
    expect(attributes.slice(1, 4)).toEqual([
      [2n, 0, 65534, 0, "755"],
      [3n, 65534, 0, 0, "755"],
      [4n, 0, 0, 0, "755"],
    ]);
    const { xattrs, chunks, entries } = target.keeps;
    const names = (records.get("xattr") as RecordTypes["xattr"][]).map(({ name }) => name.toString());
    expect(names).toEqual(xattrs);
    expect(records.get("chunk")).toHaveLength(chunks);
    expect(records.get("symlink") ?? []).toHaveLength(entries.includes("l") ? 1 : 0);
    expect(records.get("edge")).toHaveLength(VOLUME.edge!.length);
  });

  test("is named by inode when it is piped in, which is said", async () => {
    const url = await target.newDatabase();
    const run = await runDecant(["load", url], { input: readFileSync(await dumpFile()) });
    expect(run.code).toBe(6);
    for (const line of target.lines) expect(run.err).toContain(line.replace(/^\/\S+ \((inode \d+)\)/, "$1 ($1)"));
    expect(run.err).toContain("warning: What cannot be held is named by inode: the dump came as a stream");
    expect(await target.content(url)).toEqual(target.empty);
  });
});

describe.skipIf(mysql === undefined)("names of extended attributes in a binary dump for MySQL", () => {
  test("are compared as the database does, in more batches than one, in any order, and only with those of their inode", async () => {
    const names = Array.from({ length: 200 }, (_, i) => `user.name-${String(i).padStart(3, "0")}`);
    const values = [...names, ...names.map((name) => name.toUpperCase())];
    const xattr = [7n, 8n].flatMap((inode) =>
      values.map((name) => ({ inode, name: Buffer.from(name), value: Buffer.alloc(2000, name) })),
    );
    const bytes = await scatteredDump(toBatches({ node: [{ inode: 1n, attribute: NEW_VOLUME.root }], xattr }));
    const url = mysql!.url(await mysql!.createDatabase("CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"));
    const stopped = await runDecant(["load", url, written(bytes), "--json"]);
    expect(stopped.code).toBe(6);
    const { error } = JSON.parse(stopped.out) as { error: { details: string[] } };
    expect(error.details).toHaveLength(400);
    expect(error.details[0]).toBe(
      'inode 7 (inode 7): extended attribute user.name-000: its name is the same as "USER.NAME-000" under the collation utf8mb4_general_ci of the database',
    );
    expect((await runDecant(["load", url, written(bytes), "--on-unsupported", "skip"])).code).toBe(3);
    const kept = (await recordsOf(url)).get("xattr") as RecordTypes["xattr"][];
    const wanted = [7n, 8n].flatMap((inode) => names.map((name) => `${inode} ${name.toUpperCase()}`));
    expect(kept.map(({ inode, name }) => `${inode} ${name}`)).toEqual(wanted);
  });
});
