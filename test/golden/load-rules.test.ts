import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { fixture } from "../support/repository.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { query } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** Rows of the table in docs/spec/json-dump.md §10 that no file of test/fixtures/malformed stands for. */

const BASE = readFileSync(fixture("malformed/base.json"), "utf8");
const RELOADED = BASE.replace('"nextSession": 1', '"nextSession": 0');
const A_TXT = /"attr": \{"inode":4,[^\n]*\n/.exec(BASE)![0];
const CHUNK = '{"index":0,"slices":[{"id":1,"size":5,"len":5}]}';

function edit(...edits: readonly (readonly [text: string, replacement: string])[]): string {
  let text = BASE;
  for (const [from, to] of edits) {
    if (!text.includes(from)) throw new Error(`base.json has no ${from}`);
    text = text.replace(from, () => to);
  }
  return document(text);
}

function document(content: string | Buffer): string {
  const file = join(temporaryDirectory(), "dump.json");
  writeFileSync(file, content);
  return file;
}

const inode = (number: string): [string, string] => [A_TXT, A_TXT.replace('"inode":4,', `"inode":${number},`)];

describe("a load refuses", () => {
  const refused: readonly (readonly [what: string, file: () => string, code: string])[] = [
    [
      "children of a file",
      () => edit([A_TXT, `${A_TXT}"entries": {"x": {${A_TXT.trimEnd().slice(0, -1)}}},`]),
      "DECANT_E_JSON_ENTRY",
    ],
    ["a link target of a file", () => edit([A_TXT, `${A_TXT}"symlink": "x",`]), "DECANT_E_JSON_ENTRY"],
    [
      "chunks of a directory",
      () => edit(['"entries": {\n      "d1"', `"chunks": [${CHUNK}], "entries": {\n      "d1"`]),
      "DECANT_E_JSON_ENTRY",
    ],
    ["a chunk that stands twice", () => edit([CHUNK, `${CHUNK},${CHUNK}`]), "DECANT_E_JSON_ENTRY"],
    [
      "a slice with two sizes",
      () => edit([CHUNK, CHUNK.replace('"id":1,"size":5', '"id":3,"size":5')]),
      "DECANT_E_SLICE_SIZE",
    ],
    ["an inode of the trash outside of it", () => edit(inode("9223372032828243970")), "DECANT_E_JSON_INODE"],
    [
      "a null setting",
      () => document(BASE.replace(/"Setting": \{[\s\S]*?\n {2}\},/, '"Setting": null,')),
      "DECANT_E_JSON_VALUE",
    ],
    [
      "a null FSTree",
      () => document(BASE.replace(/"FSTree": \{[\s\S]*?\n {2}\},/, '"FSTree": null,')),
      "DECANT_E_JSON_VALUE",
    ],
    [
      "null counters",
      () => document(BASE.replace(/"Counters": \{[\s\S]*?\n {2}\},/, '"Counters": null,')),
      "DECANT_E_JSON_VALUE",
    ],
    [
      "an entry that is null",
      () => edit(['          "b.txt": {', '          "null": null,\n          "b.txt": {']),
      "DECANT_E_JSON_ENTRY",
    ],
    [
      "a number too large for its field",
      () => edit([A_TXT, A_TXT.replace('"uid":0', '"uid":4294967296')]),
      "DECANT_E_JSON_NUMBER",
    ],
    [
      "a tier too large for its field",
      () => edit([A_TXT, A_TXT.replace('"length":5', '"length":5,"tier":300')]),
      "DECANT_E_JSON_NUMBER",
    ],
    ["two names that are equal once unescaped", () => edit(['"b.txt": {', '"a%2Etxt": {']), "DECANT_E_JSON_NAME"],
    ["an escaped slash in a name", () => edit(['"b.txt": {', '"b%2Ftxt": {']), "DECANT_E_JSON_NAME"],
  ];

  test.each(refused)("%s", async (_, file, code) => {
    await expect(loadVolumeFile(newSqliteTarget().url, file())).rejects.toMatchObject({
      name: "DataError",
      code,
      hint: expect.any(String),
    });
  });
});

describe("a load accepts", () => {
  test("a compressed document from a stream, which has no name", async () => {
    const target = newSqliteTarget();
    const stream = createReadStream(document(gzipSync(BASE)));
    await load({ target: target.url, source: { stream } }, createContext());
    expect((await dumpVolume(target.url)).bytes.toString()).toBe(RELOADED);
  });

  test("quotas behind the tree, and counts their usage", async () => {
    const quotas =
      '"Quotas": {"2": {"maxSpace": 4096, "maxInodes": -1}},\n  "UserQuotas": {"0": {"maxSpace": -1, "maxInodes": 9}}';
    const { path, url } = newSqliteTarget();
    await loadVolumeFile(url, document(`${BASE.trimEnd().slice(0, -2)},\n  ${quotas}\n}\n`));
    const usage = "SELECT max_space || ' ' || max_inodes || ' ' || used_space || ' ' || used_inodes FROM ";
    expect(query(path, `${usage} jfs_dir_quota`)).toEqual(["4096 -1 8192 2"]);
    // Two directories and two files, and of each one in the trash; symlinks count nothing (docs/spec/json-dump.md §11).
    expect(query(path, `${usage} jfs_user_group_quota WHERE qtype = 1`)).toEqual(["-1 9 24576 6"]);
  });

  test("nanoseconds beyond a second as the remainder that SQL dumps wrap", async () => {
    const { path, url } = newSqliteTarget();
    await loadVolumeFile(url, edit([A_TXT, A_TXT.replace('"mtimensec":635807988', '"mtimensec":4294967295')]));
    expect(query(path, "SELECT mtime || ' ' || mtimensec FROM jfs_node WHERE inode = 4")).toEqual([
      "1795416198999999 999",
    ]);
  });

  test("a file that waits for deletion and still has its entry, and keeps its data from being deleted", async () => {
    const both = '"DelFiles": [{"inode":4,"length":5,"expire":1}, {"inode":900,"length":5,"expire":2}]';
    const { path, url } = newSqliteTarget();
    const report = await loadVolumeFile(url, edit(['"DelFiles": []', both]));
    expect(query(path, "SELECT inode FROM jfs_delfile")).toEqual(["900"]);
    expect(report.findings).toEqual([
      expect.objectContaining({ kind: "pending-deletion", count: 2 }),
      expect.objectContaining({ kind: "deletion-of-entry", count: 1, examples: ["inode 4"], loss: true }),
    ]);
  });

  test("the slice numbers of very old dumps", async () => {
    const { url } = newSqliteTarget();
    await loadVolumeFile(url, edit([CHUNK, CHUNK.replace('"id":1', '"chunkid":1')]));
    expect((await dumpVolume(url)).bytes.toString()).toBe(RELOADED);
  });

  test("a blank that stands for itself, as in dumps of 1.3", async () => {
    const { url } = newSqliteTarget();
    await loadVolumeFile(url, edit(['"a.txt": {', '"a b.txt": {']));
    expect((await dumpVolume(url)).bytes.toString()).toBe(RELOADED.replace('"a.txt": {', '"a%20b.txt": {'));
  });
});
