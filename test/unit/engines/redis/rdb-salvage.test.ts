import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { DataError } from "../../../../src/base/errors.ts";
import {
  listpack,
  rdbAux,
  rdbCompressed,
  rdbCounted,
  rdbDatabase,
  rdbEntry,
  rdbFile,
  rdbLength,
  rdbString,
} from "../../../support/rdb-builder.ts";
import { readContents, sourceOf } from "../../../support/rdb-contents.ts";
import { rdbEntriesOf } from "../../../support/rdb-volume.ts";
import { fixture } from "../../../support/repository.ts";
import { missingRecords, readSalvaged, type Salvaged } from "../../../support/salvaged.ts";
import { temporaryDirectory } from "../../../support/temporary-directory.ts";

const GOLDEN = fixture("golden/engines/golden.redis.jsonl");
const HEAD = [rdbAux("redis-ver", "7.2.0"), rdbAux("ctime", "1700000000"), rdbDatabase(0)];

/** The entries of the volume's keys, in the form in which small values are kept, the setting first. */
function goldenEntries(): Map<string, Buffer> {
  const keys = readFileSync(GOLDEN, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => Buffer.from(JSON.parse(line).key_b64, "base64").toString());
  const entries = rdbEntriesOf(GOLDEN, "7.2").map((entry, i): [string, Buffer] => [keys[i]!, entry]);
  return new Map(entries.sort(([a], [b]) => Number(b === "setting") - Number(a === "setting")));
}

/** Writes a file; its name is left out of messages. */
function fileOf(bytes: Buffer): string {
  const path = join(temporaryDirectory(), "dump.rdb");
  writeFileSync(path, bytes);
  return path;
}

async function salvageFile(bytes: Buffer): Promise<Salvaged> {
  const path = fileOf(bytes);
  const salvaged = await readSalvaged(`rdb://${path}`);
  return { ...salvaged, losses: salvaged.losses.map((loss) => loss.replaceAll(path, "FILE")) };
}

function volumeFile(entries: Iterable<Buffer>): Buffer {
  return rdbFile([...HEAD, ...entries], { checksum: 0n });
}

function sizes(records: Record<string, string[]>): Record<string, number> {
  return Object.fromEntries(Object.entries(records).map(([kind, lines]) => [kind, lines.length]));
}

