import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { cipherOf } from "../../src/base/decrypt-object.ts";
import { Encryptor } from "../../src/base/encrypt-object.ts";
import { DataError, EngineError } from "../../src/base/errors.ts";
import { parsePrivateKey } from "../../src/base/private-key.ts";
import { isIncomplete } from "../../src/cli/report-json.ts";
import { decodeBinaryDump } from "../../src/formats/binary/decode.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { verify } from "../../src/operations/verify.ts";
import { TRASH_INODE } from "../../src/volume/inode.ts";
import { type FlatKind, packBatch, type RecordTypes } from "../../src/volume/records.ts";
import { parseSetting } from "../../src/volume/setting.ts";
import { assembleDump, decodeAll, encodeAll, segmentBytes, splitSegments } from "../support/binary-segments.ts";
import { collectRecords } from "../support/collect-records.ts";
import { readRedisJsonl, restoreRedisJsonl } from "../support/redis-fixture.ts";
import { startRedis } from "../support/redis-server.ts";
import { recordTexts } from "../support/reference-binary-dump.ts";
import { fixture } from "../support/repository.ts";
import { requireRedisServer } from "../support/require-server.ts";
import { type DumpOptions, dumpVolume, loadVolumeFile, newSqliteTarget } from "../support/run-operations.ts";
import { copySqliteFixture } from "../support/sqlite-fixture.ts";
import { query } from "../support/sqlite-tables.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { pieces, streamOf } from "../support/volume-streams.ts";

/** What the reference does wrong with binary dumps, item by item of docs/spec/binary-dump.md §9, and decant does not. */

const redis = (await requireRedisServer()) ? await startRedis() : undefined;
const NATIVE = "golden/native/natsqlite.sqlite.db";
const BASE = readFileSync(fixture("malformed/base.bin"));
const PASSPHRASE = readFileSync(fixture("encrypted/passphrase.txt"), "utf8").trim();

async function binaryDump(url: string, options: DumpOptions = {}) {
  return dumpVolume(url, { format: "binary", keepSecretKey: true, ...options }, "dump.bin");
}

function written(bytes: Buffer, name: string = "made.bin"): string {
  const file = join(temporaryDirectory(), name);
  writeFileSync(file, bytes);
  return file;
}

async function recordsOf(bytes: Buffer): Promise<Map<FlatKind, RecordTypes[FlatKind][]>> {
  return collectRecords(streamOf((await decodeAll(bytes)).batches));
}

/** base.bin with more records of one kind. */
async function withMore<K extends FlatKind>(kind: K, records: RecordTypes[K][], options = {}): Promise<Buffer> {
  const { batches } = await decodeAll(BASE);
  return encodeAll([...batches, packBatch(kind, records)], options);
}

async function emptyRedis(): Promise<string> {
  const client = redis!.client();
  await client.flushall();
  client.disconnect();
  return redis!.url(1);
}

describe("1: names of extended attributes that are not UTF-8", () => {
  test.skipIf(redis === undefined)("are reported and left out, or written when asked to, and read back", async () => {
    await emptyRedis();
    await restoreRedisJsonl(redis!.url(0), fixture("golden/native/awkward.redis.jsonl"));
    const plain = await binaryDump(redis!.url(0));
    const loss = plain.report.findings.find(({ kind }) => kind === "xattr-left-out");
    expect(loss).toMatchObject({ loss: true, examples: [expect.stringMatching(/^inode \d+, /)] });
    expect(isIncomplete(plain.report)).toBe(true);
    const raw = await binaryDump(redis!.url(0), { rawXattrNames: true });
    expect(raw.report.findings.filter(({ kind }) => kind === "xattr-left-out")).toEqual([]);
    const [few, all] = [await recordsOf(plain.bytes), await recordsOf(raw.bytes)];
    expect(all.get("xattr")!.length - few.get("xattr")!.length).toBe(loss!.count);
    expect(plain.report.counts.xattr).toBe(few.get("xattr")!.length);
    const copy = redis!.url(1);
    await loadVolumeFile(copy, written(raw.bytes));
    const again = await recordsOf((await binaryDump(copy, { rawXattrNames: true })).bytes);
    expect(recordTexts(again.get("xattr")!)).toEqual(recordTexts(all.get("xattr")!));
  });
});

