import { DataError } from "../../base/errors.ts";

/** What an input is that cannot be a JSON dump, by its first bytes, and what to do about it. */
interface Signature {
  readonly bytes: readonly number[];
  readonly what: string;
  readonly hint: string;
}

const OTHER_FILE = "Give the file that `dump` has written";

const SIGNATURES: readonly Signature[] = [
  { bytes: [0x3c], what: "HTML or XML, perhaps an error page of an object store", hint: "Download the dump again" },
  { bytes: [0xff, 0xfe], what: "UTF-16 text", hint: "Convert it to UTF-8" },
  { bytes: [0xfe, 0xff], what: "UTF-16 text", hint: "Convert it to UTF-8" },
  { bytes: [0x7b, 0x00], what: "UTF-16 text", hint: "Convert it to UTF-8" },
  { bytes: [0x00, 0x7b], what: "UTF-16 text", hint: "Convert it to UTF-8" },
  {
    bytes: [0x1f, 0x8b],
    what: "compressed with gzip (twice, if it was decompressed already)",
    hint: "Decompress it first",
  },
  {
    bytes: [0x28, 0xb5, 0x2f, 0xfd],
    what: "compressed with zstd (twice, if it was decompressed already)",
    hint: "Decompress it first",
  },
  { bytes: [0x00, 0x00, 0x00, 0x01], what: "a binary dump", hint: "Load it with --binary" },
  {
    bytes: [...Buffer.from("SQLite format 3")],
    what: "an SQLite database",
    hint: "Give it as META-URL: sqlite3://PATH",
  },
  { bytes: [...Buffer.from("REDIS0")], what: "a Redis snapshot (RDB)", hint: OTHER_FILE },
  { bytes: [0x01, 0x00, 0x0c], what: "an encrypted object of a volume", hint: "Give --encrypt-rsa-key to decrypt it" },
];

/** Length of the UTF-8 byte order mark at the beginning, 0 when there is none. */
export function byteOrderMarkLength(head: Uint8Array): number {
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
}

/** Throws a `DataError` that says what `head`, the beginning of an input, is, when it cannot be a JSON document. */
export function assertJson(head: Uint8Array): void {
  if (head.length === 0) {
    throw notJson(
      "the input is empty",
      "The dump was never written or not copied; take another copy or an earlier backup",
    );
  }
  const signature = SIGNATURES.find(({ bytes }) => bytes.every((byte, i) => head[i] === byte));
  if (signature !== undefined) throw notJson(`it is ${signature.what}`, signature.hint);
  const start = head.findIndex((byte, i) => i >= byteOrderMarkLength(head) && !isWhiteSpace(byte));
  if (start < 0 || head[start] === 0x7b) return;
  throw notJson(`it begins with ${beginning(head, start)} instead of an object`, OTHER_FILE);
}

function isWhiteSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function beginning(head: Uint8Array, start: number): string {
  const bytes = head.subarray(start, start + 12);
  const isText = bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || isWhiteSpace(byte));
  return isText
    ? JSON.stringify(Buffer.from(bytes).toString("latin1").trimEnd())
    : `bytes ${Buffer.from(bytes).toString("hex")}`;
}

function notJson(problem: string, hint: string): DataError {
  return new DataError("DECANT_E_JSON_FORMAT", `This is not a JSON dump: ${problem}`, {
    hint,
    location: { offset: 0, line: 1 },
  });
}
