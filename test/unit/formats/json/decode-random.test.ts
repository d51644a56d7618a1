import fc from "fast-check";
import { expect, it } from "vitest";
import { FILE_TYPE_NAMES } from "../../../../src/volume/file-type.ts";
import { decode } from "./reading.ts";

/** A random tree, the document it makes, and what must come out of that. */
interface Node {
  inode: bigint;
  type: number;
  values: Record<string, bigint>;
  symlink: Buffer | undefined;
  xattrs: Map<string, Buffer>;
  chunks: { index: number; slices: Record<string, bigint>[] }[];
  children: Map<string, Node>;
}

const u32 = fc.bigInt({ min: 0n, max: 4294967295n });
const s64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const small = fc.bigInt({ min: 0n, max: 255n });
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.oneof(
    fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array)),
    fc
      .string({ unit: "grapheme", minLength, maxLength: maxLength / 4 })
      .map((text) => Buffer.from(text).subarray(0, maxLength)),
  );
/** As latin1 text, to be a key of a map. */
const name = bytes(1, 60)
  .filter(
    (value) => value.length > 0 && !value.includes(0) && !value.includes(0x2f) && !/^\.\.?$/.test(value.toString()),
  )
  .map((value) => value.toString("latin1"));
const slice = fc
  .record({ id: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), pos: u32, size: u32, off: u32, len: u32 })
  .map(({ id, pos, size, off, len }) => {
    const fitting = { id, pos: pos % 60_000_000n, size, off: off % (size + 1n), len: 0n };
    const room = id === 0n ? 7_000_000n : size - fitting.off;
    return { ...fitting, len: len % ((room < 7_000_000n ? room : 7_000_000n) + 1n) };
  });
const values = fc.record({
  flags: small,
  mode: fc.bigInt({ min: 0n, max: 4095n }),
  uid: u32,
  gid: u32,
  atime: s64,
  mtime: s64,
  ctime: s64,
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  nlink: u32,
  length: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  rdev: u32,
  tier: small,
});
/** A tree of that many levels. */
function nodes(levels: number): fc.Arbitrary<Node> {
  const pairs: fc.Arbitrary<[string, Node][]> =
    levels === 0
      ? fc.constant([])
      : fc.uniqueArray(fc.tuple(name, nodes(levels - 1)), { selector: ([key]) => key, maxLength: 4 });
  const chunk = fc.record({ index: fc.nat(), slices: fc.array(slice, { maxLength: 3 }) });
  return fc.record({
    inode: fc.bigInt({ min: 2n, max: 2n ** 62n }),
    type: fc.oneof(fc.constant(2), fc.integer({ min: 1, max: 7 })),
    values,
    symlink: fc.option(bytes(0, 100), { nil: undefined }),
    xattrs: fc
      .dictionary(fc.string({ minLength: 1, unit: "grapheme" }), bytes(0, 50), { maxKeys: 3 })
      .map((record) => new Map(Object.entries(record))),
    chunks: fc.uniqueArray(chunk, { selector: ({ index }) => index, maxLength: 4 }),
    children: pairs.map((list) => new Map(list)),
  });
}

/** Writes JSON with every freedom that the format leaves, choices from a stream of numbers. */
class Writer {
  readonly #choices: number[];
  #next = 0;

  constructor(choices: number[]) {
    this.#choices = choices;
  }

  choose(count: number): number {
    return this.#choices[this.#next++ % this.#choices.length]! % count;
  }

  space(): string {
    return ["", "", "", " ", "\n    ", "\r\n\t"][this.choose(6)]!;
  }

  object(members: [string, string][], shuffle: boolean): string {
    const list = [...members];
    if (shuffle)
      for (let i = list.length - 1; i > 0; i--) {
        const j = this.choose(i + 1);
        [list[i], list[j]] = [list[j]!, list[i]!];
      }
    return `{${list.map(([key, value]) => `${this.space()}${key}${this.space()}:${this.space()}${value}${this.space()}`).join(",")}}`;
  }

  list(elements: string[]): string {
    return elements.length === 0 && this.choose(2) === 0
      ? "null"
      : `[${elements.map((element) => this.space() + element).join(`${this.space()},`)}]`;
  }