test.skipIf(redis === undefined)("2: targets of symbolic links keep their percent signs", async () => {
  await emptyRedis();
  await restoreRedisJsonl(redis!.url(0), fixture("golden/engines/golden.redis.jsonl"));
  const records = await recordsOf((await binaryDump(redis!.url(0))).bytes);
  const targets = (records.get("symlink") as RecordTypes["symlink"][]).map(({ target }) => target.toString("latin1"));
  expect(targets.filter((target) => target === "100%25-%41-%zz-%")).toHaveLength(2);
});

test("3: a dump is read from a pipe, in pieces of any size", async () => {
  const dump = readFileSync(fixture("golden/native/natsqlite.keep.bin"));
  const [fromPipe, fromFile] = [newSqliteTarget(), newSqliteTarget()];
  const stream = Readable.from(pieces(dump, 999));
  await load({ target: fromPipe.url, source: { stream } }, createContext({ env: {} }));
  await loadVolumeFile(fromFile.url, fixture("golden/native/natsqlite.keep.bin"));
  expect((await binaryDump(fromPipe.url)).bytes.equals((await binaryDump(fromFile.url)).bytes)).toBe(true);
});

test("4: an extended attribute with an empty value is stored as such, with all the others", async () => {
  const names = ["user.one", "user.two"].map((name) => Buffer.from(name));
  const dump = await withMore("xattr", [
    { inode: 2n, name: names[0]!, value: Buffer.alloc(0) },
    { inode: 3n, name: names[1]!, value: Buffer.from("after it") },
  ]);
  const target = newSqliteTarget();
  await loadVolumeFile(target.url, written(dump));
  const rows = query(target.path, "SELECT concat_ws(' ', name, typeof(value), length(value)) FROM jfs_xattr");
  expect(rows).toEqual(expect.arrayContaining(["user.one blob 0", "user.two blob 8"]));
  const again = await recordsOf((await binaryDump(target.url)).bytes);
  expect(recordTexts(again.get("xattr")!)).toEqual(recordTexts((await recordsOf(dump)).get("xattr")!));
});

/** base.bin with its node segments once more at the end, the mode of the last node changed. */
function nodesTwice(): Buffer {
  const { segments } = splitSegments(BASE);
  const nodes = segments.filter(({ type }) => type === 3).map(({ type, body }) => ({ type, body: Buffer.from(body) }));
  // The attribute record of 72 bytes ends the segment: flags, then type and mode.
  const last = nodes.at(-1)!.body;
  last[last.length - 72 + 2]! ^= 1;
  return assembleDump([...segments, ...nodes]);
}

test("5: an error in the last segment fails the load", async () => {
  const target = newSqliteTarget();
  await expect(loadVolumeFile(target.url, written(nodesTwice()))).rejects.toBeInstanceOf(Error);
  expect(existsSync(target.path)).toBe(false);
});

test("6: an error names its first cause", async () => {
  const error: unknown = await loadVolumeFile(newSqliteTarget().url, written(nodesTwice())).catch((thrown) => thrown);
  expect(error instanceof DataError || error instanceof EngineError).toBe(true);
  expect((error as Error).message).toMatch(/attribute record of inode \d+ twice/);
  expect((error as Error).message).not.toMatch(/cancel/);
});

