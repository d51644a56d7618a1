import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { createContext } from "../../src/operations/context.ts";
import { dump } from "../../src/operations/dump.ts";
import { restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { type DumpOptions, dumpVolume } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { expectSameBytes } from "./compare-bytes.ts";
import { PERMITTED_DIFFERENCES, withPermittedDifferences } from "./permitted-differences.ts";

const redis = (await requireRedisServer()) ? await startRedis() : undefined;

const KEEP = { keepSecretKey: true };
const KEEP_NO_TRASH = { keepSecretKey: true, skipTrash: true };

/** Every reference dump that stands beside its source, and the options it was made with. */
const DUMPS: readonly [source: string, reference: string, options: DumpOptions][] = [
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.json", {}],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.json.gz", {}],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.json.zstd", {}],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.keep.json", KEEP],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.fast.json", KEEP],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.threads1.json", KEEP],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.skip-trash.json", { skipTrash: true }],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.fast-skip-trash.json", { skipTrash: true }],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.subdir-docs.json", { subdir: "/docs" }],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.subdir-links-two.json", { subdir: "/links/two" }],
  ["golden/engines/golden.redis.jsonl", "golden/dumps/golden.subdir-fast.json", { subdir: "/docs/a" }],
  ["golden/native/awkward.redis.jsonl", "golden/native/awkward.keep.json", KEEP],
  ["golden/native/awkward.redis.jsonl", "golden/native/awkward.fast.json", KEEP],
  ["golden/native/awkward.redis.jsonl", "golden/native/awkward.skip-trash.json", KEEP_NO_TRASH],
  ["golden/changelog/chlogredis.redis.jsonl", "golden/changelog/chlogredis.json", {}],
  ["legacy/ancient.redis.jsonl", "legacy/ancient.by-1.4.2.json", KEEP],
  ["golden/native/natsqlite.sqlite.db", "golden/native/natsqlite.keep.json", KEEP],
  ["golden/native/natsqlite.sqlite.db", "golden/native/natsqlite.fast.json", KEEP],
  ["golden/native/natsqlite.sqlite.db", "golden/native/natsqlite.skip-trash.json", KEEP_NO_TRASH],
  ["golden/changelog/chlogsqlite.sqlite.db", "golden/changelog/chlogsqlite.json", {}],
  ...["encaes", "encchacha", "plain"].flatMap((name): [string, string, DumpOptions][] => [
    [`encrypted/${name}.sqlite.db`, `encrypted/${name}.json`, KEEP],
    [`encrypted/${name}.sqlite.db`, `encrypted/${name}.removed.json`, {}],
  ]),
  ...["1-3-0", "1-3-1"].flatMap((version): [string, string, DumpOptions][] => [
    [`legacy/legacy-${version}.sqlite.db`, `legacy/legacy-${version}.json`, {}],
    [`legacy/legacy-${version}.sqlite.db`, `legacy/legacy-${version}.keep.json`, KEEP],
    [`legacy/legacy-${version}.sqlite.db`, `legacy/legacy-${version}.subdir.json`, { subdir: "/docs" }],
  ]),
];

/** Dumps whose source is on an engine that decant does not read yet. */
const WITHOUT_SOURCE = /\/(natbadger|natetcd|natmysql|natpg|chlogetcd|chlogpg)\./;

/** The tier that a volume of 1.3 gets when 1.4 reads it (docs/spec/json-dump.md §3). */
const DEFAULT_TIER =
  '    "Tiers": {\n      "0": {\n        "ID": 0,\n        "StorageClass": "",\n        "Tag": ""\n      }\n    },\n';

