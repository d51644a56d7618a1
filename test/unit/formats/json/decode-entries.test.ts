import { describe, expect, it } from "vitest";
import { DataError } from "../../../../src/base/errors.ts";
import { decodeJsonDump } from "../../../../src/formats/json/decode.ts";
import { TREE_CHUNKS } from "../../../../src/volume/tree-item.ts";
import { attr, type Decoded, decode, decodeText, documentWith, inPieces } from "./reading.ts";
import type { PlainEntry } from "./tree-items.ts";

/** Decodes a document whose root has these entries, and gives them without the root. */
async function entriesOf(entries: string): Promise<PlainEntry[]> {
  return (await decodeText(documentWith(entries))).entries.slice(1);
}

async function message(run: Promise<unknown>): Promise<string> {
  const error: unknown = await run.then(
    () => new Error("it was accepted"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof DataError)) throw error;
  return error.message.replace(/ \(line \d+, byte \d+\)/, "");
}

const file = (members: string, name: string = "f"): string => `"${name}":{"attr":${attr({})}${members}}`;
const directory = (members: string): string => `"d":{"attr":${attr({ type: "directory" })}${members}}`;
const slice = '{"id":7,"size":5,"len":5}';
const chunk = (index: number | string, slices: string = slice): string => `{"index":${index},"slices":[${slices}]}`;

describe("a name", () => {
  const names: [text: string, bytes: Buffer][] = [
    ["plain", Buffer.from("plain")],
    ["sp%20ace", Buffer.from("sp ace")],
    ["sp ace", Buffer.from("sp ace")],
    ["pct%2541", Buffer.from("pct%41")],
    ["%e9%4%%41%g1%", Buffer.from("%e9%4%A%g1%")],
    ["%FF%FEbad", Buffer.from([0xff, 0xfe, 0x62, 0x61, 0x64])],
    ["\\u0025\\u0034\\u0031", Buffer.from("A")],
    ["\\u0041\\u00e9\\u6c49", Buffer.from("Aé汉")],
    ["\\ud83d\\ude00", Buffer.from("😀")],
    ["汉😀é\ufffd", Buffer.from("汉😀é\ufffd")],
    ["%EF%BF%BD", Buffer.from("\ufffd")],
    ['q\\"b\\\\s\\/n\\n\\r\\t\\b\\f'.replace("\\/", ""), Buffer.from('q"b\\sn\n\r\t\b\f')],
    ["tab\tline\nend", Buffer.from("tab\tline\nend")],
    ["x%2fy", Buffer.from("x%2fy")],
    ["N".repeat(255), Buffer.from("N".repeat(255))],
    ["%41".repeat(255), Buffer.from("A".repeat(255))],
    ["__proto__", Buffer.from("__proto__")],
  ];
  for (const [text, bytes] of names) {
    it(`is unescaped from JSON, then from percent: ${text.slice(0, 30)}`, async () => {
      const [entry] = await entriesOf(file("", text));
      expect(entry!.path).toBe(`/${bytes.toString("latin1")}`);
    });
  }

  const refused: [text: string | Buffer, problem: string][] = [
    ["a%2Fb", 'the name "a/b" contains a slash'],
    ["a\\/b", 'the name "a/b" contains a slash'],
    ["a%00b", 'the name "a%00b" contains a NUL byte'],
    ["a\\u0000b", 'the name "a%00b" contains a NUL byte'],
    ["a\0b", 'the name "a%00b" contains a NUL byte'],
    ["%2E%2E", 'an entry has the name ".."'],
    ["%41".repeat(256), `the name "${"A".repeat(40)}..." has 256 bytes, more than 255`],
    ["\\ud800x", "the escape \\ud800 is half of a surrogate pair and stands for no character"],
    ["\\udc00\\ud800", "the escape \\udc00 is half of a surrogate pair and stands for no character"],
    ["\\ud83d\\u0041", "the escape \\ud83d is half of a surrogate pair and stands for no character"],
    ["\\u12g4", "the escape \\u is not followed by four hexadecimal digits"],
    ["\\u12", "the escape \\u is not followed by four hexadecimal digits"],
    ["\\U0041", "JSON has no escape \\U"],
    [Buffer.from([0xed, 0xa0, 0x80]), "the text is not valid UTF-8: byte 0xED"],
    [Buffer.from([0xc0, 0x80]), "the text is not valid UTF-8: byte 0xC0"],
    [Buffer.from([0x61, 0xe6, 0xb1]), "the text is not valid UTF-8: byte 0xE6"],
  ];
  for (const [text, problem] of refused) {
    it(`is refused: ${problem}`, async () => {
      const [before, after] = documentWith(file("", "@@")).split("@@");
      const document = Buffer.concat([Buffer.from(before!), Buffer.from(text), Buffer.from(after!)]);
      expect(await message(decodeText(document))).toBe(`Cannot read "/" of the JSON dump: ${problem}`);
    });
  }

  it("may not occur twice in a directory, sorted or not, however it is written", async () => {
    const twice: [string[], string][] = [
      [["a", "a"], "a"],
      [["b", "a", "c", "b"], "b"],
      [["a", "b", "c", "d", "a"], "a"],
      [["a", "%61"], "a"],
      [["z", "a", "m", "\\u006d"], "m"],
    ];
    for (const [names, name] of twice) {
      const run = decodeText(documentWith(names.map((text) => file("", text)).join(",")));
      expect(await message(run)).toBe(`Cannot read "/" of the JSON dump: the directory has the name "${name}" twice`);
    }
  });

  it("may occur in several directories, and unsorted directories may nest", async () => {
    const inner = directory(`,"entries":{${["c", "a", "b"].map((name) => file("", name)).join(",")}}`);
    const paths = (await entriesOf([file("", "z"), inner, file("", "c"), file("", "a")].join(","))).map(
      ({ path }) => path,
    );
    expect(paths).toEqual(["/z", "/d", "/d/c", "/d/a", "/d/b", "/c", "/a"]);
  });
});