describe("of a damaged RDB file, all is given that can be read", () => {
  let whole: Salvaged;
  let entries: Map<string, Buffer>;
  beforeAll(async () => {
    entries = goldenEntries();
    whole = await salvageFile(volumeFile(entries.values()));
    expect(whole.losses).toEqual([]);
  });

  /** What becomes of the volume when the entries of some keys are replaced. */
  async function withEntries(replaced: Record<string, Buffer>): Promise<[string[], Record<string, string[]>]> {
    const all = new Map([...entries, ...Object.entries(replaced)]);
    const salvaged = await salvageFile(volumeFile(all.values()));
    expect(missingRecords(salvaged, whole)).toEqual({});
    return [salvaged.losses, missingRecords(whole, salvaged)];
  }

  /** Where the entry of a key begins; with `inside`, its value. */
  function offsetOf(key: string, inside: boolean): number {
    const before = [...entries.keys()].slice(0, [...entries.keys()].indexOf(key));
    const start =
      9 + [...HEAD, ...before.map((name) => entries.get(name)!)].reduce((sum, part) => sum + part.length, 0);
    return inside ? start + 1 + rdbString(key).length : start;
  }

  test("a file that is cut off, up to the cut, wherever that is", async () => {
    const file = volumeFile(entries.values());
    const first = offsetOf("setting", false) + entries.get("setting")!.length;
    for (let cut = first; cut < file.length; cut += 997) {
      const { records, losses } = await salvageFile(file.subarray(0, cut));
      expect(losses).toEqual([
        expect.stringMatching(
          /^\S+( \d+)?: FILE is (cut off at|damaged at) byte \d+.*: all that stands behind it is lost$/,
        ),
      ]);
      // usage of quotas is counted anew, and no reason to leave limits out
      const others = Object.entries(missingRecords({ ...whole, records }, whole));
      for (const [kind, lines] of others)
        for (const line of lines) expect(`${kind} ${line}`).toMatch(/quota .*used\S+=0/i);
    }
    const { losses } = await salvageFile(file.subarray(0, offsetOf("d1057", true) + 100));
    const size = entries.get("d1057")!.length - 1 - rdbString("d1057").length;
    expect(losses).toEqual([
      `edge 1057: FILE is damaged at byte ${offsetOf("d1057", true)} (key d1057): a string of ${size - 2} bytes at byte ` +
        `${offsetOf("d1057", true) + 2} would reach beyond the end of the file at ${offsetOf("d1057", true) + 100}: ` +
        "all that stands behind it is lost",
    ]);
  });

  test("a value whose bytes make no sense is skipped, and what stands before that in a hash stays", async () => {
    const links = /count=(\d+) inode=1204 parent=(\d+)/.exec(whole.records.parent!.join("\n"))!;
    const [count, parent] = links.slice(1) as [string, string];
    const [losses, missing] = await withEntries({
      d1031: rdbEntry(16, "d1031", rdbString(Buffer.from("no listpack"))),
      i1050: rdbEntry(0, "i1050", rdbCompressed(Buffer.from([0xe0, 0xff, 0xff]), 72)),
      s1206: rdbEntry(0, "s1206", rdbCompressed(Buffer.from([0x20, 0x09]), 18)),
      c1193_0: rdbEntry(
        18,
        "c1193_0",
        rdbCounted(2, [
          Buffer.concat([rdbLength(2), rdbString(listpack([Buffer.alloc(24, 1)]))]),
          Buffer.concat([rdbLength(2), rdbString(Buffer.alloc(12, 1))]),
        ]),
      ),
      p1204: rdbEntry(16, "p1204", rdbString(listpack([parent, count, "1025"]))),
    });
    expect(losses.map((loss) => loss.replace(/ \(byte \d+\)$/, ""))).toEqual([
      "chunk 1193: key c1193_0: a listpack of 12 bytes says it has 16843009",
      "edge 1031: key d1031: a listpack of 11 bytes says it has 1814065006",
      "node 1050: key i1050: a compressed string cannot be decompressed",
      "parent 1204: key p1204: an entry without its value at the end",
      "symlink 1206: key s1206: a compressed string cannot be decompressed",
    ]);
    expect(sizes(missing)).toEqual({ chunk: 1, edge: 14, node: 1, parent: 2, symlink: 1 });
  });

  test("one entry of a large hash that cannot be decompressed takes no other with it", async () => {
    const entry = (inode: number): Buffer => {
      const bytes = Buffer.alloc(9, 1);
      bytes.writeBigUInt64BE(BigInt(inode), 1);
      return rdbString(bytes);
    };
    const bad = rdbCompressed(Buffer.from([0x20, 0x09]), 18);
    const fields = [rdbString("a"), entry(1), bad, entry(2), rdbString("c"), bad, rdbString("d"), entry(4)];
    const all = new Map([...entries, ["d1025", rdbEntry(4, "d1025", rdbCounted(4, fields))]]);
    const { losses, records } = await salvageFile(volumeFile(all.values() as Iterable<Buffer>));
    expect(losses.map((loss) => loss.replace(/ \(byte \d+\)$/, ""))).toEqual([
      "edge 1025: key d1025: a compressed string cannot be decompressed",
      "edge 1025: key d1025: a compressed string cannot be decompressed",
    ]);
    expect(
      records.edge!.filter((line) => line.includes("parent=1025 ")).map((line) => line.replace(/.*name=(\S+).*/, "$1")),
    ).toEqual(["0x61", "0x64"]);
  });

  test("behind an unknown type or code nothing can be followed", async () => {
    const keys = [...entries.keys()];
    const broken = keys[Math.floor(keys.length / 2)]!;
    for (const [byte, what] of [
      [99, "a value of the unknown type 99"],
      [0xf6, "the unknown code 246"],
    ] as const) {
      const file = Buffer.from(volumeFile(entries.values()));
      file[offsetOf(broken, false)] = byte;
      const salvaged = await salvageFile(file);
      expect(salvaged.losses).toHaveLength(1);
      expect(salvaged.losses[0]).toContain(`?: FILE is damaged at byte ${offsetOf(broken, false)}`);
      expect(salvaged.losses[0]).toContain(`: ${what}: all that stands behind it is lost`);
      const before = volumeFile(keys.slice(0, keys.indexOf(broken)).map((key) => entries.get(key)!));
      const { counter, ...records } = (await salvageFile(before)).records;
      expect(salvaged.records).toEqual(records);
      expect(counter).toHaveLength(6);
    }
  });

  test("a checksum that is wrong or cut off, and bytes behind the end, are losses when all has been given", async () => {
    const file = volumeFile(entries.values());
    const wrong = Buffer.from(file);
    wrong[wrong.length - 1]! ^= 1;
    const { records, losses } = await salvageFile(wrong);
    expect(losses).toEqual([
      expect.stringMatching(
        /^\?: The checksum of FILE is wrong: \S+ is stored, \S+ is that of its bytes: nothing proves what was read$/,
      ),
    ]);
    expect(records).toEqual(whole.records);
    expect((await salvageFile(file.subarray(0, -3))).losses).toEqual([
      `?: FILE is cut off at byte ${file.length - 3}: nothing proves what was read`,
    ]);
    expect((await salvageFile(Buffer.concat([file, Buffer.from("more")]))).losses).toEqual([
      `?: FILE goes on behind its end at byte ${file.length}: what stands there was not read`,
    ]);
  });

  test("without onLoss, all of these are errors", async () => {
    const file = volumeFile(entries.values());
    for (const bytes of [file.subarray(0, -3), file.subarray(0, file.length / 2), Buffer.concat([file, file])]) {
      await expect(readSalvaged(`rdb://${fileOf(bytes)}`, { salvages: false })).rejects.toThrow(DataError);
    }
  });

  test("a setting behind the damage is found by its name, so that what stands before is saved", async () => {
    const keys = [...entries.keys()].filter((key) => key !== "setting");
    const before = keys.slice(0, 100).map((key) => entries.get(key)!);
    const rest = [...keys.slice(100), "setting"].map((key) => entries.get(key)!);
    const salvaged = await salvageFile(volumeFile([...before, Buffer.from([99]), ...rest]));
    expect(salvaged.losses).toEqual([
      expect.stringMatching(/^\?: FILE is damaged at byte \d+.*: all that stands behind it is lost$/),
    ]);
    expect(salvaged.setting).toBe(whole.setting);
    const { counter, ...records } = (await salvageFile(volumeFile([entries.get("setting")!, ...before]))).records;
    expect(salvaged.records).toEqual(records);
    expect(counter).toHaveLength(6);
  });

  test("two settings behind the damage may be those of two volumes", async () => {
    const other = rdbEntry(0, "setting", rdbString('{"Name":"other","UUID":"x","BlockSize":4096}'));
    const path = fileOf(volumeFile([Buffer.from([99]), entries.get("setting")!, rdbDatabase(1), other]));
    await expect(readSalvaged(`rdb://${path}`)).rejects.toMatchObject({ code: "DECANT_E_NO_SETTING" });
  });

  test("a setting that is lost leaves nothing that is worth anything", async () => {
    const bad = rdbEntry(0, "setting", rdbCompressed(Buffer.from([0x20, 0x09]), 18));
    const damages = [
      [bad, "key setting: a compressed string cannot be decompressed (byte"],
      [Buffer.from([99]), "is damaged at byte"],
    ] as const;
    for (const [entry, what] of damages) {
      const path = fileOf(volumeFile([entry, entries.get("i1")!]));
      const error = await readSalvaged(`rdb://${path}`).catch((thrown: unknown) => thrown as DataError);
      expect(error).toMatchObject({
        code: "DECANT_E_NO_SETTING",
        hint: expect.stringContaining("Nothing can be saved"),
      });
      expect((error as DataError).message).toContain(`The setting of the volume in ${path} cannot be read: `);
      expect((error as DataError).message).toContain(what);
    }
  });
});

