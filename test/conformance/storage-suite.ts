import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { NotFoundError } from "../../src/base/errors.ts";
import type { ListedObject, ObjectStorage } from "../../src/storage/object-storage.ts";

const SIGNAL: AbortSignal = new AbortController().signal;

/** The size of the parts in which S3 objects are written. */
export const PART_BYTES: number = 8 * 1024 * 1024;

export interface StorageUnderTest {
  /** A storage of a new, empty volume. */
  open(): Promise<ObjectStorage>;
  /** What an object has more than its content. */
  readonly overhead: number;
  /** Everything in the bucket that is no object: temporary files, uploads that have not ended. */
  leftovers(): Promise<readonly string[]>;
}

/** What every object storage must do, whatever it is made of. */
export function describeStorage(name: string, under: StorageUnderTest): void {
  describe(name, () => {
    const withStorage = async (work: (storage: ObjectStorage) => Promise<void>): Promise<void> => {
      const storage = await under.open();
      try {
        await work(storage);
      } finally {
        await storage.close();
      }
    };

    test.each([0, 1, 100_000, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 12_345])(
      "a stream of %i bytes is read again as it was written",
      (size) =>
        withStorage(async (storage) => {
          const source = randomPieces(size);
          const { bytes } = await storage.putStream("meta/stream", source.pieces, { signal: SIGNAL });
          expect(bytes).toBe(size + under.overhead);
          const head = await storage.head("meta/stream", SIGNAL);
          expect(head?.size).toBe(bytes);
          expect(await listed(storage, "meta/")).toEqual([{ key: "meta/stream", ...head }]);
          expect(await sha256(storage.getStream("meta/stream", { signal: SIGNAL }))).toBe(source.hash());
          expect(await under.leftovers()).toEqual([]);
        }),
    );

    test("a small object is written, replaced, read and deleted", () =>
      withStorage(async (storage) => {
        for (const content of ["first", "the second", ""]) {
          await storage.put("a/b/small", Buffer.from(content), SIGNAL);
          expect((await storage.get("a/b/small", SIGNAL)).toString()).toBe(content);
          expect((await storage.head("a/b/small", SIGNAL))?.size).toBe(content.length + under.overhead);
        }
        await storage.delete("a/b/small", SIGNAL);
        expect(await storage.head("a/b/small", SIGNAL)).toBeUndefined();
        await storage.delete("a/b/small", SIGNAL);
      }));

    test("what is not there is not found, and can be deleted", () =>
      withStorage(async (storage) => {
        await expect(storage.get("meta/none", SIGNAL)).rejects.toBeInstanceOf(NotFoundError);
        await expect(sha256(storage.getStream("meta/none", { signal: SIGNAL }))).rejects.toThrow("meta/none");
        expect(await storage.head("meta/none", SIGNAL)).toBeUndefined();
        await storage.delete("meta/none", SIGNAL);
        await storage.delete("meta/", SIGNAL);
        expect(await listed(storage, "")).toEqual([]);
        expect(await listed(storage, "meta/")).toEqual([]);
      }));

    test("a listing gives the objects of a prefix, those of sub-folders too, and no folders", () =>
      withStorage(async (storage) => {
        const keys = ["meta/a", "meta/sub/b", "meta/sub/sub/c", "metadata", "other/d", "meta-e", "testing/f"];
        for (const key of keys) await storage.put(key, Buffer.from(key), SIGNAL);
        const found = async (prefix: string) => (await listed(storage, prefix)).map(({ key }) => key).sort();
        expect(await found("")).toEqual([...keys].sort());
        expect(await found("meta/")).toEqual(["meta/a", "meta/sub/b", "meta/sub/sub/c"]);
        expect(await found("meta/sub")).toEqual(["meta/sub/b", "meta/sub/sub/c"]);
        expect(await found("meta")).toEqual(["meta-e", "meta/a", "meta/sub/b", "meta/sub/sub/c", "metadata"]);
        expect(await found("none")).toEqual([]);
        const [object] = await listed(storage, "other/");
        expect(object).toEqual({ key: "other/d", ...(await storage.head("other/d", SIGNAL)) });
        expect(object!.size).toBe("other/d".length + under.overhead);
        expect(object!.modified.getTime()).toBeGreaterThan(Date.UTC(2020));
      }));

    test("an object is foreign unless a probe left it", () =>
      withStorage(async (storage) => {
        expect(await storage.findForeignObject(SIGNAL)).toBeUndefined();
        await storage.put("testing/x", Buffer.from("x"), SIGNAL);
        expect(await storage.findForeignObject(SIGNAL)).toBeUndefined();
        await storage.put("chunks/0/0/1_0_5", Buffer.from("hello"), SIGNAL);
        expect(await storage.findForeignObject(SIGNAL)).toBe("chunks/0/0/1_0_5");
      }));

    test.each([10, PART_BYTES - 1, PART_BYTES + 10, 3 * PART_BYTES])(
      "when its source fails after %i bytes, nothing of an object appears and what was there stays",
      (size) =>
        withStorage(async (storage) => {
          await storage.put("meta/kept", Buffer.from("kept"), SIGNAL);
          for (const key of ["meta/kept", "meta/new"]) {
            const failing = failingPieces(size, new Error("the source has failed"));
            const writing = storage.putStream(key, failing.pieces, { signal: SIGNAL });
            await expect(writing).rejects.toThrow("the source has failed");
            expect(failing.isEnded()).toBe(true);
          }
          expect((await storage.get("meta/kept", SIGNAL)).toString()).toBe("kept");
          expect((await listed(storage, "")).map(({ key }) => key)).toEqual(["meta/kept"]);
          expect(await under.leftovers()).toEqual([]);
        }),
    );

    test.each([10, 2 * PART_BYTES + 10])(
      "an abort while the source hangs after %i bytes leaves nothing behind and gives its reason",
      (size) =>
        withStorage(async (storage) => {
          const abort = new AbortController();
          const reason = new Error("enough");
          async function* hanging(): AsyncGenerator<Buffer> {
            yield* randomPieces(size).pieces;
            setImmediate(() => abort.abort(reason));
            await new Promise(() => undefined);
          }
          const writing = storage.putStream("meta/new", hanging(), { signal: abort.signal });
          expect(await writing.catch((error: unknown) => error)).toBe(reason);
          expect(await listed(storage, "")).toEqual([]);
          expect(await under.leftovers()).toEqual([]);
        }),
    );

    test("a signal that has been aborted ends every call with its reason", () =>
      withStorage(async (storage) => {
        await storage.put("meta/x", Buffer.from("x"), SIGNAL);
        const reason = new Error("enough");
        const signal = AbortSignal.abort(reason);
        const calls: readonly (() => Promise<unknown>)[] = [
          () => storage.put("meta/x", Buffer.from("y"), signal),
          () => storage.putStream("meta/x", randomPieces(5).pieces, { signal }),
          () => storage.get("meta/x", signal),
          () => sha256(storage.getStream("meta/x", { signal })),
          () => storage.head("meta/x", signal),
          () => listed(storage, "", signal),
          () => storage.delete("meta/x", signal),
          () => storage.findForeignObject(signal),
        ];
        for (const call of calls) expect(await call().catch((error: unknown) => error)).toBe(reason);
        expect((await storage.get("meta/x", SIGNAL)).toString()).toBe("x");
      }));

    test("reading can end early, or by an abort", () =>
      withStorage(async (storage) => {
        await storage.putStream("meta/x", randomPieces(2 * PART_BYTES).pieces, { signal: SIGNAL });
        for await (const piece of storage.getStream("meta/x", { signal: SIGNAL })) {
          expect(piece.length).toBeGreaterThan(0);
          break;
        }
        const abort = new AbortController();
        const reason = new Error("enough");
        const reading = async (): Promise<void> => {
          for await (const _ of storage.getStream("meta/x", { signal: abort.signal })) abort.abort(reason);
        };
        expect(await reading().catch((error: unknown) => error)).toBe(reason);
      }));

    test.each(["", "/absolute", "../other-volume/x", "meta/../../x", "a/./b", "nul\0"])(
      "%j is no key of an object",
      (key) =>
        withStorage(async (storage) => {
          const code = { code: "DECANT_E_OBJECT_KEY" };
          await expect(storage.put(key, Buffer.from("x"), SIGNAL)).rejects.toMatchObject(code);
          await expect(storage.get(key, SIGNAL)).rejects.toMatchObject(code);
          await expect(storage.delete(key, SIGNAL)).rejects.toMatchObject(code);
        }),
    );
  });
}