describe("an entry", () => {
  it("has its members in any order", async () => {
    const members = [`"attr":${attr({ length: 5 })}`, `"chunks":[${chunk(0)}]`, '"xattrs":[{"value":"v","name":"n"}]'];
    const expected = await entriesOf(`"f":{${members.join(",")}}`);
    expect(expected[0]).toMatchObject({ xattrs: [["n", "v"]], chunks: [{ index: 0 }] });
    for (const order of [
      [1, 0, 2],
      [2, 1, 0],
      [1, 2, 0],
    ]) {
      expect(await entriesOf(`"f":{${order.map((i) => members[i]).join(",")}}`)).toEqual(expected);
    }
  });

  it("that is a directory keeps what stands behind its entries", async () => {
    const acl = '{"owner":7,"group":5,"other":5,"mask":7,"users":[{"id":1,"perm":7}],"groups":null}';
    const late = `,"posix_acl_access":${acl},"posix_acl_default":${acl},"xattrs":[{"name":"n","value":"v"}]`;
    const [early] = await entriesOf(directory(`${late},"entries":{}`));
    const decoded = await decodeText(documentWith(directory(`,"entries":{${file("")}}${late}`)));
    expect(decoded.entries[1]).toEqual(early);
    expect(decoded.acls).toHaveLength(1);
    const kinds = decoded.batches.map(({ kind }) => kind);
    expect(kinds.indexOf("acl")).toBeLessThan(kinds.indexOf("tree"));
  });

  it("may have null instead of lists, entries, target and ACLs", async () => {
    const [withNulls] = await entriesOf(
      file(
        ',"chunks":null,"xattrs":null,"posix_acl_access":null,"posix_acl_default":null,"entries":null,"symlink":null',
      ),
    );
    expect(withNulls).toEqual((await entriesOf(file("")))[0]);
    expect(await entriesOf(directory(',"entries":null'))).toEqual(await entriesOf(directory(',"entries":{}')));
    expect(await entriesOf(directory(',"entries":null'))).toEqual(await entriesOf(directory("")));
  });

  it("may have names of members in any case, and unknown ones of any kind", async () => {
    const unknown = '"zzz":{"attr":[{"a":[1,-2.5e3,true,false,null,"]}\\"\\u0041"]}],"entries":{}}';
    const text = `"f":{${unknown},"ATTR":{"Zzz":[{}],"INODE":9,"Type":"regular","mode":420,"uid":0,"gid":0,"atime":1,"mtime":2,"ctime":3,"nLink":1,"length":5},"Chunks":[{"zzz":[],"Index":0,"SLICES":[{"ID":7,"zzz":{},"Size":5,"LEN":5}]}]}`;
    const decoded = await decodeText(documentWith(text));
    expect(decoded.entries.slice(1)).toEqual(
      await entriesOf(`"f":{"attr":${attr({ length: 5 })},"chunks":[${chunk(0)}]}`),
    );
    expect(decoded.warnings).toEqual([
      "unknown-member: /f: zzz",
      "unknown-member: /f: attr.Zzz",
      "unknown-member: /f: chunks.zzz",
      "unknown-member: /f: chunks.slices.zzz",
    ]);
  });

  const refused: [entry: string, problem: string][] = [
    ['"f":null', 'entry "f" must be an object, got null'],
    ['"f":{}', 'the entry has no "attr"'],
    ['"f":{"attr":null}', '"attr" must be an object, got null'],
    ['"f":{"attr":{}}', '"attr" has no "inode"'],
    [file(`,"attr":${attr({})}`), 'the entry has "attr" twice'],
    [file(',"chunks":[],"entries":{}'), 'a regular cannot have "entries"'],
    [directory(`,"chunks":[${chunk(0)}]`), 'a directory cannot have "chunks"'],
    [directory(`,"entries":{},"chunks":[${chunk(0)}]`), 'a directory cannot have "chunks"'],
    [directory(',"symlink":"x","entries":{}'), 'a directory cannot have "symlink"'],
    [file(',"symlink":"x"'), 'a regular cannot have "symlink"'],
    [`"d":{"entries":{},"attr":${attr({ type: "directory" })}}`, '"entries" stands before "attr"'],
    [directory(',"entries":{},"entries":{}'), 'the entry has "entries" twice'],
    [file(',"chunks":{}'), '"chunks" must be a list, got an object'],
    [file(',"xattrs":[null]'), "an extended attribute must be an object, got null"],
    [
      file(',"xattrs":[{"name":"a","value":"1"},{"name":"a","value":"2"}]'),
      'the extended attribute "a" is listed twice',
    ],
    [
      file(',"xattrs":[{"name":"b","value":""},{"name":"a","value":""},{"name":"b","value":""}]'),
      'the extended attribute "b" is listed twice',
    ],
    [file(',"xattrs":[{"name":"a","value":""}],"xattrs":[]'), 'the entry has "xattrs" twice'],
    [file(`,"chunks":[${chunk(0)}],"chunks":[]`), 'the entry has "chunks" twice'],
    [file(`,"chunks":[${chunk(0)},${chunk(0)}]`), "chunk 0 is listed twice"],
    [file(`,"chunks":[${chunk(3)},${chunk(1)},${chunk(3)}]`), "chunk 3 is listed twice"],
    [file(`,"chunks":[${chunk(4294967296)}]`), '"index" must be a whole number from 0 to 4294967295, got 4294967296'],
    [file(',"chunks":[{"slices":[]}]'), 'a chunk has no "index"'],
    [file(',"chunks":[{"index":0}]'), 'chunk 0 has no "slices"'],
    [file(`,"chunks":[${chunk(0, '{"size":5,"len":5}')}]`), 'a slice has no "id"'],
    [file(`,"chunks":[${chunk(0, '{"id":5,"len":5}')}]`), 'a slice has no "size"'],
    [
      file(`,"chunks":[${chunk(0, '{"id":5,"pos":67108860,"size":5,"len":5}')}]`),
      'a slice goes beyond its chunk: "pos" 67108860 and "len" 5 are more than 67108864 together',
    ],
    [
      file(`,"chunks":[${chunk(0, '{"id":5,"size":5,"off":1,"len":5}')}]`),
      'a slice goes beyond its own data: "off" 1 and "len" 5 are more than its "size" 5',
    ],
    [`"f":{"attr":${attr({ inode: 1 })}}`, "an entry has the inode of the root (inode 1)"],
    [
      `"f":{"attr":${attr({ inode: "9223372032828243969" })}}`,
      "an entry has an inode of the trash (inode 9223372032828243969)",
    ],
    [file(',"posix_acl_access":{}'), '"posix_acl_access" needs "owner", "group", "other" and "mask"'],
    [file(',"zzz":[1,]'), "expected a value, got ']'"],
    [file(',"zzz":01'), "expected a value, got '0'"],
  ];
  for (const [entry, problem] of refused) {
    it(`is refused: ${problem}`, async () => {
      const name = entry.startsWith('"f":null') ? "" : entry[1];
      expect(await message(decodeText(documentWith(entry)))).toBe(
        `Cannot read "/${name}" of the JSON dump: ${problem}`,
      );
    });
  }
});

