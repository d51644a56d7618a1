import { InodeSet } from "../../tree/inode-set.ts";
import { FileType } from "../../volume/file-type.ts";
import type { RecordBatch } from "../../volume/records.ts";
import { INODE_KEY_BYTES, inodeRange, TAG_EDGE } from "./kv-keys.ts";
import { pairsOf } from "./kv-page.ts";
import type { KvPage, KvSnapshot } from "./kv-store.ts";
import type { RecordMapper } from "./record-mapper.ts";

/** Inodes that are asked for at one time. */
const INODES_AHEAD = 16;
const EDGE_VALUE_BYTES = 9;

/**
 * The records of the inodes below `root`, itself included, each once whatever its number of places: all that belongs to an
 * inode lies side by side, so there is one short scan per inode, some at a time, and a directory is taken page by page.
 */
export async function* readSubtree(
  snapshot: KvSnapshot,
  mapper: RecordMapper,
  root: bigint,
): AsyncGenerator<RecordBatch> {
  const seen = new InodeSet();
  const first = Buffer.alloc(8);
  first.writeBigUInt64BE(root);
  seen.add(first, 0);
  const directories = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for await (const page of snapshot.scan(inodeRange(directory))) {
      const files: bigint[] = [];
      for (const [key, value] of pairsOf(page)) {
        if (key.length <= INODE_KEY_BYTES || key[9] !== TAG_EDGE || value.length !== EDGE_VALUE_BYTES) continue;
        if (seen.add(value, 1)) continue;
        (value[0] === FileType.directory ? directories : files).push(value.readBigUInt64BE(1));
      }
      mapper.map(page);
      yield* mapper.takeFull();
      for await (const pageOfFile of readAhead(snapshot, files)) {
        mapper.map(pageOfFile);
        yield* mapper.takeFull();
      }
    }
  }
}

/** The pages of some inodes, in their order. */
async function* readAhead(snapshot: KvSnapshot, inodes: readonly bigint[]): AsyncGenerator<KvPage> {
  const waiting: { iterator: AsyncIterator<KvPage>; first: Promise<IteratorResult<KvPage>> }[] = [];
  let next = 0;
  try {
    while (next < inodes.length || waiting.length > 0) {
      for (; next < inodes.length && waiting.length < INODES_AHEAD; next++) {
        const iterator = snapshot.scan(inodeRange(inodes[next]!))[Symbol.asyncIterator]();
        const first = iterator.next();
        first.catch(() => undefined); // heard when its turn comes, or not at all after another failure
        waiting.push({ iterator, first });
      }
      const { iterator, first } = waiting[0]!;
      for (let result = await first; result.done !== true; result = await iterator.next()) yield result.value;
      waiting.shift();
    }
  } finally {
    await Promise.all(waiting.map(({ iterator }) => iterator.return?.()));
  }
}
