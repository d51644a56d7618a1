import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/base/logger.ts";
import type { KvBulkWriter, KvUnfinishedLoad } from "../../src/engines/kv/kv-store.ts";
import { badgerStore, newBadgerTarget, readBadgerLines } from "../support/badger-directory.ts";
import { never } from "./engine-harness.ts";
import { describeKvStore } from "./kv-store-suite.ts";

describeKvStore("BadgerDB", { open: async () => badgerStore(newBadgerTarget().directory) });

describe("BadgerDB: a load that was cut off", () => {
  const progress = (text: string) => [{ key: Buffer.from("progress"), value: Buffer.from(text) }];
  const guard = {
    key: Buffer.from("guard"),
    value: Buffer.from("1"),
    absent: Buffer.from("absent"),
    lost: () => new Error("lost"),
  };

  function begin(directory: string, takesOver?: Buffer, resumable = true): Promise<KvBulkWriter | undefined> {
    const options = { signal: never, logger: silentLogger, maxBytes: 1024 * 1024, guard, resumable };
    return badgerStore(directory).openBulkWriter(takesOver === undefined ? options : { ...options, takesOver });
  }

  const find = (directory: string): Promise<KvUnfinishedLoad | undefined> =>
    badgerStore(directory).unfinishedLoads.find(never);

  async function put(writer: KvBulkWriter, key: string): Promise<void> {
    const bytes = Buffer.alloc(8 + key.length);
    bytes.writeUInt32BE(key.length, 0);
    bytes.write(key, 8);
    await writer.write({ count: 1, bytes });
  }

  test("is gone on with only as it was seen: one that has gone on meanwhile is another one", async () => {
    const { directory } = newBadgerTarget();
    const first = (await begin(directory))!;
    expect(await find(directory)).toBeUndefined();
    await put(first, "a");
    await first.checkpoint!(progress("one"));
    const seen = (await find(directory))!;
    expect(String(seen.progress)).toBe("one");
    await put(first, "b");
    await first.checkpoint!(progress("two"));
    expect(await first.suspend!()).toBe(true);
    expect(await begin(directory, seen.token)).toBeUndefined();
    expect(await begin(directory)).toBeUndefined();
    expect(await begin(directory, undefined, false)).toBeUndefined();
    const second = (await begin(directory, (await find(directory))!.token))!;
    await put(second, "c");
    await second.finish([]);
    expect(
      (await readBadgerLines(directory)).map((line) => Buffer.from(line.split(" ")[0]!, "hex").toString()),
    ).toEqual(["a", "b", "c"]);
    expect(await find(directory)).toBeUndefined();
  });

  test("leaves nothing before its first checkpoint, and nothing at all where nobody can go on", async () => {
    const { directory } = newBadgerTarget();
    const first = (await begin(directory))!;
    await put(first, "a");
    expect(await first.suspend!()).toBe(false);
    expect(await badgerStore(directory).unfinishedLoads.remove(never)).toBe(false);
    const plain = (await begin(directory, undefined, false))!;
    expect(plain.checkpoint).toBeUndefined();
    await plain.abort();
  });
});
