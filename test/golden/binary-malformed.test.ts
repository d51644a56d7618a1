import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { ExitCode, exitCodeOf } from "../../src/cli/exit-code.ts";
import { assembleDump, splitSegments } from "../support/binary-segments.ts";
import { readRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const redis = (await requireRedisServer()) ? await startRedis() : undefined;

/** Refused, all as bad data (exit code 6), with these words. */
const REFUSED: Readonly<Record<string, readonly [code: string, words: string]>> = {
  "b01-empty.bin": ["DECANT_E_BINARY_FORMAT", "the input is empty"],
  "b02-json-as-bin.bin": ["DECANT_E_BINARY_FORMAT", 'it begins with "{\\n  \\"Setting" instead of a segment'],
  "b05-trunc-8.bin": ["DECANT_E_BINARY_FOOTER", "the whole file has 8 bytes"],
  "b06-trunc-mid.bin": ["DECANT_E_BINARY_FOOTER", "it is cut off"],
  "b07-trunc-before-footer.bin": ["DECANT_E_BINARY_FOOTER", "it is cut off"],
  "b08-trunc-in-footer.bin": ["DECANT_E_BINARY_FOOTER", "it is cut off"],
  "b09-trunc-footer-len.bin": ["DECANT_E_BINARY_FOOTER", "it is cut off"],
  "b10-wrong-magic.bin": ["DECANT_E_BINARY_FOOTER", "invalid magic number 7630980, expect 7630979"],
  "b11-version-2.bin": ["DECANT_E_BINARY_VERSION", "version 2 of the format"],
  "b12-footer-len-huge.bin": ["DECANT_E_BINARY_FOOTER", "say 9187201950435737471"],
  "b13-footer-len-zero.bin": ["DECANT_E_BINARY_FOOTER", "no end mark stands before the footer"],
  "b14-unknown-segment.bin": ["DECANT_E_BINARY_SEGMENT", "a segment of type 200, which is not known, at offset 1690"],
  "b15-unknown-segment-first.bin": ["DECANT_E_BINARY_FORMAT", "it begins with bytes 000000c8"],
  "b16-seg-len-huge.bin": ["DECANT_E_BINARY_TRUNCATED", "1125899906842624 bytes, more than the whole dump"],
  "b17-seg-len-zero.bin": ["DECANT_E_BINARY_SEGMENT", "a format segment without a setting, at offset 0"],
  "b18-no-format.bin": ["DECANT_E_BINARY_FOOTER", "it lists 1 records of format, but there are 0"],
  "b20-no-eos.bin": ["DECANT_E_BINARY_FOOTER", "no end mark stands before the footer"],
  "b21-trailing.bin": ["DECANT_E_BINARY_FOOTER", "something follows its end"],
  "b22-twice.bin": ["DECANT_E_BINARY_FOOTER", "something follows it"],
  "b23-edge-missing-inode.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b24-cycle.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b25-name-slash.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b26-name-empty.bin": ["DECANT_E_BINARY_RECORD", "an entry has no name"],
  "b27-dup-name.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b28-edge-missing-parent.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b29-edge-type-9.bin": ["DECANT_E_BINARY_FOOTER", "it lists 8 records of edge, but there are 9"],
  "b30-short-attr.bin": ["DECANT_E_BINARY_RECORD", "an attribute record has 3 bytes"],
  "b31-long-attr.bin": ["DECANT_E_BINARY_FOOTER", "it lists 9 records of node, but there are 10"],
  "b32-bad-protobuf.bin": ["DECANT_E_BINARY_RECORD", "a number has more than 64 bits"],
  "b33-chunk-odd.bin": ["DECANT_E_BINARY_RECORD", "have 25 bytes, which is no multiple of 24"],
};

/** Loaded all the same, with these findings: `kind count`, with a `!` for a loss. */
const ACCEPTED: Readonly<Record<string, readonly string[]>> = {
  "b03-bin-as-json.json": [],
  "b04-gzipped.bin": [],
  "b19-bit-flips.bin": ["impossible-time 1!"],
};

/** The same files with a footer that fits their content: what is wrong with the records themselves. */
const WITH_FITTING_FOOTER: Readonly<Record<string, readonly string[]>> = {
  "b23-edge-missing-inode.bin": ["entry-without-node 1!"],
  "b24-cycle.bin": ["directory-named-twice 1!"],
  "b25-name-slash.bin": ["directory-named-twice 1!", "entry-name 1!"],
  "b28-edge-missing-parent.bin": ["directory-named-twice 1!", "entry-without-parent 1!"],
  "b29-edge-type-9.bin": ["directory-named-twice 1!", "entry-type 1!"],
  "b31-long-attr.bin": ["attribute-size 1!", "counter-raised 1", "node-without-name 1"],
};

const ENGINES: readonly [
  name: string,
  skipped: boolean,
  open: () => Promise<{ url: string; left: () => Promise<unknown> }>,
][] = [
  [
    "SQLite",
    false,
    async () => {
      const { path, url } = newSqliteTarget();
      return { url, left: async () => existsSync(path) };
    },
  ],
  [
    "Redis",
    redis === undefined,
    async () => {
      const client = redis!.client();
      await client.flushall();
      client.disconnect();
      return { url: redis!.url(1), left: async () => readRedisJsonl(redis!.url(1)) };
    },
  ],
];

async function binaryDump(url: string): Promise<Buffer> {
  return (await dumpVolume(url, { format: "binary", keepSecretKey: true }, "dump.bin")).bytes;
}

describe.each(ENGINES)("loading a binary dump into %s", (_, skipped, open) => {
  test.skipIf(skipped).each(Object.entries(REFUSED))(
    "refuses %s and leaves nothing behind",
    async (file, [code, words]) => {
      const target = await open();
      const before = await target.left();
      const loading = loadVolumeFile(target.url, fixture(`malformed/${file}`), { format: "binary" });
      const error: unknown = await loading.catch((thrown) => thrown);
      expect(error).toBeInstanceOf(DataError);
      expect([(error as DataError).code, (error as DataError).message]).toEqual([code, expect.stringContaining(words)]);
      expect((error as DataError).hint).toMatch(/^[A-Z"].{15,}/s);
      expect(exitCodeOf(error, new AbortController().signal)).toBe(ExitCode.badData);
      expect(await target.left()).toEqual(before);
      // ... so that a good dump can be loaded into the same target now
      await loadVolumeFile(target.url, fixture("malformed/base.bin"));
    },
  );

  test.skipIf(skipped).each(Object.entries(ACCEPTED))("accepts %s", async (file, findings) => {
    const target = await open();
    const report = await loadVolumeFile(target.url, fixture(`malformed/${file}`));
    expect(report.findings.map(({ kind, count, loss }) => `${kind} ${count}${loss ? "!" : ""}`)).toEqual(findings);
    const dumped = await binaryDump(target.url);
    if (findings.length > 0) return;
    const base = await open();
    await loadVolumeFile(base.url, fixture("malformed/base.bin"));
    expect(dumped.equals(await binaryDump(base.url))).toBe(true);
  });

  test.skipIf(skipped).each(Object.entries(WITH_FITTING_FOOTER))("says what is wrong in %s", async (file, findings) => {
    const broken = readFileSync(fixture(`malformed/${file}`));
    const good = join(temporaryDirectory(), "fitting.bin");
    writeFileSync(good, assembleDump(splitSegments(broken).segments));
    const target = await open();
    const report = await loadVolumeFile(target.url, good);
    const found = report.findings.map(({ kind, count, loss }) => `${kind} ${count}${loss ? "!" : ""}`);
    expect(found.sort()).toEqual(findings);
    for (const finding of report.findings) expect(finding.examples).toHaveLength(1);
  });

  test.skipIf(skipped)("refuses two entries of one name in a directory and leaves nothing behind", async () => {
    const file = join(temporaryDirectory(), "twice.bin");
    writeFileSync(file, assembleDump(splitSegments(readFileSync(fixture("malformed/b27-dup-name.bin"))).segments));
    const target = await open();
    const before = await target.left();
    const error: unknown = await loadVolumeFile(target.url, file).catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: "DECANT_E_DUPLICATE",
      message: "The dump has the entry d1 of directory 1 twice",
    });
    expect(exitCodeOf(error, new AbortController().signal)).toBe(ExitCode.badData);
    expect(await target.left()).toEqual(before);
  });

  test.skipIf(skipped)("never takes a dump that is cut off for a whole one", async () => {
    const bytes = readFileSync(fixture("malformed/base.bin"));
    const file = join(temporaryDirectory(), "cut.bin");
    const target = await open();
    const before = await target.left();
    for (let size = 0; size < bytes.length; size += 37) {
      writeFileSync(file, bytes.subarray(0, size));
      const loading = loadVolumeFile(target.url, file, { format: "binary" });
      await expect(loading, `cut at ${size}`).rejects.toBeInstanceOf(DataError);
      expect(await target.left(), `cut at ${size}`).toEqual(before);
    }
  });
});

test("every malformed binary dump of the fixtures is tried", () => {
  const files = readdirSync(fixture("malformed")).filter((name) => /^b\d\d/.test(name));
  expect(files.sort()).toEqual([...Object.keys(REFUSED), ...Object.keys(ACCEPTED)].sort());
});