describe("7: the footer", () => {
  const { segments } = splitSegments(BASE);

  test("is read first: a dump that is cut off is refused before the target is looked at", async () => {
    const url = "redis://127.0.0.1:1/0"; // nobody listens there
    const loading = loadVolumeFile(url, written(BASE.subarray(0, -20)));
    await expect(loading).rejects.toMatchObject({ code: "DECANT_E_BINARY_FOOTER" });
  });

  test.each(segments.filter(({ body }) => body.length > 0).map(({ type }) => type))(
    "is compared with the number of records in segments of type %s",
    async (type) => {
      const without = segments.filter((segment) => segment.type !== type);
      const footer = BASE.subarray(BASE.length - splitSegments(BASE).footer.length - 4);
      const bytes = Buffer.concat([...without.map((segment) => segmentBytes(segment.type, segment.body)), footer]);
      await expect(decodeAll(bytes)).rejects.toMatchObject({ code: "DECANT_E_BINARY_FOOTER" });
    },
  );

  test("is compared with the places of the segments", async () => {
    const moved = Buffer.concat([
      ...segments.toReversed().map((segment) => segmentBytes(segment.type, segment.body)),
      BASE.subarray(BASE.length - splitSegments(BASE).footer.length - 4),
    ]);
    await expect(decodeAll(moved)).rejects.toThrow(/segments at other places/);
    const reversed = assembleDump(segments.toReversed());
    expect((await decodeAll(reversed)).batches.length).toBe((await decodeAll(BASE)).batches.length);
  });
});

describe("8: announced lengths", () => {
  const never = async (bytes: Buffer): Promise<void> => {
    const signal = new AbortController().signal;
    const reading = decodeBinaryDump(pieces(bytes, 1000), { signal, onNote: () => undefined });
    for await (const _ of reading);
  };

  test("take no memory before bytes have come", async () => {
    const header = segmentBytes(3, Buffer.alloc(0));
    header.writeBigUInt64BE(1n << 50n, 4);
    const begun = Buffer.concat([segmentBytes(1, splitSegments(BASE).segments[0]!.body), header]);
    await expect(never(begun)).rejects.toMatchObject({ code: "DECANT_E_BINARY_TRUNCATED" });
    const largeRecord = Buffer.concat([begun, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x07]), BASE.subarray(0, 99)]);
    await expect(never(largeRecord)).rejects.toThrow(/a record says that it has \d+ bytes, more than/);
    const farRecord = assembleDump([{ type: 3, body: Buffer.from([0x0a, 0x7f, 0x08, 0x01]) }]);
    await expect(never(farRecord)).rejects.toThrow(/ends behind the end of its segment/);
  });

  test("of fields end within their record", async () => {
    const body = Buffer.from([0x0a, 0x04, 0x08, 0x01, 0x12, 0x48]);
    await expect(never(assembleDump([{ type: 3, body }]))).rejects.toThrow(/behind the end of its record/);
  });
});

test("9: a load that fails leaves the target as it was", async () => {
  const target = newSqliteTarget();
  const dump = assembleDump([
    ...splitSegments(BASE).segments,
    { type: 4, body: Buffer.from([0x12, 0x02, 0x08, 0x01]) },
  ]);
  await expect(loadVolumeFile(target.url, written(dump))).rejects.toBeInstanceOf(DataError);
  expect(readdirSync(dirname(target.path))).toEqual([]);
  if (redis === undefined) return;
  const url = await emptyRedis();
  await expect(loadVolumeFile(url, written(dump))).rejects.toBeInstanceOf(DataError);
  expect(await readRedisJsonl(url)).toEqual([]);
});

describe("10: compressed and encrypted dumps", () => {
  const keyFile = fixture("encrypted/key-traditional-encrypted.pem");
  const forms: readonly (readonly [name: string, encrypted: boolean, make: (bytes: Buffer) => Buffer])[] = [
    ["made.bin.gz", false, gzipSync],
    ["made.bin.zst", false, zstdCompressSync],
    ["made.bin", true, (bytes) => bytes],
    ["made", true, gzipSync],
  ];

  test.each(forms)("are loaded in one step, without a plain copy: %s", async (name, encrypted, make) => {
    const env = { JFS_RSA_PASSPHRASE: PASSPHRASE };
    const key = parsePrivateKey(readFileSync(keyFile, "utf8"), env, keyFile);
    const encryptor = new Encryptor(key, cipherOf("aes256gcm-rsa"));
    const stored = encrypted ? Buffer.concat([encryptor.update(make(BASE)), encryptor.end()]) : make(BASE);
    const file = written(stored, name);
    const target = newSqliteTarget();
    const decryption = { decryption: { keyFile, algorithm: "aes256gcm-rsa" } };
    await loadVolumeFile(target.url, file, { ...(encrypted ? decryption : {}), env });
    expect(readdirSync(dirname(file))).toEqual([name]);
    const plain = newSqliteTarget();
    await loadVolumeFile(plain.url, written(BASE));
    expect((await binaryDump(target.url)).bytes.equals((await binaryDump(plain.url)).bytes)).toBe(true);
  });
});

