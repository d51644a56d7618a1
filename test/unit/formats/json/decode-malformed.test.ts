import { describe, expect, it } from "vitest";
import { DataError } from "../../../../src/base/errors.ts";
import { type Decoded, decode, decodeText, fixture } from "./reading.ts";

/**
 * What becomes of each malformed document (test/fixtures/malformed/MALFORMED.md tells what the reference does with it).
 * Those that are wrong only when entries are compared, or with the setting, are read here: the load finds them.
 */
const REFUSED: [file: string, code: string, message: string][] = [
  ["b03-bin-as-json.json", "DECANT_E_JSON_FORMAT", "This is not a JSON dump: it is a binary dump"],
  ["j01-empty.json", "DECANT_E_JSON_FORMAT", "This is not a JSON dump: the input is empty"],
  [
    "j02-html.json",
    "DECANT_E_JSON_FORMAT",
    "This is not a JSON dump: it is HTML or XML, perhaps an error page of an object store",
  ],
  ["j03-null.json", "DECANT_E_JSON_FORMAT", 'This is not a JSON dump: it begins with "null" instead of an object'],
  [
    "j04-empty-object.json",
    "DECANT_E_JSON_MISSING",
    'Cannot read the JSON dump (line 1, byte 1): it has no "Setting", "Counters", "FSTree"',
  ],
  ["j05-array.json", "DECANT_E_JSON_FORMAT", 'This is not a JSON dump: it begins with "[]" instead of an object'],
  [
    "j06-trunc-setting.json",
    "DECANT_E_JSON_TRUNCATED",
    'Cannot read "Setting" of the JSON dump (line 10, byte 200): the document ends here, before it is complete',
  ],
  [
    "j07-trunc-before-tree.json",
    "DECANT_E_JSON_TRUNCATED",
    "Cannot read the JSON dump (line 33, byte 651): the document ends here, before it is complete",
  ],
  [
    "j08-trunc-tree.json",
    "DECANT_E_JSON_TRUNCATED",
    'Cannot read "/d2/b-hard" of the JSON dump (line 54, byte 2170): the document ends here, before it is complete',
  ],
  [
    "j09-trunc-last-brace.json",
    "DECANT_E_JSON_TRUNCATED",
    "Cannot read the JSON dump (line 79, byte 3688): the document ends here, before it is complete",
  ],
  [
    "j10-trailing-garbage.json",
    "DECANT_E_JSON_SYNTAX",
    "Cannot read the JSON dump (line 80, byte 3690): there is more text behind the end of the document",
  ],
  [
    "j11-two-documents.json",
    "DECANT_E_JSON_SYNTAX",
    "Cannot read the JSON dump (line 80, byte 3690): there is more text behind the end of the document",
  ],
  ["j13-utf16.json", "DECANT_E_JSON_FORMAT", "This is not a JSON dump: it is UTF-16 text"],
  [
    "j15-bad-escape.json",
    "DECANT_E_JSON_STRING",
    'Cannot read "/d1" of the JSON dump (line 39, byte 1161): JSON has no escape \\x',
  ],
  [
    "j16-lone-surrogate.json",
    "DECANT_E_JSON_STRING",
    'Cannot read "/d1" of the JSON dump (line 39, byte 1161): the escape \\ud800 is half of a surrogate pair and stands for no character',
  ],
  [
    "j17-bad-utf8.json",
    "DECANT_E_JSON_STRING",
    'Cannot read "/d1" of the JSON dump (line 39, byte 1161): the text is not valid UTF-8: byte 0xFF',
  ],
  [
    "j22-gzip-named.json",
    "DECANT_E_JSON_FORMAT",
    "This is not a JSON dump: it is compressed with gzip (twice, if it was decompressed already)",
  ],
  [
    "j24-no-setting.json",
    "DECANT_E_JSON_MISSING",
    'Cannot read the JSON dump (line 247, byte 5929): it has no "Setting"',
  ],
  [
    "j25-no-counters.json",
    "DECANT_E_JSON_MISSING",
    'Cannot read the JSON dump (line 260, byte 6231): it has no "Counters"',
  ],
  [
    "j26-no-fstree.json",
    "DECANT_E_JSON_MISSING",
    'Cannot read the JSON dump (line 100, byte 2248): it has no "FSTree"',
  ],
  [
    "j29-wrong-inode-type.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 69, byte 1489): "inode" must be a whole number without quotes, fraction or exponent, got a string',
  ],
  [
    "j30-entries-is-list.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1" of the JSON dump (line 66, byte 1421): "entries" must be an object, got a list',
  ],
  [
    "j31-no-attr.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1/a.txt" of the JSON dump (line 86, byte 1861): the entry has no "attr"',
  ],
  [
    "j32-unknown-type.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1/a.txt" of the JSON dump (line 70, byte 1520): unknown file type "blob"',
  ],
  [
    "j33-type-missing.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1/a.txt" of the JSON dump (line 81, byte 1851): "attr" has no "type"',
  ],
  [
    "j34-negative-length.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 81, byte 1869): "length" must be a whole number from 0 to 9223372036854775807, got -5',
  ],
  [
    "j35-negative-nlink-uid.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 71, byte 1547): "mode" must be a whole number from 0 to 65535, got -1',
  ],
  [
    "j37-length-2p63.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 81, byte 1869): "length" must be a whole number from 0 to 9223372036854775807, got 9223372036854775808',
  ],
  [
    "j38-length-2p64.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 81, byte 1869): "length" must be a whole number from 0 to 9223372036854775807, got 18446744073709551616',
  ],
  [
    "j39-length-float.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 1, byte 1266): "length" must be a whole number without quotes, fraction or exponent, got 5e0',
  ],
  [
    "j41-inode-zero.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 69, byte 1489): "inode" must be a whole number from 1 to 18446744073709551615, got 0',
  ],
  [
    "j42-counter-huge.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "Counters" of the JSON dump (line 26, byte 537): "nextInodes" must be a whole number from -9223372036854775808 to 9223372036854775807, got 9223372036854775808',
  ],
  [
    "j48-cycle-root.json",
    "DECANT_E_JSON_INODE",
    'Cannot read "/d1/root" of the JSON dump (line 146, byte 3520): an entry has the inode of the root (inode 1)',
  ],
  [
    "j50-root-is-file.json",
    "DECANT_E_JSON_INODE",
    'Cannot read "/" of the JSON dump (line 48, byte 983): the root must be a directory, got regular (inode 1)',
  ],
  [
    "j52-name-slash.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): the name "x/y" contains a slash',
  ],
  [
    "j53-name-empty.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): an entry has an empty name',
  ],
  [
    "j54-name-dot.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): an entry has the name "."',
  ],
  [
    "j55-name-dotdot.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): an entry has the name ".."',
  ],
  [
    "j56-name-300.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): the name "NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN..." has 300 bytes, more than 255',
  ],
  [
    "j57-name-nul.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 131, byte 3068): the name "a%00b" contains a NUL byte',
  ],
  [
    "j59-dup-name.json",
    "DECANT_E_JSON_NAME",
    'Cannot read "/d1" of the JSON dump (line 1, byte 1389): the directory has the name "a.txt" twice',
  ],
  [
    "j60-slice-odd.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 96, byte 2228): "len" must be a whole number from 0 to 4294967295, got -5',
  ],
  [
    "j62-xattr-odd.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1/a.txt" of the JSON dump (line 91, byte 2100): the extended attribute "user.a" is listed twice',
  ],
  [
    "j66-sustained-missing.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "DelFiles" of the JSON dump (line 42, byte 760): "length" must be a whole number from 0 to 9223372036854775807, got -1',
  ],
  [
    "j67-quota-odd.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "Quotas" of the JSON dump (line 273, byte 6475): its keys must be whole numbers from 0 to 18446744073709551615, got "abc"',
  ],
  [
    "j71-time-odd.json",
    "DECANT_E_JSON_NUMBER",
    'Cannot read "/d1/a.txt" of the JSON dump (line 1, byte 1209): "mtimensec" must be a whole number from 0 to 4294967295, got 4999999999',
  ],
  [
    "j72-slice-odd2.json",
    "DECANT_E_JSON_SLICE",
    'Cannot read "/d1/a.txt" of the JSON dump (line 99, byte 2319): a slice goes beyond its chunk: "pos" 1073741824 and "len" 5 are more than 67108864 together',
  ],
  [
    "j75-xattr-odd2.json",
    "DECANT_E_JSON_ENTRY",
    'Cannot read "/d1/a.txt" of the JSON dump (line 93, byte 2135): an extended attribute has no name',
  ],
];

