import { readdirSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { MetadataStore } from "../../src/engines/engine.ts";
import { openStore } from "../../src/engines/registry.ts";
import { createContext } from "../../src/operations/context.ts";
import { load } from "../../src/operations/load.ts";
import { FileStorage } from "../../src/storage/file-storage.ts";
import { LAST_BACKUP_XATTR } from "../../src/volume/backup-xattrs.ts";
import { withBucket } from "./mount.ts";
import { fixture } from "./repository.ts";
import { newSqliteTarget } from "./run-operations.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** A volume whose data is in a directory of this test. */
export interface BucketVolume {
  readonly url: string;
  readonly name: string;
  /** Address of the bucket, with its final slash. */
  readonly bucket: string;
  readonly storage: FileStorage;
  /** Names in a folder of the volume in the bucket, sorted; none where there is no such folder. */
  names(folder: string): string[];
}

/** Loads a dump (a path, or a name below test/fixtures) with a bucket of its own; into SQLite unless told. */
export async function bucketVolume(
  dump: string = "golden/native/natsqlite.keep.json",
  url: string = newSqliteTarget().url,
): Promise<BucketVolume> {
  const bucket = `${temporaryDirectory()}/`;
  const report = await load(
    { target: url, source: { file: withBucket(isAbsolute(dump) ? dump : fixture(dump), bucket) } },
    createContext({ env: {} }),
  );
  const { name } = report.volume;
  return {
    url,
    name,
    bucket,
    storage: new FileStorage(bucket, name),
    names: (folder) => {
      try {
        return readdirSync(join(bucket, name, folder)).sort();
      } catch {
        return [];
      }
    },
  };
}

/** Opens the volume's database for some work. */
export async function withStore<T>(url: string, work: (store: MetadataStore) => Promise<T>): Promise<T> {
  const context = createContext({ env: {} });
  const store = await openStore(url, context);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** The time that clients share, undefined when there is none. */
export function lastBackup(url: string): Promise<string | undefined> {
  return withStore(url, async (store) => {
    const found = await store.readRootXattrs([LAST_BACKUP_XATTR], new AbortController().signal);
    return found.get(LAST_BACKUP_XATTR)?.toString();
  });
}