test("11: the encryption key stays in a dump from which the other secrets are removed", async () => {
  const source = copySqliteFixture("encrypted/encaes.sqlite.db");
  const { bytes } = await binaryDump(source.url, { keepSecretKey: false });
  const stored = parseSetting(Buffer.from(query(source.path, "SELECT value FROM jfs_setting")[0]!));
  const [setting] = (await recordsOf(bytes)).get("setting") as RecordTypes["setting"][];
  const dumped = parseSetting(setting!.json);
  expect(dumped.secretKey).toBe("removed");
  expect(dumped.encryptKey).toBe(stored.encryptKey);
  expect(dumped.encryptKey).toMatch(/.{1000}/s);
});

test("12: open files that were deleted stay in the volume, and in its next dump", async () => {
  const target = newSqliteTarget();
  const dump = readFileSync(fixture("golden/native/natsqlite.keep.bin"));
  await loadVolumeFile(target.url, fixture("golden/native/natsqlite.keep.bin"));
  const [before, after] = [await recordsOf(dump), await recordsOf((await binaryDump(target.url)).bytes)];
  expect(recordTexts(after.get("sustained")!)).toEqual(recordTexts(before.get("sustained")!));
  expect(before.get("sustained")).toHaveLength(1);
});

test("13: holes are not counted as references to a slice", async () => {
  const target = newSqliteTarget();
  await loadVolumeFile(target.url, fixture("golden/dumps/golden.keep.bin"));
  expect(query(target.path, "SELECT count(*) FROM jfs_chunk_ref WHERE chunkid = 0")).toEqual(["0"]);
  expect(query(target.path, "SELECT count(*) FROM jfs_chunk WHERE instr(slices, zeroblob(12)) > 0")).not.toEqual(["0"]);
});

test("14: records that do not fit each other are kept and reported, a sound volume has nothing to report", async () => {
  const sound = newSqliteTarget();
  const { findings } = await loadVolumeFile(sound.url, fixture("golden/dumps/golden.keep.bin"));
  expect(findings).toEqual([]);
  const quota = { key: 77n, maxSpace: 1n, maxInodes: -1n, usedSpace: 0n, usedInodes: 0n };
  const edges = [
    { parent: 55n, inode: 4n, type: 1, name: Buffer.from("in nothing") },
    { parent: 1n, inode: 66n, type: 1, name: Buffer.from("of nothing") },
  ];
  const { batches } = await decodeAll(BASE);
  const dump = await encodeAll([...batches, packBatch("quota", [quota]), packBatch("edge", edges)]);
  const report = await loadVolumeFile(newSqliteTarget().url, written(dump));
  expect(report.findings.map(({ kind, examples }) => [kind, ...examples]).sort()).toEqual([
    ["entry-without-node", "inode 66"],
    ["entry-without-parent", "inode 55"],
    ["link-count-too-low", "inode 4"],
    ["quota-of-nothing", "inode 77"],
  ]);
  expect(isIncomplete(report)).toBe(true);
});

test("15: the same volume gives the same bytes, however it is stored and however little memory there is", async () => {
  const source = copySqliteFixture(NATIVE);
  const first = (await binaryDump(source.url)).bytes;
  expect((await binaryDump(source.url)).bytes.equals(first)).toBe(true);
  const copy = newSqliteTarget();
  await loadVolumeFile(copy.url, fixture("golden/native/natsqlite.keep.bin"));
  expect((await binaryDump(copy.url)).bytes.equals(first)).toBe(true);
  const types = splitSegments(first).segments.map(({ type }) => type);
  expect(types).toEqual([...types].sort((a, b) => a - b));
});

