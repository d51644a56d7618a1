import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { DataError } from "../../src/base/errors.ts";
import { ExitCode, exitCodeOf } from "../../src/cli/exit-code.ts";
import { readRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const redis = (await requireRedisServer()) ? await startRedis() : undefined;

/** Refused, all as bad data (exit code 6). The unit tests of the decoder have the sentences. */
const REFUSED: Readonly<Record<string, string>> = {
  "j01-empty.json": "DECANT_E_JSON_FORMAT",
  "j02-html.json": "DECANT_E_JSON_FORMAT",
  "j03-null.json": "DECANT_E_JSON_FORMAT",
  "j04-empty-object.json": "DECANT_E_JSON_MISSING",
  "j05-array.json": "DECANT_E_JSON_FORMAT",
  "j06-trunc-setting.json": "DECANT_E_JSON_TRUNCATED",
  "j07-trunc-before-tree.json": "DECANT_E_JSON_TRUNCATED",
  "j08-trunc-tree.json": "DECANT_E_JSON_TRUNCATED",
  "j09-trunc-last-brace.json": "DECANT_E_JSON_TRUNCATED",
  "j10-trailing-garbage.json": "DECANT_E_JSON_SYNTAX",
  "j11-two-documents.json": "DECANT_E_JSON_SYNTAX",
  "j13-utf16.json": "DECANT_E_JSON_FORMAT",
  "j15-bad-escape.json": "DECANT_E_JSON_STRING",
  "j16-lone-surrogate.json": "DECANT_E_JSON_STRING",
  "j17-bad-utf8.json": "DECANT_E_JSON_STRING",
  "j19-trunc.json.gz": "DECANT_E_COMPRESSION",
  "j20-crc.json.gz": "DECANT_E_COMPRESSION",
  "j24-no-setting.json": "DECANT_E_JSON_MISSING",
  "j25-no-counters.json": "DECANT_E_JSON_MISSING",
  "j26-no-fstree.json": "DECANT_E_JSON_MISSING",
  "j29-wrong-inode-type.json": "DECANT_E_JSON_NUMBER",
  "j30-entries-is-list.json": "DECANT_E_JSON_ENTRY",
  "j31-no-attr.json": "DECANT_E_JSON_ENTRY",
  "j32-unknown-type.json": "DECANT_E_JSON_ENTRY",
  "j33-type-missing.json": "DECANT_E_JSON_ENTRY",
  "j34-negative-length.json": "DECANT_E_JSON_NUMBER",
  "j35-negative-nlink-uid.json": "DECANT_E_JSON_NUMBER",
  "j37-length-2p63.json": "DECANT_E_JSON_NUMBER",
  "j38-length-2p64.json": "DECANT_E_JSON_NUMBER",
  "j39-length-float.json": "DECANT_E_JSON_NUMBER",
  "j41-inode-zero.json": "DECANT_E_JSON_NUMBER",
  "j42-counter-huge.json": "DECANT_E_JSON_NUMBER",
  "j46-inode-two-types.json": "DECANT_E_TREE",
  "j48-cycle-root.json": "DECANT_E_JSON_INODE",
  "j50-root-is-file.json": "DECANT_E_JSON_INODE",
  "j52-name-slash.json": "DECANT_E_JSON_NAME",
  "j53-name-empty.json": "DECANT_E_JSON_NAME",
  "j54-name-dot.json": "DECANT_E_JSON_NAME",
  "j55-name-dotdot.json": "DECANT_E_JSON_NAME",
  "j56-name-300.json": "DECANT_E_JSON_NAME",
  "j57-name-nul.json": "DECANT_E_JSON_NAME",
  "j59-dup-name.json": "DECANT_E_JSON_NAME",
  "j60-slice-odd.json": "DECANT_E_JSON_NUMBER",
  "j62-xattr-odd.json": "DECANT_E_JSON_ENTRY",
  "j66-sustained-missing.json": "DECANT_E_JSON_NUMBER",
  "j67-quota-odd.json": "DECANT_E_JSON_NUMBER",
  "j68-setting-wrong-types.json": "DECANT_E_SETTING",
  "j69-setting-meta-version.json": "DECANT_E_CLIENT_VERSION",
  "j70-setting-no-uuid.json": "DECANT_E_NO_SETTING",
  "j71-time-odd.json": "DECANT_E_JSON_NUMBER",
  "j72-slice-odd2.json": "DECANT_E_JSON_SLICE",
  "j75-xattr-odd2.json": "DECANT_E_JSON_ENTRY",
};

interface Accepted {
  /** `kind count`, with a `!` for a loss. */
  readonly findings: readonly string[];
  /** Edits that make the expected dump from that of base.json; undefined where it is compared otherwise. */
  readonly edits?: readonly (readonly [text: string | RegExp, replacement: string])[];
}

const A_TXT = '          "a.txt": {';
const A_TXT_XATTRS = '            "xattrs": [{"name":"user.a","value":"1"}],\n';
const A_TXT_ATTR =
  '            "attr": {"inode":4,"type":"regular","mode":420,"uid":0,"gid":0,"atime":1795416199,"mtime":1795416199,"ctime":1795416199,"atimensec":616794647,"mtimensec":635807988,"ctimensec":637813957,"nlink":1,"length":5},\n';
const A_TXT_CHUNKS = '            "chunks": [{"index":0,"slices":[{"id":1,"size":5,"len":5}]}]\n';
const TWO_LINKS = A_TXT_ATTR.replace('"nlink":1', '"nlink":2');
const FAR_SLICE = '{"id":1099511627776,"size":5,"len":5}';

/** Loaded all the same, and what comes out. */
const ACCEPTED: Readonly<Record<string, Accepted>> = {
  "j12-bom.json": { findings: [], edits: [] },
  "j14-raw-control.json": { findings: [], edits: [[A_TXT, '          "a%01%0A.txt": {']] },
  "j18-bad-percent.json": { findings: [], edits: [[A_TXT, '          "a%25zz%254.txt%25": {']] },
  "j21-plain-named.json.gz": { findings: [], edits: [] },
  "j22-gzip-named.json": { findings: [], edits: [] },
  "j23-not-zstd.json.zstd": { findings: [], edits: [] },
  "j27-reordered.json": { findings: [], edits: [] },
  "j28-unknown-fields.json": { findings: ["unknown-member 4"], edits: [] },
  "j36-length-2p53.json": {
    findings: [],
    edits: [
      [A_TXT_ATTR, A_TXT_ATTR.replace('"length":5', '"length":9007199254740993')],
      ['"usedSpace": 28672', '"usedSpace": 9007199254769664'],
    ],
  },
  "j40-inode-2p53.json": {
    findings: [],
    edits: [
      [A_TXT_ATTR, A_TXT_ATTR.replace('"inode":4', '"inode":9007199254740993')],
      ['"nextInodes": 1026', '"nextInodes": 9007199254740994'],
    ],
  },
  "j43-counter-small.json": {
    findings: [],
    edits: [
      ['"nextInodes": 1026', '"nextInodes": 8'],
      ['"nextChunk": 4097', '"nextChunk": 5'],
    ],
  },
  "j44-dup-file-inode-2dirs.json": {
    findings: ["link-count 1", "file-differs 1!"],
    edits: [
      [A_TXT_ATTR, TWO_LINKS],
      [
        /("d2": \{\n.*\n {8}"entries": \{\n)/,
        `$1          "a-too": {\n${TWO_LINKS}${A_TXT_XATTRS}${A_TXT_CHUNKS}          },\n`,
      ],
    ],
  },
  "j45-dup-dir-inode-2dirs.json": { findings: ["directory-repeated 1!"], edits: [] },
  "j47-cycle-self.json": { findings: ["directory-repeated 1!"], edits: [] },
  "j49-root-not-1.json": { findings: ["root-renumbered 1"], edits: [] },
  "j51-deep-5000.json": { findings: ["missing-attribute 5000", "link-count 2"] },
  "j58-name-percent-slash.json": { findings: [] },
  "j61-chunk-id-beyond.json": {
    findings: ["file-differs 1!"],
    edits: [
      ['{"id":1,"size":5,"len":5}', FAR_SLICE],
      ['{"id":3,"size":11,"len":11}', FAR_SLICE],
      ['{"id":3,"size":11,"len":11}', FAR_SLICE],
      ['"nextChunk": 4097', '"nextChunk": 1099511627777'],
    ],
  },
  "j63-symlink-no-target.json": {
    findings: ["symlink-without-target 1"],
    edits: [[/,\n *"symlink": "..\/d1\/a.txt"/, ""]],
  },
  "j64-acl-odd.json": {
    findings: [],
    edits: [
      [
        A_TXT_XATTRS,
        `${A_TXT_XATTRS}            "posix_acl_access": {"owner":77,"group":4,"other":4,"mask":6,"users":[{"id":5,"perm":6},{"id":5,"perm":1}],"groups":null},\n`,
      ],
    ],
  },
  "j65-parentless-trash.json": { findings: ["trash-renumbered 1", "link-count 2"] },
  "j73-sustained-missing2.json": {
    findings: ["sustained-dropped 1", "pending-deletion 1"],
    edits: [
      [
        '"DelFiles": []',
        '"DelFiles": [\n    {\n      "inode": 4243,\n      "length": 7,\n      "expire": 1700000000\n    }\n  ]',
      ],
      ['"nextInodes": 1026', '"nextInodes": 4244'],
    ],
  },
  "j74-quota-odd2.json": {
    findings: ["quota-without-directory 1"],
    edits: [
      [
        '"DelFiles": [],\n',
        '"DelFiles": [],\n  "Quotas": {\n    "4242": {\n      "maxSpace": -5,\n      "maxInodes": -1\n    }\n  },\n',
      ],
    ],
  },
};

const BASE = readFileSync(fixture("malformed/base.json"), "latin1").replace('"nextSession": 1', '"nextSession": 0');

/** The two targets: an address to load into, and what is there now. */
interface Target {
  readonly url: string;
  /** Everything that a load can leave behind. */
  left(): Promise<unknown>;
}

const ENGINES: readonly (readonly [name: string, skipped: boolean, open: () => Promise<Target>])[] = [
  [
    "SQLite",
    false,
    async () => {
      const { path, url } = newSqliteTarget();
      return { url, left: async () => readdirSync(dirname(path)) };
    },
  ],
  [
    "Redis",
    redis === undefined,
    async () => {
      const client = redis!.client(3);
      await client.flushall();
      await client.set("other", "of another database");
      client.disconnect();
      const left = async () => [...(await readRedisJsonl(redis!.url(1))), (await readRedisJsonl(redis!.url(3))).length];
      return { url: redis!.url(1), left };
    },
  ],
];

describe.each(ENGINES)("loading into %s", (name, skipped, open) => {
  test.skipIf(skipped).each(Object.entries(REFUSED))("refuses %s and leaves nothing behind", async (file, code) => {
    const target = await open();
    const before = await target.left();
    const error: unknown = await loadVolumeFile(target.url, fixture(`malformed/${file}`)).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).code).toBe(code);
    expect((error as DataError).hint).toMatch(/^[A-Z"].{15,}/s);
    expect(exitCodeOf(error, new AbortController().signal)).toBe(ExitCode.badData);
    expect(await target.left()).toEqual(before);
    // ... so that a good dump can be loaded into the same target now
    await loadVolumeFile(target.url, fixture("malformed/base.json"));
    expect((await dumpVolume(target.url)).bytes.toString("latin1")).toBe(BASE);
  });

  test.skipIf(skipped).each(Object.entries(ACCEPTED))("accepts %s", async (file, { findings, edits }) => {
    const target = await open();
    const report = await loadVolumeFile(target.url, fixture(`malformed/${file}`));
    expect(report.findings.map(({ kind, count, loss }) => `${kind} ${count}${loss ? "!" : ""}`)).toEqual(findings);
    const dump = (await dumpVolume(target.url)).bytes.toString("latin1");
    if (edits === undefined) return expectSpecial(file, dump);
    let expected = BASE;
    for (const [text, replacement] of edits) expected = expected.replace(text, replacement);
    expect(dump).toBe(expected);
  });

  test.skipIf(skipped)("never takes a dump that is cut off for a whole one", async () => {
    const bytes = readFileSync(fixture("malformed/base.json"));
    const file = join(temporaryDirectory(), "cut.json");
    const target = await open();
    const before = await target.left();
    const last = bytes.length - 2; // the line end behind the last brace is no part of the document
    for (let size = 0; size <= last; size += name === "SQLite" ? 71 : 29) {
      writeFileSync(file, bytes.subarray(0, size));
      await expect(loadVolumeFile(target.url, file), `cut at ${size}`).rejects.toBeInstanceOf(DataError);
      expect(await target.left(), `cut at ${size}`).toEqual(before);
    }
  });
});

/** Where more than a few words differ from base.json. */
function expectSpecial(file: string, dump: string): void {
  if (file.startsWith("j51")) {
    expect(dump.match(/"n": \{/g)?.length).toBe(5000);
    expect(dump).toContain('"usedInodes": 5007');
  } else if (file.startsWith("j58")) {
    expect(dump).toContain('          "x%252fy": {\n            "attr": {"inode":900,');
    expect(dump).toContain('"usedInodes": 8');
  } else {
    expect(dump).toContain('    "attr": {"inode":9223372032828243968,"type":"directory","mode":511,');
    expect(dump).toContain('      "2024-01-01-00": {\n        "attr": {"inode":778,');
  }
}

test("a dump that is cut off anywhere is refused", async () => {
  const bytes = readFileSync(fixture("malformed/base.json"));
  const file = join(temporaryDirectory(), "cut.json");
  const target = newSqliteTarget();
  for (let size = 0; size < bytes.length - 1; size++) {
    writeFileSync(file, bytes.subarray(0, size));
    const loading = loadVolumeFile(target.url, file, { dryRun: true });
    await expect(loading, `cut at ${size}`).rejects.toBeInstanceOf(DataError);
  }
  expect(readdirSync(dirname(target.path))).toEqual([]);
}, 400_000);

test("every malformed JSON dump of the fixtures is tried", () => {
  const files = readdirSync(fixture("malformed")).filter((name) => /^j\d\d/.test(name));
  expect(files.sort()).toEqual([...Object.keys(REFUSED), ...Object.keys(ACCEPTED)].sort());
});
