import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LargeDirectory } from "../../../../src/engines/redis/directory-reader.ts";
import { classifyKey, FAMILY_FOREIGN, FAMILY_OTHER } from "../../../../src/engines/redis/redis-keys.ts";
import { SeenSet } from "../../../../src/engines/redis/seen-set.ts";

const HALF = fc.oneof(fc.nat(2000), fc.constantFrom(0, 0x7fff_ffff, 0xffff_ffff, 0x1000_0001));

describe("what was seen", () => {
  test("is exactly what was added", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(HALF, HALF), { maxLength: 3000 }), (numbers) => {
        const set = new SeenSet();
        const model = new Set<string>();
        for (const [hi, lo] of numbers) {
          const key = `${hi}:${lo}`;
          expect(set.has(hi, lo)).toBe(model.has(key));
          expect(set.add(hi, lo)).toBe(!model.has(key));
          model.add(key);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("is exact for chunks too", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(40), fc.nat(100)), { maxLength: 3000 }), (chunks) => {
        const set = new SeenSet();
        const model = new Set<string>();
        for (const [inode, index] of chunks) {
          expect(set.addChunk(0, inode, index)).toBe(!model.has(`${inode}_${index}`));
          model.add(`${inode}_${index}`);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("of a large directory: repeated entries are told, several names of a hard-linked file are not", () => {
    const hardLinks = new SeenSet();
    hardLinks.add(0, 9);
    const page = new LargeDirectory(hardLinks);
    const isNew = (name: string, inode: number): boolean => page.isNew(Buffer.from(name), 0, name.length, 0, inode);
    expect([isNew("a", 5), isNew("b", 6), isNew("a", 5)]).toEqual([true, true, false]);
    expect([isNew("x", 9), isNew("y", 9), isNew("x", 9), isNew("y", 9)]).toEqual([true, true, false, false]);
  });
});

describe("a key", () => {
  const classify = (key: string): [number, string] => {
    const info = { hi: 0, lo: 0, index: 0 };
    const family = classifyKey(Buffer.from(key), 0, key.length, info);
    return [family, `${info.hi}:${info.lo}_${info.index}`];
  };

  test.each(["i1", "d1", "p1", "s1", "x1"])("%s belongs to an inode", (key) => {
    expect(classify(key)).toEqual([key.charCodeAt(0), "0:1_0"]);
  });

  test("of a chunk has an index", () => {
    expect(classify("c9223372032828243969_4294967295")).toEqual([0x63, `${0x7fff_ffff}:${0x1000_0001}_4294967295`]);
  });

  test.each(["setting", "delfiles", "dirQuotaUsedSpace", "session12", "sessions", "lockf3", "locked1", "k5_6", "acl"])(
    "%s is the volume's, but of no inode",
    (key) => expect(classify(key)[0]).toBe(FAMILY_OTHER),
  );

  test.each([
    "",
    "i",
    "ix",
    "i1x",
    "i01",
    "i18446744073709551616",
    "c1",
    "c1_",
    "c_1",
    "c1_4294967296",
    "c1_2_3",
    "cart:1",
    "d-1",
  ])("%j is foreign", (key) => expect(classify(key)[0]).toBe(FAMILY_FOREIGN));
});