/** Beyond the list: a number that is in use is never given out again. */
test("counters below the numbers in use are raised when a dump is loaded", async () => {
  const { batches } = await decodeAll(BASE);
  const low = packBatch("counter", [
    { name: "nextInode", value: 3n },
    { name: "nextChunk", value: 1n },
    { name: "usedSpace", value: 12345n },
  ]);
  const dump = await encodeAll([...batches.filter(({ kind }) => kind !== "counter"), low]);
  const target = newSqliteTarget();
  const { findings } = await loadVolumeFile(target.url, written(dump));
  expect(findings.map(({ kind, count }) => [kind, count])).toEqual([["counter-raised", 3]]);
  const counters = new Map(
    ((await recordsOf((await binaryDump(target.url)).bytes)).get("counter") as RecordTypes["counter"][]).map(
      (record) => [record.name, record.value],
    ),
  );
  const records = await recordsOf(BASE);
  const inodes = (records.get("node") as RecordTypes["node"][]).map(({ inode }) => inode).filter((n) => n < 1n << 50n);
  const [largest] = inodes.sort((a, b) => (a < b ? 1 : -1));
  expect(counters.get("nextInode")).toBe(largest! + 1n);
  expect(counters.get("usedSpace")).toBe(12345n);
});

/** All records of a volume but its trash root, which a load of a JSON dump makes anew. */
async function partOf(url: string): Promise<Map<FlatKind, string[]>> {
  const records = await recordsOf((await binaryDump(url)).bytes);
  return new Map(
    [...records].map(([kind, list]) => [
      kind,
      recordTexts(list).filter((text) => !text.includes(`inode=${TRASH_INODE}`)),
    ]),
  );
}

describe("a part of a volume", () => {
  const PARTS: readonly (readonly [name: string, options: DumpOptions])[] = [
    ["--subdir", { subdir: "/docs" }],
    ["--skip-trash", { skipTrash: true }],
  ];

  test.each(PARTS)("%s is the volume that a JSON dump of it becomes", async (_, options) => {
    const source = newSqliteTarget();
    await loadVolumeFile(source.url, fixture("golden/dumps/golden.keep.bin"));
    const binary = await binaryDump(source.url, options);
    expect((await binaryDump(source.url, options)).bytes.equals(binary.bytes)).toBe(true);
    const json = await dumpVolume(source.url, { keepSecretKey: true, ...options });
    const [fromBinary, fromJson] = [newSqliteTarget(), newSqliteTarget()];
    await loadVolumeFile(fromBinary.url, written(binary.bytes));
    await loadVolumeFile(fromJson.url, written(json.bytes, "part.json"));
    const [got, wanted] = [await partOf(fromBinary.url), await partOf(fromJson.url)];
    // Of directories outside of the part: a JSON dump names them, and its load keeps them as the reference does.
    wanted.delete("quota");
    for (const [kind, texts] of wanted) expect([kind, got.get(kind)]).toEqual([kind, texts]);
  });

  test("a part has the quotas of its own directories only, and verifies", async () => {
    const source = newSqliteTarget();
    await loadVolumeFile(source.url, fixture("golden/dumps/golden.keep.bin"));
    const quotas = async (options: DumpOptions) => {
      const file = written((await binaryDump(source.url, options)).bytes);
      expect((await verify({ source: { file } }, createContext({}))).ok).toBe(true);
      const target = newSqliteTarget();
      await loadVolumeFile(target.url, file);
      return ((await partOf(target.url)).get("quota") ?? []).length;
    };
    expect(await quotas({ skipTrash: true })).toBe(2);
    expect(await quotas({ subdir: "/docs" })).toBe(0);
    expect(await quotas({ subdir: "/quota/dirA" })).toBe(0);
    expect(await quotas({ subdir: "/quota" })).toBe(2);
  });
});