describe("a number", () => {
  const U32 = 4294967295n;
  const fields: [name: string, min: bigint, max: bigint][] = [
    ["inode", 2n, 9223372032828243967n],
    ["flags", 0n, 255n],
    ["mode", 0n, 65535n],
    ["uid", 0n, U32],
    ["gid", 0n, U32],
    ["atime", -(2n ** 63n), 2n ** 63n - 1n],
    ["mtime", -(2n ** 63n), 2n ** 63n - 1n],
    ["ctime", -(2n ** 63n), 2n ** 63n - 1n],
    ["atimensec", 0n, U32],
    ["mtimensec", 0n, U32],
    ["ctimensec", 0n, U32],
    ["nlink", 0n, U32],
    ["length", 0n, 2n ** 63n - 1n],
    ["rdev", 0n, U32],
    ["tier", 0n, 255n],
  ];
  for (const [name, min, max] of fields) {
    it(`is exact at the limits of ${name}, with and without white space, and refused beyond`, async () => {
      const around = [min, min + 1n, max - 1n, max, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n + 1n, 999999999999999n];
      for (const value of around.filter((candidate) => candidate >= min && candidate <= max)) {
        const text = `"f":{"attr":${attr({ [name]: String(value) })}}`;
        for (const [entry] of [await entriesOf(text), await entriesOf(text.replaceAll(",", " ,\n"))]) {
          const stored = name === "inode" ? entry!.inode : BigInt(entry!.attribute[name as "length"]);
          expect(stored, String(value)).toBe(name === "mode" ? value & 0xfffn : value);
        }
      }
      const wrong = [
        max < 2n ** 62n || name === "length" ? max + 1n : 2n ** 64n,
        min < 0n ? min - 1n : -1n,
        10n ** 40n,
      ];
      for (const value of [
        ...wrong.map(String),
        "5.0",
        "1e2",
        '"5"',
        "null",
        "true",
        "[]",
        "007",
        "-",
        "+1",
        "",
        "0x10",
      ]) {
        const text = documentWith(`"f":{"attr":${attr({ [name]: value })}}`);
        if (name === "inode" && value === "9223372032828243968") continue;
        expect(await message(decodeText(text)), value).toMatch(/^Cannot read "\/f" of the JSON dump: /);
      }
    });
  }
});

