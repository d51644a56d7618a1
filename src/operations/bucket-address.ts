import { resolve } from "node:path";

/** Buckets that are paths are stored absolute; a directory ends with a slash (docs/spec/object-storage.md §4). */
export function normalizeBucket(storage: string, bucket: string): string {
  if (storage === "file") {
    const path = resolve(bucket);
    return path.endsWith("/") ? path : `${path}/`;
  }
  return storage === "sqlite3" ? resolve(bucket) : bucket;
}