/** A dump by 1.3 as 1.4 would have made it: with Tiers, and blanks in names and values escaped (test/fixtures/legacy/README.md). */
function asByCurrentVersion(bytes: Buffer): Buffer {
  const lines = bytes.toString("latin1").split("\n");
  const escaped = lines.map((line) => {
    if (line.startsWith('    "Bucket": ')) return DEFAULT_TIER + line;
    return line
      .replace(/^( +)"(.*)": \{$/, (_, indent: string, name: string) => `${indent}"${blanks(name)}": {`)
      .replace(/^( +"symlink": ")(.*)("(,?))$/, (_, head, target, tail) => head + blanks(target) + tail)
      .replace(/^ +"xattrs": .*/, (list) =>
        list.replace(/("value":")((?:[^"\\]|\\.)*)"/g, (_, head, value) => `${head}${blanks(value)}"`),
      );
  });
  return Buffer.from(escaped.join("\n"), "latin1");
}

function blanks(text: string): string {
  return text.replaceAll(" ", "%20");
}

/** What the reference's file says once it is decompressed, made by the current version, and without its faults. */
function expectedDump(reference: string): Buffer {
  let bytes: Buffer = readFileSync(fixture(reference));
  if (reference.endsWith(".gz")) bytes = gunzipSync(bytes);
  if (reference.endsWith(".zstd")) bytes = zstdDecompressSync(bytes);
  if (reference.startsWith("legacy/legacy-")) bytes = asByCurrentVersion(bytes);
  return withPermittedDifferences(bytes, PERMITTED_DIFFERENCES[reference] ?? []);
}

/** META-URL of the source, restored or copied. */
async function openSource(source: string): Promise<string> {
  if (!source.endsWith(".jsonl")) return copySqliteFixture(source).url;
  await restoreRedisJsonl(redis!.url(), fixture(source));
  return redis!.url();
}

describe("a dump has the bytes of the reference's", () => {
  for (const [source, reference, options] of DUMPS) {
    const skipped = source.endsWith(".jsonl") && redis === undefined;
    test.skipIf(skipped)(`${reference} of ${source}`, async () => {
      const url = await openSource(source);
      const { bytes } = await dumpVolume(url, options);
      expectSameBytes(bytes, expectedDump(reference));
    });
  }

  test.skipIf(redis === undefined)("in a stream: golden/dumps/golden.stdout.json", async () => {
    const source = await openSource("golden/engines/golden.redis.jsonl");
    const stream = new PassThrough();
    const [bytes] = await Promise.all([
      buffer(stream),
      dump({ source, target: { stream } }, createContext({ env: {} })).then(() => stream.end()),
    ]);
    expectSameBytes(bytes, expectedDump("golden/dumps/golden.stdout.json"));
  });

  test.each([
    ["dump.json.gz", gunzipSync],
    ["dump.json.zstd", zstdDecompressSync],
  ] as const)("in a file named %s once it is decompressed", async (name, decompress) => {
    const { bytes } = await dumpVolume(await openSource("golden/native/natsqlite.sqlite.db"), KEEP, name);
    expectSameBytes(decompress(bytes), expectedDump("golden/native/natsqlite.keep.json"));
  });

  test("with a ceiling of memory so low that everything is spilled", async () => {
    const source = await openSource("golden/native/natsqlite.sqlite.db");
    const stream = new PassThrough();
    const context = createContext({ env: {}, memory: { maxBytes: 1024 * 1024, tmpDir: join(source.slice(10), "..") } });
    const request = { source, target: { stream }, keepSecretKey: true };
    const [bytes] = await Promise.all([buffer(stream), dump(request, context).then(() => stream.end())]);
    expectSameBytes(bytes, expectedDump("golden/native/natsqlite.keep.json"));
  });

  test("of a copy of the reference's own load of it, but for what that load changes", async () => {
    const { bytes } = await dumpVolume(copySqliteFixture("golden/engines/golden-json.sqlite.db").url, KEEP);
    const lines = bytes.toString("latin1").split("\n");
    const reference = readFileSync(fixture("golden/dumps/golden.keep.json"), "latin1").split("\n");
    const start = (list: string[]) => list.indexOf('  "FSTree": {');
    const differing = lines.slice(start(lines)).filter((line, i) => line !== reference[start(reference) + i]);
    const inodes = differing.map((line) => /"inode":(\d+)/.exec(line)?.[1]);
    // Listed in test/fixtures/golden/README.md: link counts of a cloned hard-linked symlink, a time after 2262.
    expect(inodes).toEqual(["1369", "1377", "1243"]);
  });
});

test("every reference dump in the fixtures is compared with", () => {
  const folders = ["golden/dumps", "golden/native", "golden/changelog", "encrypted", "legacy"];
  const all = folders.flatMap((folder) => readdirSync(fixture(folder)).map((name) => `${folder}/${name}`));
  const dumps = all.filter((name) => /\.json(\.gz|\.zstd)?$/.test(name) && !/expected|status/.test(name));
  const compared = new Set([...DUMPS.map(([, reference]) => reference), "golden/dumps/golden.stdout.json"]);
  expect(dumps.filter((name) => !compared.has(name) && !WITHOUT_SOURCE.test(name))).toEqual([]);
  expect(Object.keys(PERMITTED_DIFFERENCES).filter((name) => !compared.has(name))).toEqual([]);
});

describe("a dump says what it could not write", () => {
  test("nothing of an ordinary volume is lost", async () => {
    for (const source of ["encrypted/plain.sqlite.db", "golden/native/natsqlite.sqlite.db"]) {
      const { report } = await dumpVolume(await openSource(source));
      expect(report.findings.filter(({ loss }) => loss)).toEqual([]);
      expect(report.consistency.pointInTime).toBe(true);
    }
  });

  test.skipIf(redis === undefined)("xattr names that are not UTF-8 are a loss", async () => {
    const { report } = await dumpVolume(await openSource("golden/native/awkward.redis.jsonl"));
    expect(report.findings.filter(({ loss }) => loss)).toMatchObject([{ kind: "xattr-name", count: 1 }]);
  });
});