/** All objects below a prefix, by key. */
export async function listed(
  storage: ObjectStorage,
  prefix: string,
  signal: AbortSignal = SIGNAL,
): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const object of storage.list(prefix, { signal })) objects.push(object);
  return objects.sort((a, b) => (a.key < b.key ? -1 : 1));
}

const PIECE_BYTES = 300_007;

/** Random bytes in pieces of one buffer that is written over again and again, and their hash when they were taken. */
export function randomPieces(size: number): { pieces: AsyncGenerator<Buffer>; hash: () => string } {
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(PIECE_BYTES);
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      const piece = buffer.subarray(0, Math.min(left, PIECE_BYTES));
      randomBytes(piece.length).copy(piece);
      hash.update(piece);
      left -= piece.length;
      yield piece;
    }
  }
  return { pieces: pieces(), hash: () => hash.digest("hex") };
}

function failingPieces(size: number, error: Error): { pieces: AsyncGenerator<Buffer>; isEnded: () => boolean } {
  let ended = false;
  async function* pieces(): AsyncGenerator<Buffer> {
    try {
      yield* randomPieces(size).pieces;
      throw error;
    } finally {
      ended = true;
    }
  }
  return { pieces: pieces(), isEnded: () => ended };
}

export async function sha256(pieces: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}
