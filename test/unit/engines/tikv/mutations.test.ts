import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtobufReader, ProtobufWriter } from "../../../../src/base/protobuf.ts";
import { PageBuilder } from "../../../../src/engines/kv/kv-page.ts";
import {
  type Mutations,
  MutationsBuilder,
  OP_DELETE,
  OP_LOCK,
  OP_PUT,
} from "../../../../src/engines/tikv/mutations.ts";

const PREFIX = Buffer.from("p\xfd", "latin1");

interface Written {
  readonly operation: number;
  readonly key: string;
  readonly value: string;
}

/** The messages that a store gets. */
function written(mutations: Mutations): Written[] {
  const message = new ProtobufWriter();
  for (let i = 0; i < mutations.count; i++) mutations.write(i, message);
  const reader = new ProtobufReader(Buffer.from(message.written()));
  const all: Written[] = [];
  while (reader.next()) {
    expect(reader.field).toBe(2);
    const parts = reader.message();
    let [operation, key, value] = [0, "", ""];
    while (parts.next()) {
      if (parts.field === 1) operation = parts.number();
      else if (parts.field === 2) key = parts.view().toString("latin1");
      else if (parts.field === 3) value = parts.view().toString("latin1");
    }
    all.push({ operation, key, value });
  }
  return all;
}

describe("the changes of a transaction", () => {
  test("are sorted by key, and of several of one key the last one counts", () => {
    const builder = new MutationsBuilder(PREFIX);
    builder.add(OP_LOCK, Buffer.from("b"));
    builder.add(OP_PUT, Buffer.from("c"), Buffer.from("1"));
    builder.add(OP_PUT, Buffer.from("b"), Buffer.from("2"));
    builder.add(OP_LOCK, Buffer.from("a"));
    builder.add(OP_DELETE, Buffer.from("c"));
    expect(written(builder.finish())).toEqual([
      { operation: OP_LOCK, key: "p\xfda", value: "" },
      { operation: OP_PUT, key: "p\xfdb", value: "2" },
      { operation: OP_DELETE, key: "p\xfdc", value: "" },
    ]);
  });

  test("of pages are all of their pairs, in pieces of a size", () => {
    const pairs = fc.array(fc.tuple(fc.uint8Array({ maxLength: 6 }), fc.uint8Array({ minLength: 1, maxLength: 200 })));
    fc.assert(
      fc.property(pairs, fc.integer({ min: 1, max: 500 }), (list, maxBytes) => {
        const pages = new PageBuilder(64);
        for (const [key, value] of list) pages.put(key, value);
        const page = pages.take();
        const found = new Map<string, string>();
        for (let at = 0; at < (page?.bytes.length ?? 0); ) {
          const builder = new MutationsBuilder(PREFIX, 16);
          at = builder.addPage(page!, at, maxBytes);
          const some = written(builder.finish());
          expect(some.map(({ key }) => key)).toEqual([...new Set(some.map(({ key }) => key))].sort());
          for (const { key, value } of some) found.set(key, value);
        }
        const wanted = list.map(([key, value]): [string, string] => {
          return [`p\xfd${Buffer.from(key).toString("latin1")}`, Buffer.from(value).toString("latin1")];
        });
        expect([...found].sort()).toEqual([...new Map(wanted)].sort());
      }),
    );
  });

  test("overlap when they have a key in common", () => {
    const of = (...keys: string[]): Mutations => {
      const builder = new MutationsBuilder(PREFIX);
      for (const key of keys) builder.add(OP_PUT, Buffer.from(key), Buffer.from("v"));
      return builder.finish();
    };
    expect(of("a", "c", "e").overlaps(of("b", "d", "f"))).toBe(false);
    expect(of("a", "c", "e").overlaps(of("b", "e"))).toBe(true);
    expect(of("e").overlaps(of("a", "b", "e"))).toBe(true);
    expect(of("a").overlaps(of("ab"))).toBe(false);
    expect(of().overlaps(of("a"))).toBe(false);
  });
});