const ACCEPTED: [file: string, expected: { entries: number; warnings: string[] }][] = [
  ["j12-bom.json", { entries: 10, warnings: [] }],
  ["j14-raw-control.json", { entries: 10, warnings: [] }],
  ["j18-bad-percent.json", { entries: 10, warnings: [] }],
  ["j27-reordered.json", { entries: 10, warnings: [] }],
  [
    "j28-unknown-fields.json",
    {
      entries: 10,
      warnings: [
        "unknown-member: Counters.zzz",
        "unknown-member: /d1/a.txt: attr.zzz",
        "unknown-member: /d1/a.txt: zzz",
        "unknown-member: Zzz",
      ],
    },
  ],
  ["j36-length-2p53.json", { entries: 10, warnings: [] }],
  ["j40-inode-2p53.json", { entries: 10, warnings: [] }],
  ["j43-counter-small.json", { entries: 10, warnings: [] }],
  ["j44-dup-file-inode-2dirs.json", { entries: 11, warnings: [] }],
  ["j45-dup-dir-inode-2dirs.json", { entries: 13, warnings: [] }],
  ["j46-inode-two-types.json", { entries: 11, warnings: [] }],
  ["j47-cycle-self.json", { entries: 11, warnings: [] }],
  ["j49-root-not-1.json", { entries: 10, warnings: [] }],
  [
    "j51-deep-5000.json",
    {
      entries: 5010,
      warnings: [
        "missing-attribute: /n: attr without uid, gid, atime, mtime, ctime",
        "missing-attribute: /n/n: attr without uid, gid, atime, mtime, ctime",
        "missing-attribute: /n/n/n: attr without uid, gid, atime, mtime, ctime",
        "missing-attribute: /n/n/n/n: attr without uid, gid, atime, mtime, ctime",
        "missing-attribute: /n/n/n/n/n: attr without uid, gid, atime, mtime, ctime",
      ],
    },
  ],
  ["j58-name-percent-slash.json", { entries: 11, warnings: [] }],
  ["j61-chunk-id-beyond.json", { entries: 10, warnings: [] }],
  ["j63-symlink-no-target.json", { entries: 10, warnings: ["symlink-without-target: /d2/sl"] }],
  ["j64-acl-odd.json", { entries: 10, warnings: [] }],
  ["j65-parentless-trash.json", { entries: 9, warnings: [] }],
  ["j68-setting-wrong-types.json", { entries: 10, warnings: [] }],
  ["j69-setting-meta-version.json", { entries: 10, warnings: [] }],
  ["j70-setting-no-uuid.json", { entries: 10, warnings: [] }],
  ["j73-sustained-missing2.json", { entries: 10, warnings: [] }],
  ["j74-quota-odd2.json", { entries: 10, warnings: [] }],
];