describe("slices", () => {
  it("may have chunkid for id, which counts where id is 0", async () => {
    const cases: [string, bigint][] = [
      ['{"chunkid":3,"size":5,"len":5}', 3n],
      ['{"id":0,"chunkid":3,"size":5,"len":5}', 3n],
      ['{"chunkid":3,"id":0,"size":5,"len":5}', 3n],
      ['{"id":18446744073709551615,"size":5,"len":5}', 18446744073709551615n],
    ];
    for (const [text, id] of cases) {
      const [entry] = await entriesOf(file(`,"chunks":[${chunk(0, text)}]`));
      expect(entry!.chunks[0]!.slices).toEqual([{ pos: 0, id, size: 5, off: 0, len: 5 }]);
    }
  });

  it("may be holes, which have no size to exceed, and fill a chunk to its end", async () => {
    const hole = '{"id":0,"pos":100,"size":0,"len":67108764}';
    const all = '{"id":9,"pos":10,"size":67108864,"off":20,"len":67108844}';
    const [entry] = await entriesOf(
      file(`,"chunks":[${chunk(0, `${hole},${all}`)},${chunk(1, "")},{"index":2,"slices":null}]`),
    );
    expect(entry!.chunks).toEqual([
      {
        index: 0,
        slices: [
          { pos: 100, id: 0n, size: 0, off: 0, len: 67108764 },
          { pos: 10, id: 9n, size: 67108864, off: 20, len: 67108844 },
        ],
      },
      { index: 1, slices: [] },
      { index: 2, slices: [] },
    ]);
  });

  it("of a long file come in several items, in any layout and however they are cut", async () => {
    const list = Array.from({ length: 5000 }, (_, i) => chunk(i)).join(",");
    const text = documentWith(`${file(`,"chunks":[${list}]`, "a")},${file("", "b")}`);
    const decoded = await decodeText(text);
    expect(decoded.entries[1]!.chunks.map(({ index }) => index)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
    expect(decoded.entries[1]!.flags).toBe(2);
    expect(decoded.entries[2]!.chunks).toEqual([]);
    const items = decoded.batches
      .filter(({ kind }) => kind === "tree")
      .map(({ bytes }) => itemSizes(bytes, TREE_CHUNKS));
    expect(items.flat()).toHaveLength(2);
    expect(Math.max(...items.flat())).toBeLessThan(66_000);
    for (const pieces of [inPieces(Buffer.from(text), 999), [Buffer.from(text.replaceAll(",", ", "))]]) {
      expect((await decode(pieces, { refillBytes: 1 })).entries).toEqual(decoded.entries);
    }
  });

  it("of a file beyond all bounds are handed on before it ends", async () => {
    const list = `${Array.from({ length: 530_000 }, (_, i) => chunk(i)).join(",")}`;
    const decoded = await decodeText(documentWith(file(`,"chunks":[${list}]`)));
    expect(decoded.entries[1]!.chunks).toHaveLength(530_000);
    expect(decoded.entries[1]!.chunks.at(-1)).toMatchObject({ index: 529_999 });
    const late = file(`,"chunks":[${list}],"xattrs":[]`);
    expect(await message(decodeText(documentWith(late)))).toMatch(/"xattrs" stands behind a very long list of chunks$/);
    const first = `"f":{"chunks":[${list}],"attr":${attr({})}}`;
    expect(await message(decodeText(documentWith(first)))).toMatch(
      /"attr" does not come within the first 16777216 bytes/,
    );
  });
});

function itemSizes(bytes: Buffer, tag: number): number[] {
  const sizes: number[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
    if (bytes[at + 4] === tag) sizes.push(bytes.readUInt32BE(at));
  }
  return sizes;
}

describe("a document", () => {
  it("may be nested deeper than any recursion goes", async () => {
    const levels = 20_000;
    const open = `"d":{"attr":${attr({ type: "directory" })},"entries":{`.repeat(levels);
    const decoded = await decodeText(documentWith(`${open}${"}}".repeat(levels)}`));
    expect(decoded.entries).toHaveLength(levels + 1);
    expect(await message(decodeText(`{"zzz":${"[".repeat(100_001)}`))).toMatch(/nested more than 100000 deep$/);
    expect(
      (await decodeText(`{"zzz":${"[".repeat(50_000)}${"]".repeat(50_000)},${documentWith("").slice(1)}`)).warnings,
    ).toEqual(["unknown-member: zzz"]);
  });

  it("may have unknown sections that do not fit into memory", async () => {
    const piece = Buffer.from('{"a":[1,2,3,"some text"],"b":{}},'.repeat(1000));
    function* pieces(): Generator<Buffer> {
      yield Buffer.from('{"zzz":[');
      for (let i = 0; i < 200; i++) yield piece;
      yield Buffer.from(`0],${documentWith(file("")).slice(1)}`);
    }
    const decoded = await decode(pieces(), { refillBytes: 1000, maxTokenBytes: 100_000 });
    expect(decoded.entries).toHaveLength(2);
  });

  it("is refused when a single value is larger than there is room for", async () => {
    const text = documentWith(file(`,"xattrs":[{"name":"n","value":"${"x".repeat(3_000_000)}"}]`));
    const run = decode(inPieces(Buffer.from(text), 65536), { maxTokenBytes: 1_000_000 });
    expect(await message(run)).toBe('Cannot read "/f" of the JSON dump: a single value is longer than 1000000 bytes');
    expect((await decodeText(text)).entries[1]!.xattrs[0]![1]).toHaveLength(3_000_000);
  });

  const heads: [text: string, problem: string][] = [
    ['"FSTree":null', 'Cannot read "/" of the JSON dump: it must be an object, got null'],
    ['"Setting":null', 'Cannot read "Setting" of the JSON dump: it must be an object, got null'],
    ['"Counters":null', 'Cannot read "Counters" of the JSON dump: it must be an object, got null'],
    ['"Counters":{}', 'Cannot read "Counters" of the JSON dump: it holds no counter'],
    ['"Counters":[]', 'Cannot read "Counters" of the JSON dump: it must be an object, got a list'],
    [
      '"Setting":{"a":"\\ud800"}',
      'Cannot read "Setting" of the JSON dump: the escape \\ud800 is half of a surrogate pair and stands for no character',
    ],
    [
      '"Counters":{"usedSpace":1.5}',
      'Cannot read "Counters" of the JSON dump: "usedSpace" must be a whole number without quotes, fraction or exponent, got 1.5',
    ],
    ['"DelFiles":[{"length":1}]', 'Cannot read "DelFiles" of the JSON dump: an element has no "inode"'],
    [
      '"UserQuotas":{"4294967296":{"maxSpace":1,"maxInodes":1}}',
      'Cannot read "UserQuotas" of the JSON dump: its keys must be whole numbers from 0 to 4294967295, got "4294967296"',
    ],
    [
      '"Quotas":{"2":{"maxSpace":1,"maxInodes":1},"2":{"maxSpace":1,"maxInodes":1}}',
      'Cannot read "Quotas" of the JSON dump: it has 2 twice',
    ],
    ['"DelFiles":[],"DelFiles":[]', 'Cannot read the JSON dump: the document has "DelFiles" twice'],
    ['"DelFiles":{}', 'Cannot read "DelFiles" of the JSON dump: it must be a list, got an object'],
    ['"DelFiles":[],}', "Cannot read the JSON dump: expected the name of a member in quotes, got '}'"],
  ];
  for (const [text, problem] of heads) {
    it(`is refused: ${problem}`, async () => {
      expect(await message(decodeText(`{${text}`))).toBe(problem);
    });
  }

  it("shows no bytes in messages that could steer a terminal", async () => {
    const warnings = (await decodeText(documentWith(file(',"\\u001b[31m\\u0007":1')))).warnings;
    expect(warnings).toEqual(["unknown-member: /f: %1B[31m%07"]);
    const run = decodeText(documentWith(`"f":{"attr":${attr({ type: "\\u001b[2J" })}}`));
    expect(await message(run)).toBe('Cannot read "/f" of the JSON dump: unknown file type "%1B[2J"');
  });

  it("does not quote a setting that cannot be read, as it holds keys", async () => {
    const text = documentWith("").replace('{"Name":"t"}', '{"SecretKey":"hush\nhush"}');
    expect(await message(decodeText(text))).toBe(
      'Cannot read "Setting" of the JSON dump: its strings hold unescaped control characters',
    );
  });

  it("may have null or nothing for the sections that may be empty, and old counters", async () => {
    const nulls =
      '"Sustained":null,"DelFiles":null,"Quotas":null,"UserQuotas":null,"GroupQuotas":null,"ChangeLog":null,"Trash":null';
    const head = documentWith("").replace('"Counters":{', '"Counters":{"nextCleanupSlices":7,');
    const decoded = await decodeText(`{${nulls},${head.slice(1)}`);
    expect(decoded.counters).toEqual([{ name: "usedSpace", value: 0n }]);
    expect(decoded.entries).toHaveLength(1);
    expect(decoded.warnings).toEqual(["null-section: Trash"]);
  });

  it("closes its input when the records are not read to the end, and stops when it is aborted", async () => {
    let closed = 0;
    async function* input(): AsyncGenerator<Uint8Array> {
      try {
        yield Buffer.from(documentWith(file("")).slice(0, 60));
        for (;;) yield Buffer.from(" ");
      } finally {
        closed++;
      }
    }
    const controller = new AbortController();
    const options = { signal: controller.signal, onWarning: () => undefined };
    for await (const _ of decodeJsonDump(input(), options, { refillBytes: 1 })) break;
    expect(closed).toBe(1);
    const run = (async (): Promise<void> => {
      for await (const _ of decodeJsonDump(input(), options, { refillBytes: 1 })) controller.abort();
    })();
    await expect(run).rejects.toMatchObject({ name: "AbortError" });
    expect(closed).toBe(2);
  });

  it("passes on what goes wrong with its input", async () => {
    async function* input(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("{");
      throw new Error("the disk is gone");
    }
    const run: Promise<Decoded[]> = (async () => {
      for await (const _ of decodeJsonDump(input(), {
        signal: new AbortController().signal,
        onWarning: () => undefined,
      }));
      return [];
    })();
    await expect(run).rejects.toThrow("the disk is gone");
  });
});