describe("of a stream, damage inside of values is skipped", () => {
  const good = rdbEntry(0, "string2", rdbString("x"));
  const bad = rdbEntry(16, "hash1", rdbString(Buffer.from("no listpack")));

  async function readStream(bytes: Buffer, perRead: number = 7): Promise<[losses: string[], keys: string[]]> {
    const losses: string[] = [];
    const options = {
      checksum: true,
      trailer: () => Buffer.from("END"),
      onLoss: ({ message }: { message: string }) => losses.push(message),
    };
    const { keys } = await readContents(sourceOf(bytes, perRead, false), [0], options);
    return [losses, keys.filter(({ parts }) => parts.length > 0).map(({ key }) => key)];
  }

  test("and what follows is read", async () => {
    const stream = Buffer.concat([rdbFile([bad, good]), Buffer.from("END")]);
    expect(await readStream(stream)).toEqual([
      ["hash1: a listpack of 11 bytes says it has 1814065006 (byte 16)"],
      ["string2"],
    ]);
  });

  test("also where it is larger than what is held in memory", async () => {
    const large = rdbString(Buffer.alloc(65 * 1024 * 1024));
    const pair = (field: string, value: Buffer): Buffer[] => [rdbString(field), value];
    const hash = [pair("a", rdbString("1")), pair("b", large), pair("c", rdbString("3"))].flat();
    const parts = [rdbEntry(4, "hash1", rdbCounted(3, hash)), rdbEntry(0, "string1", large), good];
    const [losses, keys] = await readStream(
      Buffer.concat([rdbFile(parts, { checksum: 0n }), Buffer.from("END")]),
      1024 * 1024,
    );
    expect(losses).toEqual([
      expect.stringMatching(/^hash1: test\.rdb has a piece of 68157440 bytes at byte \d+ \(key hash1\), more than/),
      expect.stringMatching(/^string1: test\.rdb has a piece of 68157440 bytes at byte \d+ \(key string1\), more than/),
    ]);
    expect(keys).toEqual(["hash1", "string2"]);
  });

  test("but its end, a wrong checksum and what cannot be followed are errors", async () => {
    const file = rdbFile([good]);
    const end = Buffer.from("END");
    for (const bytes of [
      file.subarray(0, 12),
      Buffer.concat([rdbFile([good], { checksum: 1n }), end]),
      Buffer.concat([rdbFile([good, Buffer.from([99])]), end]),
      Buffer.concat([file, Buffer.from("BAD")]),
    ]) {
      await expect(readStream(bytes)).rejects.toThrow(DataError);
    }
  });
});