  /** A string in JSON, each character raw or escaped. */
  text(value: string): string {
    const parts = Array.from(value, (character) => {
      const mustEscape =
        character === '"' || character === "\\" || (/[\ud800-\udfff]/.test(character) && character.length === 1);
      if (!mustEscape && this.choose(4) !== 0) return character;
      return Array.from(
        { length: character.length },
        (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`,
      ).join("");
    });
    return `"${parts.join("")}"`;
  }

  /** Bytes in the percent escape: what must be escaped, and by chance something more. */
  escaped(value: Buffer): string {
    const valid = value.toString("utf8");
    const isText = Buffer.from(valid).equals(value) && !valid.includes("\ufffd");
    if (isText)
      return this.text(
        Array.from(valid, (c) => (c === "%" || c < " " || this.choose(9) === 0 ? percent(Buffer.from(c)) : c)).join(""),
      );
    return this.text(percent(value));
  }

  entry(node: Node): string {
    const members = Object.entries(node.values).filter(([, value]) => value !== 0n || this.choose(2) === 0);
    const always = ["mode", "uid", "gid", "atime", "mtime", "ctime", "nlink", "length"];
    for (const key of always) if (!members.some(([member]) => member === key)) members.push([key, 0n]);
    const attr: [string, string][] = [
      ['"inode"', String(node.inode)],
      ['"type"', this.text(FILE_TYPE_NAMES[node.type]!)],
      ...members.map(([key, value]): [string, string] => [`"${key}"`, String(value)]),
    ];
    const rest: [string, string][] = [];
    const xattrs = [...node.xattrs].map(([key, value]) =>
      this.object(
        [
          ['"name"', this.text(key)],
          ['"value"', this.escaped(value)],
        ],
        true,
      ),
    );
    rest.push(['"xattrs"', this.list(xattrs)]);
    if (node.type === 1) rest.push(['"chunks"', this.list(node.chunks.map((chunk) => this.chunk(chunk)))]);
    if (node.type === 3 && node.symlink !== undefined) rest.push(['"symlink"', this.escaped(node.symlink)]);
    if (node.type !== 2) return this.object([['"attr"', this.object(attr, true)], ...rest], true);
    const children = [...node.children].map(([key, child]): [string, string] => [
      this.escaped(Buffer.from(key, "latin1")),
      this.entry(child),
    ]);
    const behind = this.choose(2) === 0 ? rest.splice(0) : [];
    return this.object(
      [['"attr"', this.object(attr, true)], ...rest, ['"entries"', this.object(children, false)], ...behind],
      false,
    );
  }

  chunk({ index, slices }: Node["chunks"][number]): string {
    const texts = slices.map((fields) =>
      this.object(
        Object.entries(fields)
          .filter(([key, value]) => value !== 0n || !["pos", "off"].includes(key))
          .map(([key, value]) => [`"${key}"`, String(value)]),
        true,
      ),
    );
    return this.object(
      [
        ['"index"', String(index)],
        ['"slices"', this.list(texts)],
      ],
      true,
    );
  }
}

function percent(value: Buffer): string {
  return Array.from(value, (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}

function expected(node: Node, path: string, into: unknown[]): void {
  const { atime, mtime, ctime, length, ...numbers } = node.values;
  const fixed = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Number(value)]));
  into.push({
    path,
    flags: path === "" ? 4 : 0,
    type: node.type,
    inode: node.inode,
    attribute: { ...fixed, type: node.type, atime, mtime, ctime, length, parent: 0n, accessAclId: 0, defaultAclId: 0 },
    symlink: node.type === 3 ? (node.symlink?.toString("latin1") ?? "") : "",
    xattrs: [...node.xattrs].map(([key, value]) => [Buffer.from(key).toString("latin1"), value.toString("latin1")]),
    chunks:
      node.type !== 1
        ? []
        : node.chunks.map(({ index, slices }) => ({
            index,
            slices: slices.map(({ id, pos, size, off, len }) => ({
              pos: Number(pos),
              id,
              size: Number(size),
              off: Number(off),
              len: Number(len),
            })),
          })),
  });
  if (node.type === 2) for (const [key, child] of node.children) expected(child, `${path}/${key}`, into);
}

it("any tree is read back from any document that describes it, cut into any pieces", async () => {
  const choices = fc.array(fc.nat(), { minLength: 50, maxLength: 500 });
  const pieces = fc.integer({ min: 1, max: 500 });
  await fc.assert(
    fc.asyncProperty(nodes(3), choices, pieces, async (random, numbers, size) => {
      const root = { ...random, type: 2 };
      const writer = new Writer(numbers);
      const tree = writer.entry(root);
      const text = Buffer.from(
        writer.object(
          [
            ['"Setting"', "{}"],
            ['"Counters"', '{"usedSpace":1}'],
            ['"FSTree"', tree],
          ],
          true,
        ),
      );
      const cut = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.subarray(i * size, i * size + size),
      );
      const entries: unknown[] = [];
      expected(root, "", entries);
      const decoded = await decode(cut, { refillBytes: 1 });
      expect(decoded.entries).toEqual(entries);
    }),
    { numRuns: 300 },
  );
});