async function failure(run: Promise<Decoded>): Promise<DataError> {
  const error: unknown = await run.then(
    () => new Error("the document was accepted"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof DataError)) throw error;
  return error;
}

describe("a malformed document", () => {
  for (const [file, code, message] of REFUSED) {
    it(`is refused: ${file}`, async () => {
      const error = await failure(decodeText(fixture(`malformed/${file}`)));
      expect([error.code, error.message]).toEqual([code, message]);
      expect(error.hint).toMatch(/^[A-Z].{15,}/s);
      expect(error.location.offset).toBeTypeOf("number");
    });
  }

  for (const [file, expected] of ACCEPTED) {
    it(`is read all the same: ${file}`, async () => {
      const decoded = await decodeText(fixture(`malformed/${file}`));
      const warnings = decoded.warnings.slice(0, 5);
      expect({ entries: decoded.entries.length, warnings }).toEqual(expected);
    });
  }

  it("gives the same error in pieces of any size", async () => {
    for (const [file] of REFUSED) {
      const bytes = fixture(`malformed/${file}`);
      const whole = await failure(decodeText(bytes));
      for (const size of [1, 17, 1000]) {
        const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
          bytes.subarray(i * size, i * size + size),
        );
        const error = await failure(decode(pieces, { refillBytes: 1 }));
        expect([error.message, error.location], `${file} in pieces of ${size}`).toEqual([
          whole.message,
          whole.location,
        ]);
      }
    }
  });
});

describe("a damaged document", () => {
  const base = fixture("malformed/base.json");

  it("is refused when it is cut off anywhere", async () => {
    // The last byte is a line end.
    for (let size = 0; size < base.length - 1; size++) {
      const error = await failure(decode([base.subarray(0, size)]));
      expect(error.code, `cut at ${size}`).toBe(size === 0 ? "DECANT_E_JSON_FORMAT" : "DECANT_E_JSON_TRUNCATED");
      expect(error.location.offset).toBe(size);
    }
  });

  it("is read or refused, and nothing else, whichever bits are flipped", async () => {
    let refused = 0;
    for (let at = 0; at < base.length; at++) {
      const bytes = Buffer.from(base);
      bytes[at]! ^= 1 << (at % 8);
      await decode([bytes]).catch((error: unknown) => {
        if (!(error instanceof DataError)) throw error;
        refused++;
      });
    }
    expect(refused).toBeGreaterThan(base.length / 4);
  });

  it("is read or refused, and nothing else, whatever is left out", async () => {
    for (let at = 0; at < base.length; at += 3) {
      const pieces = [base.subarray(0, at), base.subarray(at + 1 + (at % 5))];
      await decode(pieces).catch((error: unknown) => {
        if (!(error instanceof DataError)) throw error;
      });
    }
  });
});
